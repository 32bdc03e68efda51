package loader

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

func straceTypes(t *testing.T) (*ebpf.CollectionSpec, *pruned) {
	spec, err := bpf.LoadStrace()
	require.NoError(t, err)
	known, err := newTypes().of(spec)
	require.NoError(t, err)
	return spec, known
}

// TestPreempted holds what is found out against the kernels of which it is known.
func TestPreempted(t *testing.T) {
	testkit.NeedBPF(t)
	known := map[string]bool{"5.10": false, "6.1": false, "6.12": false, "7.2": true}
	want, ok := known[os.Getenv("HANGTRACE_KERNEL")]
	_, types := straceTypes(t)
	got := types.preempted()
	if !ok {
		t.Skipf("of this kernel it is not known; found: %t", got)
	}
	require.Equal(t, want, got)
}

// TestOneProgramOfEachCall wants those of the tracepoints or those of the perf
// events, never both.
func TestOneProgramOfEachCall(t *testing.T) {
	testkit.NeedBPF(t)
	spec, types := straceTypes(t)
	perf := types.preempted() && perfEvents() == nil
	callPrograms(spec, types)
	for _, name := range []string{"strace_enter", "strace_exit"} {
		require.Equal(t, !perf, spec.Programs[name] != nil, name)
		require.Equal(t, perf, spec.Programs[name+perfSuffix] != nil, name)
	}
}

// TestPerfProgramsAttach tries the programs that most kernels have no use for, so
// that those that need them do not find out first.
func TestPerfProgramsAttach(t *testing.T) {
	testkit.NeedBPF(t)
	if os.Getenv("HANGTRACE_KERNEL") == "5.10" {
		t.Skip("the registers of the current thread are known since 5.15")
	}
	if err := perfEvents(); err != nil && os.Getenv("HANGTRACE_KERNEL") == "" {
		t.Skipf("not tried: %v", err)
	}
	for _, name := range []string{"trace_enter_perf", "trace_exit_perf"} {
		require.NoError(t, probeProgram(name), name)
	}
}
