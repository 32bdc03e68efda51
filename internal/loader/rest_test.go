package loader

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestRestingThreads has two threads read a pipe: of the one that is known to
// rest a pass tells no more than that it still does, until it runs.
func TestRestingThreads(t *testing.T) {
	testkit.NeedBPF(t)
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.SetTargets([]int{os.Getpid()}))
	wake, tid := reader(t)
	_, other := reader(t)
	var known *events.Task
	require.Eventually(t, func() bool { // it gets to its read
		known = sample(t, s)[tid]
		return known.State&events.StateInterruptible != 0 && known.SyscallNR == unix.SYS_READ
	}, 10*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, known.Stack)
	rest := Rest{TID: tid, StartBootNS: known.StartBootNS, Switches: known.Switches()}
	all := func(int) bool { return true }

	require.NoError(t, s.Rest([]Rest{rest}, all))
	got := sample(t, s)
	require.True(t, got[tid].Resting)
	require.Equal(t, &events.Task{
		PID: os.Getpid(), TID: tid, PPID: known.PPID, StartBootNS: known.StartBootNS, Flags: known.Flags, MountNS: known.MountNS, SyscallNR: events.NoSyscall, Resting: true,
	}, got[tid])
	require.False(t, got[other].Resting)
	require.NotEmpty(t, got[other].Stack)

	wake()
	require.Eventually(t, func() bool {
		k := sample(t, s)[tid]
		return !k.Resting && k.Switches() > known.Switches()
	}, 10*time.Second, 10*time.Millisecond)

	// Another thread by the same TID is another thread.
	now := sample(t, s)[tid]
	require.NoError(t, s.Rest([]Rest{{TID: tid, StartBootNS: now.StartBootNS + 1, Switches: now.Switches()}}, all))
	require.False(t, sample(t, s)[tid].Resting)
}

// TestRestsAreForgotten fills the map with threads that ended.
func TestRestsAreForgotten(t *testing.T) {
	testkit.NeedBPF(t)
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(t, err)
	defer s.Close()
	alive := func(tid int) bool { return tid%4 == 0 }
	for round := range 4 {
		list := make([]Rest, restsMost*3/4)
		for i := range list {
			list[i] = Rest{TID: round*len(list) + i + 1}
		}
		require.NoError(t, s.Rest(list, alive))
		require.LessOrEqual(t, len(s.rests), 2*restsMost)
	}
}

// reader reads a pipe on a thread of its own, again and again.
func reader(t *testing.T) (wake func(), tid int) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	tids := make(chan int)
	go func() {
		runtime.LockOSThread()
		tids <- unix.Gettid()
		for buf := make([]byte, 1); ; {
			if n, err := unix.Read(fds[0], buf); n == 0 && err == nil {
				unix.Close(fds[0])
				return
			}
		}
	}()
	t.Cleanup(func() { unix.Close(fds[1]) })
	return func() { _, _ = unix.Write(fds[1], []byte("x")) }, <-tids
}

func sample(t *testing.T, s *Snapshotter) map[int]*events.Task {
	t.Helper()
	pass, err := s.Tasks()
	require.NoError(t, err)
	list, err := events.DecodeTasks(pass)
	require.NoError(t, err)
	out := make(map[int]*events.Task, len(list))
	for i := range list {
		out[list[i].TID] = &list[i]
	}
	return out
}
