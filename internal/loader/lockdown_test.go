package loader

import (
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
