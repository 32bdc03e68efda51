package live

import (
	"context"
	"errors"
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// tick looks at the threads once more.
func (s *session) tick(ctx context.Context) error {
	if err := s.follow(); err != nil {
		return err
	}
	s.punctual(time.Now())
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest(s.opts.Capture.Judge.Threshold))
	defer cancel()
	snap, err := s.capture.Tick(bounded)
	if errors.Is(err, capture.ErrNoTarget) {
		return nil // the targets are gone; follow looks for new ones
	}
	if err != nil {
		return err
	}
	return s.observe(snap)
}

// punctual counts the looks that were due since the last one, where that is
// longer ago than a look may take: the session got no CPU, had too much to look
// at, or nobody took its output. Looks are all there is where nothing is hooked.
func (s *session) punctual(now time.Time) {
	threshold := s.opts.Capture.Judge.Threshold
	if ago := now.Sub(s.looked); !s.looked.IsZero() && ago > longest(threshold)+tickOf(threshold) {
		s.late += uint64(ago/tickOf(threshold)) - 1
	}
	s.looked = now
}

// lost counts what was missed so far, by place.
func (s *session) lost() map[string]uint64 {
	switch {
	case s.tracer != nil:
		return s.tracer.Lost()
	case s.late > 0:
		return map[string]uint64{"looks": s.late}
	}
	return nil
}

func (s *session) observe(snap *facts.Snapshot) error {
	s.clock = snap.Clock
	if s.opts.Recorder != nil {
		if err := s.opts.Recorder.Snapshot(snap); err != nil {
			return err
		}
	}
	list, err := s.tracker.Observe(snap)
	if err != nil {
		return err
	}
	s.seed()
	s.sweep()
	if err := s.sampled(); err != nil {
		return err
	}
	lost := s.lost()
	if e := s.tracker.Lost(snap.TakenAt, lost); e != nil {
		list = append(list, e)
		if err := s.recordLost(snap.TakenAt, lost); err != nil {
			return err
		}
	}
	return s.emit(list...)
}

// seed makes the tracer notice the return of calls that began before it.
func (s *session) seed() {
	if s.tracer == nil {
		return
	}
	seeded := make(map[int]uint64)
	for _, t := range s.tracker.Watched() {
		if t.SyscallNR < 0 || !t.HasRegs || t.Compat {
			continue
		}
		seeded[t.TID] = t.StartBootNS
		if s.seeded[t.TID] == t.StartBootNS {
			continue
		}
		// Without it the end is still seen, only not its return value.
		_ = s.tracer.Seed(t.PID, t.TID, t.SyscallNR, t.Args)
	}
	s.seeded = seeded
}

// sweepEvery is how often the tracer's slots are looked through for those of the
// dead.
const sweepEvery = 10 * time.Second

func (s *session) sweep() {
	if s.tracer != nil && time.Since(s.swept) > sweepEvery {
		s.tracer.Sweep()
		s.swept = time.Now()
	}
}
