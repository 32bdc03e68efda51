package session

import (
	"context"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// firstLook is as long as a report takes at most. A machine that hangs may be
// slow, too.
const firstLook = 5 * time.Second

// first shows the threads that are inside a call. What the tracer sends
// meanwhile is kept, for it comes behind.
func (s *session) first(ctx context.Context) error {
	most := s.opts.FirstLook
	if most <= 0 {
		most = firstLook
	}
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	type result struct {
		capture *capture.Session
		snap    *facts.Snapshot
		err     error
	}
	done := make(chan result, 1)
	go func() {
		c, err := capture.New(bounded, s.opts.Capture)
		if err != nil {
			done <- result{err: err}
			return
		}
		snap, err := c.Calls(bounded, s.opts.Stacks)
		done <- result{c, snap, err}
	}()
	var kept []byte
	for {
		select {
		case r := <-done:
			switch {
			case r.capture == nil:
			case s.stacks != nil:
				s.stacks.capture = r.capture // names what comes
			default:
				r.capture.Close()
			}
			return s.show(r.snap, r.err, kept)
		case <-ctx.Done():
			return s.take(kept) // Ctrl-C: the snapshot is left behind
		case <-time.After(pause):
		}
		var err error
		if kept, err = s.tracer.Drain(kept, 64<<20); err != nil {
			return err
		}
	}
}

func (s *session) show(snap *facts.Snapshot, failed error, kept []byte) error {
	kept, err := s.tracer.Drain(kept, 64<<20)
	if err != nil {
		return err
	}
	if failed != nil {
		fmt.Fprintf(s.opts.Messages, "hangtrace: calls already in flight are not shown: %v\n", failed)
	} else if err := s.attach(snap, kept); err != nil {
		return err
	}
	s.openStacks()
	// Whoever waits for that may read at once.
	if err := s.player.out.Flush(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if s.opts.Ready != nil {
		if err := s.opts.Ready(); err != nil {
			return err
		}
	}
	return s.take(kept)
}

// attach shows and records the first lines.
func (s *session) attach(snap *facts.Snapshot, kept []byte) error {
	seen, err := threadsOf(kept)
	if err != nil {
		return err
	}
	now := monotonic()
	if err := s.player.attached(snap, seen, now); err != nil {
		return err
	}
	return s.tape.attach(snap, seen, now)
}

// take shows the records that came meanwhile.
func (s *session) take(kept []byte) error {
	s.buf = kept
	if err := s.records(); err != nil {
		return err
	}
	s.buf = make([]byte, 0, batch)
	return s.player.out.Flush()
}

// threadsOf lists the threads that records have come of: they were not stuck.
func threadsOf(data []byte) (map[int]bool, error) {
	seen := make(map[int]bool)
	var r events.Strace
	for len(data) > 0 {
		var err error
		if data, err = events.NextStrace(data, &r); err != nil {
			return nil, err
		}
		seen[r.TID] = true
	}
	return seen, nil
}
