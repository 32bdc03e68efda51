package e2e

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// TestTornReads has hundreds of threads go from a long sleep that is no hang into
// a short wait for a file system, and back, while they are looked at. What a look
// tells of a thread is read one after the other: a sleep's age must never stand
// beside the wait that came after it.
func TestTornReads(t *testing.T) {
	const (
		naps  = 600
		sleep = 1200 * time.Millisecond
		limit = "--threshold=600ms" // a stat of half a sleep is slow, and the victim says so
		looks = 15
	)
	s := newStage(t)
	fs := s.mount(filepath.Join(s.Dir, "volume"), "")
	v := s.victim("naps", fs.MountPoint, fmt.Sprint(naps), sleep.String())
	frozen := s.mount(filepath.Join(s.Dir, "frozen"), "") // beside a hang more is looked at
	hung := s.victim("ops", frozen.MountPoint, "stat")
	tid := s.hang(hung, frozen, 1)[0].TID
	time.Sleep(sleep)

	stop := make(chan struct{})
	var blinks sync.WaitGroup
	blinks.Go(func() {
		every(stop, 5*time.Millisecond, func() {
			_ = fs.Freeze()
			time.Sleep(20 * time.Millisecond)
			_ = fs.Thaw()
		})
	})
	defer func() {
		close(stop)
		blinks.Wait()
		require.NoError(t, fs.Thaw())
	}()
	for _, backend := range backends {
		var found []*correlate.Hang
		for range looks {
			found = append(found, report(t, s.Sandbox, exitHung, pid(v.PID), pid(hung.PID), limit, "--fs=all", "--backend="+backend).Hangs...)
		}
		slow := map[int]bool{}
		lines, _ := v.Await(victim.EventReturned, 1<<30, time.Second) // all that there are
		for _, line := range lines {
			slow[line.TID] = true
		}
		seen := 0
		var torn []string
		for _, h := range found {
			switch {
			case h.Task.TID == tid:
				seen++
			case !slow[h.Task.TID]:
				torn = append(torn, fmt.Sprintf("%d: %s in %+v for %dms, %q", h.Task.TID, h.Reason, h.Syscall, h.Blocked.ForMS, h.KernelStack))
			}
		}
		require.Equal(t, looks, seen, backend)
		if len(torn) > 0 {
			t.Errorf("%s: %d hangs of threads that never waited for long; the first: %s", backend, len(torn), torn[0])
		}
	}
}
