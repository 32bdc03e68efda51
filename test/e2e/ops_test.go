package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// TestReportNamesEveryOperation blocks one thread per operation and wants each
// of them once, with the path the victim says it asked for.
func TestReportNamesEveryOperation(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint)
	lines := s.hang(v, fs, len(victim.OpNames()))
	pastThreshold()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot())
			got := byTID(t, rep.Hangs)
			for _, l := range lines {
				h := got[l.TID]
				if h == nil {
					t.Errorf("%s: thread %d is missing", l.Op, l.TID)
					continue
				}
				t.Run(l.Op, func(t *testing.T) {
					checkOp(t, h, l, correlate.ReasonInSyscall)
					checkCalls(t, h, l)
					checkVolume(t, h, fs.MountPoint, podUID, pvName)
				})
			}
			require.Len(t, rep.Hangs, len(lines))
			require.Equal(t, len(lines), rep.Summary.HungThreads)
			l := leftOver(t, rep, correlate.ClassHungMount, v.PID)
			require.Equal(t, fs.MountPoint, string(l.Path))
			require.Equal(t, pvName, string(l.Volume.PV))
			require.Equal(t, correlate.HealthHung, string(l.Health))
		})
	}
}

// checkOp compares a hang with what its victim says of itself.
func checkOp(t *testing.T, h *correlate.Hang, l victim.Line, inCall correlate.Reason) {
	t.Helper()
	require.Equal(t, l.Path, string(h.Path.Value), "%+v", h.Syscall)
	require.Equal(t, reasonOf(l.Op, inCall), h.Reason)
	require.Equal(t, l.Op == "fault", h.Syscall == nil)
	require.Equal(t, correlate.RoleRoot, h.Role)
	require.NotEmpty(t, h.KernelStack)
	require.NotNil(t, h.WaitingOn)
	require.Equal(t, "fuse-daemon", h.WaitingOn.Kind)
}

// checkCalls wants the calls from the operation itself to the thread's start,
// also for one that is in no system call.
func checkCalls(t *testing.T, h *correlate.Hang, l victim.Line) {
	t.Helper()
	require.Empty(t, h.UserStackEnd)
	require.NotNil(t, h.Goroutine, "%v %q", h.UserStack, h.UserStackEnd)
	first, last := h.UserStack[0], h.UserStack[len(h.UserStack)-1]
	require.Contains(t, string(last.Function), "victim.runOps.func")
	require.NotEmpty(t, last.File)
	if l.Op == "fault" {
		require.Contains(t, string(first.Function), "victim.prepareFault.func")
	} else {
		require.Regexp(t, `^(syscall|internal/runtime/syscall|golang.org/x/sys/unix)\b`, string(first.Function))
	}
}

// TestLiveNamesEveryOperation is the same, from the entry on, and wants the end
// of each with what the call returned.
func TestLiveNamesEveryOperation(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint)
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	lines := s.hang(v, fs, len(victim.OpNames()))
	l.await(correlate.EventHangSeen, 0, len(lines))
	require.NoError(t, fs.Thaw())
	returned, err := v.Await(victim.EventReturned, len(lines), patience)
	require.NoError(t, err)
	l.await(correlate.EventHangEnded, 0, len(lines))
	list := l.stop(exitHung)
	for _, line := range lines {
		t.Run(line.Op, func(t *testing.T) {
			seen := of(list, correlate.EventHangSeen, line.TID)
			require.Len(t, seen, 1)
			checkOp(t, seen[0].Hang, line, correlate.ReasonSlowSyscall)
			checkVolume(t, seen[0].Hang, fs.MountPoint, podUID, pvName)
			ended := of(list, correlate.EventHangEnded, line.TID)
			require.Len(t, ended, 1)
			require.NotNil(t, ended[0].DurationNS)
			require.False(t, ended[0].Blocked.AtLeast)
			if line.Op == "fault" {
				return
			}
			require.NotNil(t, ended[0].Ret)
			checkReturn(t, &ended[0], returned)
		})
	}
	sum := list[len(list)-1].Summary
	require.Equal(t, len(lines), sum.Seen)
	require.Equal(t, len(lines), sum.Ended)
	require.Zero(t, sum.StillHung)
	require.Zero(t, sum.SlowCalls)
}

// checkReturn compares a return value with what the victim got.
func checkReturn(t *testing.T, e *correlate.Event, returned []victim.Line) {
	t.Helper()
	for _, l := range returned {
		if l.TID != e.Task.TID {
			continue
		}
		if l.Errno == 0 {
			require.GreaterOrEqual(t, *e.Ret, int64(0))
			return
		}
		require.Equal(t, -int64(l.Errno), *e.Ret)
		name := unix.ErrnoName(unix.Errno(l.Errno))
		if name == "ENOTSUP" { // strace's name for the same number
			name = "EOPNOTSUPP"
		}
		require.Contains(t, e.RetText, "-1 "+name)
		return
	}
	t.Errorf("thread %d has not returned", e.Task.TID)
}
