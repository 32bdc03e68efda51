package loader

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// Clock fills in how the scheduler's clock and jiffies relate to
// CLOCK_MONOTONIC. The scheduler's clock shows in this thread's own
// last_arrival right after it woke up.
func (s *Snapshotter) Clock(c *facts.Clock) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const rounds = 3
	prog := s.coll.Programs["snapshot_clocks"]
	look := func() error { _, err := readIterator(prog); return err }
	if own, err := linkOver(prog, infoTask{tid: uint32(unix.Gettid())}); err == nil { // not at every thread of the node
		defer unix.Close(own)
		look = func() error { return readLink(own, new(bytes.Buffer)) }
	}
	var offsets []int64
	var got bpf.SnapshotClocks
	for range rounds {
		if err := unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("sleep: %w", err)
		}
		woke := monotonic()
		if err := look(); err != nil {
			return fmt.Errorf("clock iterator: %w", err)
		}
		if err := s.coll.Variables["clocks"].Get(&got); err != nil {
			return fmt.Errorf("clocks: %w", err)
		}
		if got.LastArrivalNs != 0 {
			offsets = append(offsets, woke-int64(got.LastArrivalNs))
		}
	}
	c.JiffiesRef, c.JiffiesMonoNS = got.Jiffies, int64(got.KtimeNs)
	c.HZ = tickRate(got.Jiffies, int64(got.KtimeNs))
	if len(offsets) < rounds {
		return fmt.Errorf("last_arrival: %w", ErrNotSupported)
	}
	slices.Sort(offsets)
	c.SchedToMonoNS = offsets[rounds/2]
	c.SchedErrorNS = offsets[rounds-1] - offsets[0]
	c.SchedCalibrated = true
	return nil
}

// tickRate finds CONFIG_HZ. jiffies_64 starts at 2^32 - 300*HZ
// (include/linux/jiffies.h, INITIAL_JIFFIES) when CLOCK_MONOTONIC starts at 0,
// so one pair of values tells the rate, except near five minutes of uptime
// where all rates agree; there the most common one is taken, and the error is
// below a second over the first minutes only.
func tickRate(jiffies uint64, monoNS int64) int64 {
	ticks := float64(int64(jiffies - 1<<32))
	seconds := float64(monoNS)/1e9 - 300
	best, rate := math.Inf(1), int64(250)
	for _, hz := range []int64{250, 1000, 100, 300} {
		if off := math.Abs(ticks-float64(hz)*seconds) / float64(hz); off < best-0.05 {
			best, rate = off, hz
		}
	}
	return rate
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: the clock exists and ts is ours
	}
	return ts.Nano()
}
