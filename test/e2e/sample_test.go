package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// TestModesSeeTheSame watches every operation with hooks and without: the same
// hangs by the same names, and the end of each. Only the hooks know the result.
func TestModesSeeTheSame(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint)
	n := len(victim.OpNames())
	trace := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot(), "--mode=trace")
	sample := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot(), "--mode=sample")
	lines := s.hang(v, fs, n)
	trace.await(correlate.EventHangSeen, 0, n)
	sample.await(correlate.EventHangSeen, 0, n)
	require.NotEmpty(t, hooks(t, trace.PID))
	require.Empty(t, hooks(t, sample.PID))
	require.NoError(t, fs.Thaw())
	_, err := v.Await(victim.EventReturned, n, patience)
	require.NoError(t, err)
	trace.await(correlate.EventHangEnded, 0, n)
	sample.await(correlate.EventHangEnded, 0, n)
	traced, sampled := trace.stop(exitHung), sample.stop(exitHung)
	for _, line := range lines {
		t.Run(line.Op, func(t *testing.T) {
			a, b := of(traced, correlate.EventHangSeen, line.TID), of(sampled, correlate.EventHangSeen, line.TID)
			require.Len(t, a, 1)
			require.Len(t, b, 1)
			checkOp(t, b[0].Hang, line, correlate.ReasonInSyscall)
			checkVolume(t, b[0].Hang, fs.MountPoint, podUID, pvName)
			require.Equal(t, a[0].ID, b[0].ID)
			require.Equal(t, a[0].Path, b[0].Path)
			require.Equal(t, a[0].Mount, b[0].Mount)
			require.Equal(t, a[0].Volume, b[0].Volume)
			require.True(t, b[0].Blocked.AtLeast)
			ended := of(sampled, correlate.EventHangEnded, line.TID)
			require.Len(t, ended, 1)
			require.Nil(t, ended[0].Ret)
		})
	}
}

// hooks lists the BPF links a process holds, but for that of an iterator that
// runs just now.
func hooks(t *testing.T, pid int) []string {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	require.NoError(t, err)
	var out []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // closed meanwhile
		}
		if _, rest, ok := strings.Cut(string(text), "link_type:"); ok && !strings.HasPrefix(strings.TrimSpace(rest), "iter") {
			out = append(out, string(text))
		}
	}
	return out
}

// TestSampleFollowsChildren has no hook that tells of a fork.
func TestSampleFollowsChildren(t *testing.T) {
	list, _ := childOfTarget(t, correlate.ReasonInSyscall, "--mode=sample")
	require.Len(t, of(list, correlate.EventHangSeen, 0), 1)
}
