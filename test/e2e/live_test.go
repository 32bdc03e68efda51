package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// TestLiveFollowsAHang wants a hang at the threshold, at twice and four times
// that, and its end with duration and result.
func TestLiveFollowsAHang(t *testing.T) {
	const limit = 400 // ms
	for name, end := range map[string]struct {
		op   string
		free func(*testkit.HangFS) error
		ret  int64
		text string
	}{
		"thaw":  {"stat", (*testkit.HangFS).Thaw, 0, "0"},
		"abort": {"read", (*testkit.HangFS).Abort, -int64(syscall.ECONNABORTED), "-1 ECONNABORTED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			fs := s.csi(podUID, pvName)
			v := s.victim("ops", fs.MountPoint, end.op)
			l := watch(t, s.Sandbox, pid(v.PID), fmt.Sprintf("--threshold=%dms", limit), s.kubeletRoot())
			before := time.Now()
			tid := s.hang(v, fs, 1)[0].TID
			blocked := time.Now()
			l.await(correlate.EventHangUpdate, tid, 2)
			freed := time.Now()
			require.NoError(t, end.free(fs))
			ended := l.await(correlate.EventHangEnded, tid, 1)[0]
			after := time.Now()
			list := l.stop(exitHung)

			seen := of(list, correlate.EventHangSeen, tid)
			require.Len(t, seen, 1)
			require.GreaterOrEqual(t, seen[0].Blocked.ForMS, int64(limit))
			updates := of(list, correlate.EventHangUpdate, tid)
			require.GreaterOrEqual(t, updates[0].Blocked.ForMS, int64(2*limit))
			require.GreaterOrEqual(t, updates[1].Blocked.ForMS, int64(4*limit))
			require.Len(t, of(list, correlate.EventHangEnded, tid), 1)
			require.Equal(t, end.ret, *ended.Ret)
			require.True(t, strings.HasPrefix(ended.RetText, end.text), ended.RetText)
			// The duration lies between what was certainly blocked and what may
			// have been, give or take the resolution that it claims.
			d, res := time.Duration(*ended.DurationNS), time.Duration(*ended.ResolutionNS)
			require.GreaterOrEqual(t, d+res, freed.Sub(blocked))
			require.LessOrEqual(t, d-res, after.Sub(before))
			require.Equal(t, "entry", ended.Blocked.Source)
			for _, e := range list[:len(list)-1] {
				if e.Hang != nil {
					require.Equal(t, seen[0].ID, e.ID)
				}
			}
		})
	}
}

// TestLiveTimesAPageFault has no entry and no exit to go by.
func TestLiveTimesAPageFault(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "fault")
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	before := time.Now()
	tid := s.hang(v, fs, 1, "READ")[0].TID
	blocked := time.Now()
	l.await(correlate.EventHangSeen, tid, 1)
	freed := time.Now()
	require.NoError(t, fs.Thaw())
	ended := l.await(correlate.EventHangEnded, tid, 1)[0]
	after := time.Now()
	l.stop(exitHung)
	require.Equal(t, correlate.ReasonPageFault, ended.Reason)
	require.Equal(t, "sched_switch", ended.Blocked.Source)
	require.Nil(t, ended.Ret)
	d := time.Duration(*ended.DurationNS)
	require.GreaterOrEqual(t, d, freed.Sub(blocked))
	require.LessOrEqual(t, d, after.Sub(before))
	checkVolume(t, ended.Hang, fs.MountPoint, podUID, pvName)
}

// TestLiveSeesADyingProcess blocks in the exit of the last thread.
func TestLiveSeesADyingProcess(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("exit", fs.MountPoint)
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	time.Sleep(time.Second) // a look at the mounts: the dying have none
	require.NoError(t, fs.Freeze("WRITE"))
	require.NoError(t, v.Say("go"))
	seen := l.await(correlate.EventHangSeen, 0, 1)[0]
	require.Equal(t, correlate.ReasonAfterSyscall, seen.Reason)
	require.Equal(t, v.PID, seen.Task.PID)
	require.Equal(t, "ceph-fuse", string(seen.Mount.Kind))
	for _, backend := range backends {
		rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot())
		require.Len(t, rep.Hangs, 1)
		require.Equal(t, correlate.ReasonAfterSyscall, rep.Hangs[0].Reason)
	}
	require.NoError(t, fs.Thaw())
	l.await(correlate.EventHangEnded, seen.Task.TID, 1)
	require.NoError(t, v.Wait(patience))
	l.stop(exitHung)
}

// TestUmountThatReturnedStillHangs unmounts a fuseblk file system whose daemon
// is stopped: the call returns, its caller does not.
func TestUmountThatReturnedStillHangs(t *testing.T) {
	s := newStage(t)
	loop, err := s.LoopDevice(1 << 20)
	if err != nil {
		t.Skip(err)
	}
	point, err := s.tree.FlatVolume(podUID, "kubernetes.io/fuseblk", "data")
	require.NoError(t, err)
	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point, FSType: "fuseblk", Source: loop})
	require.NoError(t, err)
	v := s.victim("umount", fs.MountPoint)
	l := watch(t, s.Sandbox, pid(v.PID), threshold, "--fs=all", s.kubeletRoot())
	time.Sleep(time.Second) // the mount is to be remembered
	require.NoError(t, fs.Stop())
	lines, err := v.Hang(1)
	require.NoError(t, err)
	seen := l.await(correlate.EventHangSeen, lines[0].TID, 1)[0]
	require.Equal(t, correlate.ReasonAfterSyscall, seen.Reason)
	require.Equal(t, point, string(seen.Path.Value))
	require.NotNil(t, seen.Volume)
	require.Equal(t, podUID, string(seen.Volume.Pod.UID))
	for _, backend := range backends {
		rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--fs=all", "--backend="+backend, s.kubeletRoot())
		leftOver(t, rep, correlate.ClassUmountStuck, v.PID)
		require.Len(t, rep.Hangs, 1)
		require.Equal(t, correlate.ReasonAfterSyscall, rep.Hangs[0].Reason)
		require.Equal(t, point, string(rep.Hangs[0].Path.Value))
	}
	require.NoError(t, fs.Cont())
	l.await(correlate.EventHangEnded, lines[0].TID, 1)
	_, err = v.Await(victim.EventReturned, 1, patience)
	require.NoError(t, err)
	l.stop(exitHung)
}

// TestLiveSeesTheEndOfAnEarlierHang comes too late for the entry, but not for
// the return.
func TestLiveSeesTheEndOfAnEarlierHang(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat", "read")
	lines := s.hang(v, fs, 2)
	pastThreshold()
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	for _, line := range lines {
		seen := l.await(correlate.EventHangSeen, line.TID, 1)[0]
		checkOp(t, seen.Hang, line, correlate.ReasonInSyscall)
		checkVolume(t, seen.Hang, fs.MountPoint, podUID, pvName)
		require.True(t, seen.Blocked.AtLeast)
	}
	time.Sleep(time.Duration(testkit.Slow()) * time.Second) // a tick, at which the tracer learns of them
	// Which it cannot before 5.14, and says so.
	unseen := slices.ContainsFunc(l.events(), func(e correlate.Event) bool { return strings.Contains(e.Notice, "their return is not seen") })
	require.NoError(t, fs.Thaw())
	for _, line := range lines {
		ended := l.await(correlate.EventHangEnded, line.TID, 1)[0]
		require.Equal(t, unseen, ended.Ret == nil)
		if !unseen {
			require.GreaterOrEqual(t, *ended.Ret, int64(0))
		}
		require.True(t, ended.Blocked.AtLeast)
	}
	l.stop(exitHung)
}

// TestLiveFollowsChildren starts a process that hangs below the target after
// live did.
func TestLiveFollowsChildren(t *testing.T) {
	_, ended := childOfTarget(t, correlate.ReasonSlowSyscall)
	require.Equal(t, int64(0), *ended.Ret)
}

// childOfTarget watches a process whose child, born later, hangs and is freed.
func childOfTarget(t *testing.T, reason correlate.Reason, args ...string) (list []correlate.Event, ended correlate.Event) {
	t.Helper()
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	p := s.hidden("parent", wordChild, file(fs))
	l := watch(t, s.Sandbox, append([]string{pid(p.PID), s.kubelet(), threshold, s.kubeletRoot()}, args...)...)
	require.NoError(t, fs.Freeze())
	p.say("go")
	child, err := strconv.Atoi(p.line())
	require.NoError(t, err)
	seen := l.await(correlate.EventHangSeen, child, 1)[0]
	require.Equal(t, file(fs), string(seen.Path.Value))
	require.Equal(t, reason, seen.Reason)
	checkVolume(t, seen.Hang, fs.MountPoint, podUID, pvName)
	require.NoError(t, fs.Thaw())
	ended = l.await(correlate.EventHangEnded, child, 1)[0]
	require.NoError(t, p.Wait(patience))
	return l.stop(exitHung), ended
}

// TestLiveFollowsThreads has the hanging threads born after live started.
func TestLiveFollowsThreads(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("crowd", fs.MountPoint, "20")
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	require.NoError(t, fs.Freeze())
	require.NoError(t, v.Say("go"))
	l.await(correlate.EventHangSeen, 0, 20)
	require.NoError(t, fs.Thaw())
	for _, e := range l.await(correlate.EventHangEnded, 0, 20) {
		require.Equal(t, correlate.ReasonSlowSyscall, e.Reason)
		require.Equal(t, -int64(syscall.ENOENT), *e.Ret)
	}
	l.stop(exitHung)
}

// TestLiveFollowsANameToItsNextProcess restarts the target.
func TestLiveFollowsANameToItsNextProcess(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	name := fmt.Sprintf("kubel%d", os.Getpid()) // a machine may run a real one
	first, err := s.StartVictimAs(name, "ops", fs.MountPoint, "stat")
	require.NoError(t, err)
	l := watch(t, s.Sandbox, "--pid="+name, threshold, s.kubeletRoot())
	require.NoError(t, first.Kill())
	l.await(correlate.EventNotice, 0, 1)
	second, err := s.StartVictimAs(name, "ops", fs.MountPoint, "stat")
	require.NoError(t, err)
	notices := l.await(correlate.EventNotice, 0, 2)
	require.Contains(t, notices[1].Notice, fmt.Sprintf("%s is now pid %d", name, second.PID))
	tid := s.hang(second, fs, 1)[0].TID
	seen := l.await(correlate.EventHangSeen, tid, 1)[0]
	require.Equal(t, correlate.ReasonSlowSyscall, seen.Reason)
	require.NoError(t, fs.Thaw())
	ended := l.await(correlate.EventHangEnded, tid, 1)[0]
	require.Equal(t, int64(0), *ended.Ret)
	l.stop(exitHung)
}

// TestLiveOnSeveralTargets names two processes, then all.
func TestLiveOnSeveralTargets(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all %v", all), func(t *testing.T) {
			s := newStage(t)
			fs, other := s.csi(podUID, pvName), s.csi(otherUID, "pvc-other")
			a, b := s.victim("ops", fs.MountPoint, "stat"), s.victim("ops", other.MountPoint, "read")
			targets := []string{pid(a.PID), pid(b.PID)}
			if all {
				targets = []string{"--pid=all", "--mode=trace"}
			}
			l := watch(t, s.Sandbox, append(targets, threshold, s.kubeletRoot())...)
			ta, tb := s.hang(a, fs, 1)[0].TID, s.hang(b, other, 1)[0].TID
			checkVolume(t, l.await(correlate.EventHangSeen, ta, 1)[0].Hang, fs.MountPoint, podUID, pvName)
			checkVolume(t, l.await(correlate.EventHangSeen, tb, 1)[0].Hang, other.MountPoint, otherUID, "pvc-other")
			require.NoError(t, fs.Thaw())
			require.Equal(t, int64(0), *l.await(correlate.EventHangEnded, ta, 1)[0].Ret)
			require.Empty(t, of(l.events(), correlate.EventHangEnded, tb))
			require.NoError(t, other.Thaw())
			require.Positive(t, *l.await(correlate.EventHangEnded, tb, 1)[0].Ret)
			list := l.stop(exitHung)
			require.Len(t, of(list, correlate.EventHangSeen, ta), 1)
			require.Len(t, of(list, correlate.EventHangSeen, tb), 1)
		})
	}
}

// TestLiveCatchesCallsBetweenItsLooks lets calls last just longer than the
// threshold, until one of them returns before any look at the threads. Each
// must be told of exactly once, whichever way.
func TestLiveCatchesCallsBetweenItsLooks(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	l, slow, tids := (*live)(nil), 0, []int{}
	p := s.hidden("statter", wordRepeat, file(fs))
	l = watch(t, s.Sandbox, pid(p.PID), s.kubelet(), "--threshold=500ms", s.kubeletRoot())
	for i := 0; i < 30 && slow == 0; i++ {
		require.NoError(t, fs.Freeze())
		p.say("go")
		s.held(fs)
		time.Sleep(510 * time.Millisecond)
		require.NoError(t, fs.Thaw())
		tid, err := strconv.Atoi(p.line())
		require.NoError(t, err)
		tids = append(tids, tid)
		l.until("call "+strconv.Itoa(i), func() bool {
			list := l.events()
			slow = len(of(list, correlate.EventSlowCall, 0))
			return slow+len(of(list, correlate.EventHangEnded, 0)) == len(tids)
		})
	}
	require.Positive(t, slow, "no call fell between two looks")
	list := l.stop(exitHung)
	for _, e := range append(of(list, correlate.EventSlowCall, 0), of(list, correlate.EventHangEnded, 0)...) {
		require.Equal(t, correlate.ReasonSlowSyscall, e.Reason)
		require.Equal(t, file(fs), string(e.Path.Value))
		require.Equal(t, int64(0), *e.Ret)
		require.GreaterOrEqual(t, *e.DurationNS+*e.ResolutionNS, uint64(500*time.Millisecond))
		checkVolume(t, e.Hang, fs.MountPoint, podUID, pvName)
	}
	require.Equal(t, slow, list[len(list)-1].Summary.SlowCalls)
}

// helper is a hidden command of this test in a process of its own.
type helper struct {
	*testkit.Process
	t testing.TB
}

func (s *stage) hidden(name string, args ...string) *helper {
	s.t.Helper()
	return s.hiddenIn(name, 0, args...)
}

// hiddenIn starts it in new namespaces.
func (s *stage) hiddenIn(name string, unshare uintptr, args ...string) *helper {
	s.t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0], cmd.Dir = name, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unshare}
	p, err := s.Start(cmd)
	require.NoError(s.t, err)
	h := &helper{p, s.t}
	require.Equal(s.t, "ready", h.line())
	return h
}

func (h *helper) say(word string) {
	h.t.Helper()
	_, err := fmt.Fprintln(h.Stdin, word)
	require.NoError(h.t, err)
}

// line reads one line, byte by byte so that none of the next is lost.
func (h *helper) line() string {
	h.t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		_, err := h.Stdout.Read(b)
		require.NoError(h.t, err)
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// held waits until the daemon holds a request.
func (s *stage) held(fs *testkit.HangFS) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		held, err := fs.Held()
		require.NoError(s.t, err)
		if len(held) > 0 {
			return
		}
		require.False(s.t, time.Now().After(deadline), "nothing hangs")
	}
}
