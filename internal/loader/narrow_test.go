package loader

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestNarrow holds a pass over single processes against one over everything.
func TestNarrow(t *testing.T) {
	testkit.NeedBPF(t)
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(t, err)
	defer s.Close()
	if s.narrow == nil {
		t.Skip("Linux before 6.7")
	}
	other := exec.Command("sleep", "100")
	require.NoError(t, other.Start())
	defer other.Process.Kill()
	ended := exec.Command("true")
	require.NoError(t, ended.Run())
	_, tid := reader(t)
	pids := []int{os.Getpid(), other.Process.Pid, ended.Process.Pid}
	require.NoError(t, s.SetTargets(pids))

	// This process's runtime starts threads when it likes: those that were there
	// before and after must be in between, and nothing else.
	before := wide(t, s)
	got := sample(t, s)
	after := wide(t, s)
	require.NotNil(t, s.narrow, "given up")
	require.Len(t, s.narrow.links, 3)
	require.Contains(t, got, tid)
	require.Contains(t, got, other.Process.Pid)
	for tid := range got {
		require.True(t, before[tid] != nil || after[tid] != nil, "%d is in no pass over everything", tid)
	}
	for tid := range before {
		require.True(t, after[tid] == nil || got[tid] != nil, "%d is missing", tid)
	}

	require.NoError(t, s.SetTargets(pids[1:2]))
	require.Len(t, s.narrow.links, 1)
	require.Len(t, sample(t, s), 1)
	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	require.Eventually(t, func() bool { return len(sample(t, s)) == 0 }, 10*time.Second, 10*time.Millisecond)
	require.NotNil(t, s.narrow, "given up")
}

// wide samples by a pass over everything.
func wide(t *testing.T, s *Snapshotter) map[int]*events.Task {
	t.Helper()
	saved := s.narrow
	s.narrow = nil
	defer func() { s.narrow = saved }()
	return sample(t, s)
}

// TestNarrowFindsChildren needs a pass over everything now and then.
func TestNarrowFindsChildren(t *testing.T) {
	testkit.NeedBPF(t)
	s, err := NewSnapshotter(SnapshotOptions{Children: true})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.SetTargets([]int{os.Getpid()}))
	child := exec.Command("sleep", "100")
	require.NoError(t, child.Start())
	defer child.Process.Kill()
	seen := 0
	for range 2 * wideEvery {
		if sample(t, s)[child.Process.Pid] != nil {
			seen++
		}
	}
	require.GreaterOrEqual(t, seen, 2)
}

// TestClockOfOneThread: clocks are compared by a look at one thread of this process.
func TestClockOfOneThread(t *testing.T) {
	testkit.NeedBPF(t)
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(t, err)
	defer s.Close()
	var c facts.Clock
	require.NoError(t, s.Clock(&c))
	require.True(t, c.SchedCalibrated)
	require.Positive(t, c.JiffiesMonoNS)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	time.Sleep(time.Millisecond)
	before := monotonic()
	require.NoError(t, s.SetTargets([]int{os.Getpid()}))
	own, err := linkOver(s.coll.Programs["snapshot_tasks"], infoTask{tid: uint32(unix.Gettid())})
	require.NoError(t, err)
	defer unix.Close(own)
	var data bytes.Buffer
	require.NoError(t, readLink(own, &data))
	list, err := events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: data.Bytes()})
	require.NoError(t, err)
	if s.narrow != nil { // older kernels may show every thread
		require.Len(t, list, 1)
	}
	i := slices.IndexFunc(list, func(k events.Task) bool { return k.TID == unix.Gettid() })
	require.GreaterOrEqual(t, i, 0)
	arrival := int64(list[i].LastArrivalNS) + c.SchedToMonoNS
	require.InDelta(t, before, arrival, float64(time.Minute), "it arrived on its CPU a moment ago")
}
