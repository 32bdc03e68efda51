package loader

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNamesProbeRead(t *testing.T) {
	for line, want := range map[string]bool{
		"unknown func bpf_probe_read#4":                                    true, // 6.1
		"unknown func bpf_probe_read_str#45":                               true,
		"program of this type cannot use helper bpf_probe_read_kernel#113": true, // 6.12
		"unknown func bpf_loop#181":                                        false,
		"R1 type=scalar expected=fp":                                       false,
	} {
		require.Equal(t, want, namesProbeRead([]string{"0: (85) call", line, "processed 5 insns"}), line)
	}
}

// TestMemoryRefusal has the errors of Linux 6.1 and 6.12 locked down, as the
// library words them. The second one is no ErrNotSupported: to ask again what it
// means, as of any other program, had no end.
func TestMemoryRefusal(t *testing.T) {
	for what, err := range map[string]error{
		"6.1": fmt.Errorf("FnProbeReadKernel for program type RawTracepoint %w", ebpf.ErrNotSupported),
		"6.12": fmt.Errorf("detect support for FnProbeReadKernel: %w", &ebpf.VerifierError{Cause: unix.EINVAL,
			Log: []string{"0: R1=ctx() R10=fp0", "0: (85) call bpf_probe_read#4", "program of this type cannot use helper bpf_probe_read#4"}}),
	} {
		require.ErrorIs(t, memoryRefusal(err), errLockdown, what)
	}
	require.NoError(t, memoryRefusal(nil))
	require.ErrorIs(t, memoryRefusal(unix.EPERM), unix.EPERM)
	require.NotErrorIs(t, memoryRefusal(unix.EPERM), errLockdown)
}

// TestNotLockedDown: where memory may be read, a refused helper has other
// reasons. test/ceph locks its guest down for real.
func TestNotLockedDown(t *testing.T) {
	if err := KernelMemory(); err != nil {
		t.Skipf("left out: this kernel or these rights give no programs: %v", err)
	}
	err := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"unknown func bpf_probe_read#4"}}
	require.False(t, lockedDown(err))
	require.NotErrorIs(t, notSupported(err), errLockdown)
}
