package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestWalkUnderLoad walks while files and mounts come and go, next to one call
// that hangs: that one is found each time, nothing bogus ever, and the kernel
// says nothing. HANGTRACE_WALKS sets the number of walks; 10,000 is the long
// run.
func TestWalkUnderLoad(t *testing.T) {
	walks := 300
	if n, err := strconv.Atoi(os.Getenv("HANGTRACE_WALKS")); err == nil {
		walks = n
	}
	w := newWalker(t)
	clock := walkClock(t)
	s, frozen := hang(t, testkit.HangFSOptions{})
	v, err := s.StartVictim("ops", frozen.MountPoint, "stat")
	require.NoError(t, err)
	require.NoError(t, frozen.Freeze())
	lines, err := v.Hang(1)
	require.NoError(t, err)
	busy, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: filepath.Join(s.Dir, "busy")})
	require.NoError(t, err)
	silent := kernelLog(t)
	stop := load(s.Dir, busy.MountPoint)
	defer stop()

	dev := events.Dev(frozen.Major<<20 | frozen.Minor)
	var before events.Walk
	most := 0
	for i := range walks {
		pass, err := w.Walk(WalkOptions{Inodes: i%2 == 0})
		require.NoError(t, err)
		now, err := events.DecodeWalk(pass, clock)
		require.NoError(t, err)
		most = max(most, len(pass.Data))
		checkCounts(t, i, now, frozen, busy)
		if i == 0 {
			before = now
			continue
		}
		both := events.AgreeWalks(before, now)
		before = now
		requests := requestsOf(both, dev)
		if len(requests) != 1 || requests[lines[0].TID].OpName != "LOOKUP" {
			t.Fatalf("walk %d: requests of the frozen mount: %+v", i, requests)
		}
		checkPlausible(t, i, both)
	}
	stop()
	silent()
	t.Logf("%d walks, at most %d bytes each; %+v", walks, most, before.Stats)
}

// checkCounts holds the requests of a single walk against the kernel's own
// count: a walk that is led astray finds thousands. Between the two readings
// the load's few threads may come and go.
func checkCounts(t *testing.T, i int, w events.Walk, mounts ...*testkit.HangFS) {
	t.Helper()
	const slack = 64
	for _, f := range mounts {
		s := superOf(t, w, f)
		waited, other := requestCount(w, s.Dev)
		if waited+other > s.Fuse.Waiting+slack {
			t.Fatalf("walk %d: %d requests on %v, the kernel counts %d: %v", i, waited+other, s.Dev, s.Fuse.Waiting, w.Stats)
		}
	}
}

// checkPlausible refuses what no healthy structure can hold.
func checkPlausible(t *testing.T, i int, w events.Walk) {
	t.Helper()
	for _, r := range w.FuseRequests {
		known := r.Opcode >= 1 && r.Opcode <= 53
		if !known || r.Dev == 0 || r.Unique == 0 && r.List != events.FusePending && r.List != events.FuseBackground {
			t.Fatalf("walk %d: bogus request %+v", i, r)
		}
		checkWaiters(t, i, r.Waiters)
	}
	for _, l := range w.Locks {
		checkWaiters(t, i, l.Waiters)
	}
	for _, s := range w.Superblocks {
		if s.FSType == "" || s.Active < 0 || s.Active > 1<<20 {
			t.Fatalf("walk %d: bogus super block %+v", i, s)
		}
	}
	for _, m := range w.Mounts {
		if m.ID <= 0 || m.Dev == 0 {
			t.Fatalf("walk %d: bogus mount %+v", i, m)
		}
	}
}

func checkWaiters(t *testing.T, i int, waiters []events.Waiter) {
	t.Helper()
	for _, x := range waiters {
		if x.TID <= 0 || x.PID <= 0 || x.Comm == "" || x.StartNS == 0 {
			t.Fatalf("walk %d: bogus waiter %+v", i, x)
		}
	}
}

// load makes, renames and removes files on FUSE, and mounts and unmounts,
// until it is stopped.
func load(dir, volume string) (stop func()) {
	var over atomic.Bool
	done := make(chan struct{})
	workers := []func(i int){
		func(i int) { churnFiles(filepath.Join(volume, "a"), i) },
		func(i int) { churnFiles(filepath.Join(volume, "b"), i) },
		func(i int) {
			point := filepath.Join(dir, fmt.Sprintf("mount%d", i%4))
			os.MkdirAll(point, 0o755)
			if unix.Mount("none", point, "tmpfs", 0, "") == nil {
				unix.Unmount(point, unix.MNT_DETACH)
			}
			if unix.Mount(volume, point, "", unix.MS_BIND, "") == nil {
				unix.Unmount(point, unix.MNT_DETACH)
			}
		},
	}
	for _, work := range workers {
		go func() {
			for i := 0; !over.Load(); i++ {
				work(i)
			}
			done <- struct{}{}
		}()
	}
	return sync.OnceFunc(func() {
		over.Store(true)
		for range workers {
			<-done
		}
	})
}

func churnFiles(dir string, i int) {
	os.MkdirAll(dir, 0o755)
	file := filepath.Join(dir, strconv.Itoa(i%16))
	os.WriteFile(file, []byte("x"), 0o644)
	os.Rename(file, file+".new")
	os.ReadDir(dir)
	os.Remove(file + ".new")
}

// BenchmarkWalk is the cost of one walk next to so many blocked threads.
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{0, 5, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := newWalker(b)
			if n > 0 {
				hangMany(b, n, true)
			}
			var size int
			for b.Loop() {
				pass, err := w.Walk(WalkOptions{})
				if err != nil {
					b.Fatal(err)
				}
				size = len(pass.Data)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// BenchmarkNewWalker is what the first hang costs.
func BenchmarkNewWalker(b *testing.B) {
	testkit.NeedBPF(b)
	for b.Loop() {
		w, err := NewWalker(nil)
		if err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

// TestWalkerLoadsEachTime loads the programs, all at once, again and again: that
// went wrong now and then while the library had the types of modules (its decoder
// looks into the kernel's without their lock). test/ceph runs it
// beside real ones; HANGTRACE_LOADS sets how often.
func TestWalkerLoadsEachTime(t *testing.T) {
	testkit.NeedBPF(t)
	loads := 3
	if n, err := strconv.Atoi(os.Getenv("HANGTRACE_LOADS")); err == nil {
		loads = n
	}
	for range loads {
		w, err := NewWalker(nil)
		if errors.Is(err, ErrNotSupported) && os.Getenv("HANGTRACE_KERNEL") == "5.10" {
			t.Skip(err)
		}
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
}
