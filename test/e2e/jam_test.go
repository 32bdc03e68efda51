package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// jamThreads is how many threads of the jam victim hang.
const jamThreads = 5

// TestReportOfJammedProcessEnds looks at a process whose memory nobody can
// read: what needs no memory must be there, the rest named, in time.
func TestReportOfJammedProcessEnds(t *testing.T) {
	const deadline = 5 * time.Second
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("jam", fs.MountPoint)
	lines := s.hang(v, fs, jamThreads)
	pastThreshold()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			r := tool(t, s.Sandbox, exitHung, "report", "--deadline="+deadline.String(), pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot())
			require.Less(t, r.took, deadline+3*time.Second) // one to end, two for a busy machine
			rep := report(t, s.Sandbox, exitHung, "--deadline="+deadline.String(), pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot())
			checkJam(t, byTID(t, rep.Hangs), v, lines, fs)
			skipped := fmt.Sprint(rep.Capture.Skipped)
			require.Contains(t, skipped, fmt.Sprintf("memory of pid %d", v.PID))
			require.Contains(t, r.stdout.String(), fmt.Sprintf("memory of pid %d", v.PID))
		})
	}
}

// TestLiveOnJammedProcess sees the jam come: the paths were copied at entry.
func TestLiveOnJammedProcess(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("jam", fs.MountPoint)
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	lines := s.hang(v, fs, jamThreads)
	for _, line := range lines {
		if line.Op != "mprotect" {
			l.await(correlate.EventHangSeen, line.TID, 1)
		}
	}
	for _, line := range lines {
		if line.Op == "stat" {
			stat := of(l.events(), correlate.EventHangSeen, line.TID)[0]
			require.Equal(t, line.Path, string(stat.Path.Value))
			checkVolume(t, stat.Hang, fs.MountPoint, podUID, pvName)
		}
	}
	require.NoError(t, fs.Thaw())
	_, err := v.Await(victim.EventReturned, jamThreads, patience)
	require.NoError(t, err)
	for _, line := range lines {
		if line.Op != "mprotect" {
			l.await(correlate.EventHangEnded, line.TID, 1)
		}
	}
	l.stop(exitHung)
}

// checkJam wants every thread of the jam, with what can be known of it.
func checkJam(t *testing.T, got map[int]*correlate.Hang, v *testkit.Victim, lines []victim.Line, fs *testkit.HangFS) {
	t.Helper()
	for _, l := range lines {
		h := got[l.TID]
		require.NotNil(t, h, "%s: thread %d is missing", l.Op, l.TID)
		require.NotEmpty(t, h.KernelStack, l.Op)
		require.NotNil(t, h.Mount, l.Op)
		require.Equal(t, "ceph-fuse", string(h.Mount.Kind), l.Op)
		switch l.Op {
		case "fsync", "write": // by descriptor: no memory is needed
			checkVolume(t, h, fs.MountPoint, podUID, pvName)
			require.Equal(t, l.Path, string(h.Path.Value))
			require.Contains(t, string(h.Syscall.Name), l.Op)
		case "stat": // the path is in memory that cannot be read
			require.Equal(t, "none", h.Path.Source)
			require.Contains(t, string(h.Syscall.Name), "stat")
		case "fault":
			require.Equal(t, correlate.ReasonPageFault, h.Reason)
			require.Contains(t, strings.Join(h.KernelStack, " "), "fuse")
		case "mprotect": // waits for the lock that the fault holds
			require.Equal(t, correlate.RoleVictim, h.Role)
		}
	}
	require.Len(t, got, len(lines))
}
