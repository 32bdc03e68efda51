package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

func newWalker(t testing.TB) *Walker {
	t.Helper()
	testkit.NeedBPF(t)
	w, err := NewWalker(nil)
	if errors.Is(err, ErrNotSupported) && os.Getenv("HANGTRACE_KERNEL") == "5.10" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// walkClock has the tick rate of this kernel, as Snapshotter.Clock finds it.
func walkClock(t testing.TB) facts.Clock {
	t.Helper()
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(t, err)
	defer s.Close()
	var c facts.Clock
	if err := s.Clock(&c); err != nil {
		require.ErrorIs(t, err, ErrNotSupported)
	}
	return c
}

// agreed is what two walks agree on, without any error of the walker's own.
func agreed(t testing.TB, w *Walker, opts WalkOptions) events.Walk {
	t.Helper()
	clock := walkClock(t)
	var walks [2]events.Walk
	for i := range walks {
		pass, err := w.Walk(opts)
		require.NoError(t, err)
		walks[i], err = events.DecodeWalk(pass, clock)
		require.NoError(t, err)
		require.Zero(t, walks[i].Stats["dropped"])
		require.Zero(t, walks[i].Stats["bound"])
	}
	return events.AgreeWalks(walks[0], walks[1])
}

func superOf(t testing.TB, w events.Walk, f *testkit.HangFS) events.Superblock {
	t.Helper()
	for _, s := range w.Superblocks {
		if s.Dev == events.Dev(f.Major<<20|f.Minor) {
			return s
		}
	}
	require.Failf(t, "no super block", "%d:%d in %+v", f.Major, f.Minor, w.Superblocks)
	return events.Superblock{}
}

// requestsOf maps each waiting thread to its request.
func requestsOf(w events.Walk, dev events.Dev) map[int]events.FuseRequest {
	byTID := make(map[int]events.FuseRequest)
	for _, r := range w.FuseRequests {
		if r.Dev != dev {
			continue
		}
		for _, x := range r.Waiters {
			byTID[x.TID] = r
		}
	}
	return byTID
}

// requestCount counts the requests with a waiting thread and those without,
// such as RELEASE.
func requestCount(w events.Walk, dev events.Dev) (waited, other int) {
	for _, r := range w.FuseRequests {
		switch {
		case r.Dev != dev:
		case len(r.Waiters) > 0:
			waited++
		default:
			other++
		}
	}
	return waited, other
}

// switches is how often a thread left a CPU.
func switches(t testing.TB, pid, tid int) uint64 {
	t.Helper()
	now, err := expendable.LookAt(pid, tid)
	require.NoError(t, err)
	return now.Switches
}

func hang(t testing.TB, opts testkit.HangFSOptions) (*testkit.Sandbox, *testkit.HangFS) {
	t.Helper()
	s := testkit.New(t)
	opts.MountPoint = filepath.Join(s.Dir, "vol")
	f, err := s.MountHangFS(opts)
	require.NoError(t, err)
	return s, f
}

// TestWalkJoinsFuseRequests hangs threads in requests of their own and expects
// exactly those, with the right threads, names and operations.
func TestWalkJoinsFuseRequests(t *testing.T) {
	w := newWalker(t)
	s, f := hang(t, testkit.HangFSOptions{})
	ops := []string{"stat", "open", "unlink", "rename", "mkdir", "readlink"}
	v, err := s.StartVictim("ops", append([]string{f.MountPoint}, ops...)...)
	require.NoError(t, err)
	require.NoError(t, f.Freeze())
	lines, err := v.Hang(len(ops))
	require.NoError(t, err)

	walk := agreed(t, w, WalkOptions{})
	super := superOf(t, walk, f)
	require.Equal(t, "fuse", super.FSType)
	require.NotNil(t, super.Fuse)
	require.Equal(t, f.Major<<20|f.Minor, super.Fuse.Number)
	require.True(t, super.Fuse.Connected)
	requests := requestsOf(walk, super.Dev)
	for _, l := range lines {
		r, ok := requests[l.TID]
		if !ok {
			continue // behind a lock: told apart below
		}
		require.Equal(t, "LOOKUP", r.OpName, l.Op)
		require.Equal(t, events.FuseProcessing, r.List)
		require.Equal(t, "kubelet", r.Waiters[0].Comm)
		require.Equal(t, v.PID, r.Waiters[0].PID)
		require.NotZero(t, r.Waiters[0].StartNS)
		require.Equal(t, switches(t, v.PID, l.TID), r.Waiters[0].Switches)
		require.Contains(t, l.Path, r.Name)
	}
	behind := make(map[int]bool)
	for _, l := range agreed(t, w, WalkOptions{Inodes: true}).Locks {
		if l.Dev == super.Dev {
			for _, x := range l.Waiters {
				behind[x.TID] = true
			}
		}
	}
	for _, l := range lines {
		_, ok := requests[l.TID]
		require.True(t, ok || behind[l.TID], "%s is neither in a request nor behind a lock", l.Op)
	}
	waited, other := requestCount(walk, super.Dev)
	require.Equal(t, len(requests), waited)
	require.Equal(t, super.Fuse.Waiting, waited+other)
}

// TestWalkJoinsManyThreads expects one request a thread, and none else.
func TestWalkJoinsManyThreads(t *testing.T) {
	w := newWalker(t)
	const n = 200
	lines, f := hangMany(t, n, true)
	walk := agreed(t, w, WalkOptions{})
	requests := requestsOf(walk, superOf(t, walk, f).Dev)
	if len(requests) != n {
		t.Fatalf("%d of %d threads have a request", len(requests), n)
	}
	waited, _ := requestCount(walk, superOf(t, walk, f).Dev)
	require.Equal(t, n, waited)
	for _, tid := range lines {
		require.Equal(t, "LOOKUP", requests[tid].OpName)
		require.Len(t, requests[tid].Waiters, 1)
	}
}

// TestWalkJoinsThreadsToLookup lets many threads ask for one new name: one
// asks the daemon, the others wait for that one, without any FUSE frame.
func TestWalkJoinsThreadsToLookup(t *testing.T) {
	w := newWalker(t)
	const n = 20
	tids, f := hangMany(t, n, false)
	walk := agreed(t, w, WalkOptions{})
	dev := events.Dev(f.Major<<20 | f.Minor)
	requests := requestsOf(walk, dev)
	require.Len(t, requests, 1)
	lookups := slices.DeleteFunc(walk.Lookups, func(l events.Lookup) bool { return l.Dev != dev })
	require.Len(t, lookups, 1)
	l := lookups[0]
	require.Equal(t, "/file", l.Path)
	require.Len(t, l.Waiters, n-1)
	require.Equal(t, "/file", requests[l.OwnerTID].Path)
	for _, x := range l.Waiters {
		require.Contains(t, tids, x.TID)
	}
}

// hangMany blocks n threads in LOOKUP requests of their own, or all behind one
// of them, and returns their thread IDs.
func hangMany(t testing.TB, n int, known bool) ([]int, *testkit.HangFS) {
	t.Helper()
	s, f := hang(t, testkit.HangFSOptions{})
	require.NoError(t, f.Fill(1, "file"))
	if known {
		_, err := os.Stat(filepath.Join(f.MountPoint, "file"))
		require.NoError(t, err)
	}
	require.NoError(t, f.Freeze())
	p, err := s.Start(exec.Command("/proc/self/exe", wordCrowd, strconv.Itoa(n), filepath.Join(f.MountPoint, "file")))
	require.NoError(t, err)
	tids := make([]int, n)
	for i := range tids {
		_, err := fmt.Fscan(p.Stdout, &tids[i])
		require.NoError(t, err)
	}
	for _, tid := range tids {
		_, err := testkit.AwaitBlocked(p.PID, tid, 30*time.Second)
		require.NoError(t, err)
	}
	return tids, f
}

// TestWalkJoinsPageWaiters blocks a read and a page fault in READ requests that
// no thread waits for: the threads wait for the pages.
func TestWalkJoinsPageWaiters(t *testing.T) {
	w := newWalker(t)
	if why := strings.Join(w.Degraded(), "; "); why != "" {
		require.Contains(t, why, "CONFIG_KALLSYMS_ALL")
		require.Empty(t, os.Getenv("HANGTRACE_KERNEL"), "the kernels of the matrix name their data")
		t.Skip(why)
	}
	s, f := hang(t, testkit.HangFSOptions{EntryTimeout: time.Hour, AttrTimeout: time.Hour})
	v, err := s.StartVictim("ops", f.MountPoint, "fault", "read")
	require.NoError(t, err)
	require.NoError(t, f.Freeze("READ"))
	lines, err := v.Hang(2)
	require.NoError(t, err)
	walk := agreed(t, w, WalkOptions{})
	pages := make(map[int]events.PageWait)
	for _, p := range walk.Pages {
		for _, x := range p.Waiters {
			pages[x.TID] = p
		}
	}
	for _, l := range lines {
		p, ok := pages[l.TID]
		require.True(t, ok, "%s of thread %d waits for no page: %+v", l.Op, l.TID, walk.Pages)
		require.Equal(t, "locked", p.Bit)
		require.Equal(t, events.Dev(f.Major<<20|f.Minor), p.Dev)
		require.Equal(t, f.MountPoint+p.Path, l.Path)
		reads := 0
		for _, r := range walk.FuseRequests {
			if r.Dev == p.Dev && r.OpName == "READ" && r.NodeID == p.NodeID {
				reads++
			}
		}
		require.NotZero(t, reads, "no READ of node %d: %+v", p.NodeID, walk.FuseRequests)
	}
}

// TestWalkSeesDetachedMount unmounts lazily under a blocked call.
func TestWalkSeesDetachedMount(t *testing.T) {
	w := newWalker(t)
	s, f := hang(t, testkit.HangFSOptions{})
	v, err := s.StartVictim("ops", f.MountPoint, "stat")
	require.NoError(t, err)
	require.NoError(t, f.Freeze())
	lines, err := v.Hang(1)
	require.NoError(t, err)

	mounts := func() (attached, detached []events.Mount) {
		for _, m := range agreed(t, w, WalkOptions{}).Mounts {
			switch {
			case m.Dev != events.Dev(f.Major<<20|f.Minor):
			case m.Detached:
				detached = append(detached, m)
			default:
				attached = append(attached, m)
			}
		}
		return attached, detached
	}
	attached, detached := mounts()
	require.Empty(t, detached)
	require.Len(t, attached, 1)
	require.Equal(t, f.MountID, attached[0].ID)
	require.Equal(t, f.MountPoint, attached[0].Point)
	require.NotZero(t, attached[0].NS)

	require.NoError(t, f.Detach())
	attached, detached = mounts()
	require.Empty(t, attached)
	require.Len(t, detached, 1)
	require.Equal(t, f.MountID, detached[0].ID)
	walk := agreed(t, w, WalkOptions{})
	require.Contains(t, requestsOf(walk, superOf(t, walk, f).Dev), lines[0].TID)
}

// TestWalkJoinsVictimsToOwner queues threads behind the one that holds the
// directory's lock while it waits for the daemon.
func TestWalkJoinsVictimsToOwner(t *testing.T) {
	w := newWalker(t)
	s, f := hang(t, testkit.HangFSOptions{EntryTimeout: time.Hour, AttrTimeout: time.Hour})
	require.NoError(t, os.Mkdir(filepath.Join(f.MountPoint, "dir"), 0o755))
	require.NoError(t, f.Freeze())
	shell := func(command string) int {
		pid, err := startShell(s, command)
		require.NoError(t, err)
		_, err = testkit.AwaitBlocked(pid, pid, 20*time.Second)
		require.NoError(t, err)
		return pid
	}
	root := shell(fmt.Sprintf("exec mkdir %s/dir/new", f.MountPoint))
	victim := shell(fmt.Sprintf("exec mkdir %s/dir/other", f.MountPoint))

	dev := events.Dev(f.Major<<20 | f.Minor)
	walk := agreed(t, w, WalkOptions{Inodes: true, Devices: []uint32{uint32(dev)}})
	requests := requestsOf(walk, dev)
	require.Contains(t, requests, root)
	require.NotContains(t, requests, victim)
	var found bool
	for _, l := range walk.Locks {
		if l.Dev != dev {
			continue
		}
		found = true
		require.Equal(t, "i_rwsem", l.Kind)
		require.Equal(t, "/dir", l.Path)
		require.Equal(t, root, l.OwnerTID)
		require.False(t, l.ReadOwned)
		require.NotZero(t, l.OwnerStartNS)
		require.Len(t, l.Waiters, 1)
		require.Equal(t, victim, l.Waiters[0].TID)
	}
	require.True(t, found, "%+v", walk.Locks)
}

func startShell(s *testkit.Sandbox, command string) (int, error) {
	p, err := s.Start(exec.Command("/bin/sh", "-c", command))
	if err != nil {
		return 0, err
	}
	return p.PID, nil
}
