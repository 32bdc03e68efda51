package session

import (
	"fmt"
	"slices"
)

// gone tells that no target and none of their children is left. A death may
// have been lost, so /proc has the last word.
func (s *session) gone() bool {
	if s.opts.Capture.Targets.All {
		return false
	}
	for _, t := range s.opts.Capture.Targets.List {
		if s.lives(t.PID) {
			return false
		}
	}
	return !slices.ContainsFunc(s.player.printer.Processes(), s.lives)
}

func (s *session) lives(pid int) bool {
	_, err := s.opts.Capture.Proc.Process(pid)
	return err == nil
}

// rest asks the programs for what no record told: calls that were the last
// before a loss, and deaths.
func (s *session) rest(now uint64) error {
	list, err := s.tracer.Threads()
	if err != nil {
		return err
	}
	for _, t := range list {
		r := restFrame(t)
		if err := s.player.rest(r, now); err != nil {
			return err
		}
		if err := s.tape.answers(now); err != nil {
			return err
		}
		if err := s.tape.json(formatRest, now, r); err != nil {
			return err
		}
	}
	return nil
}

// finish shows what was still on its way, who is still inside a call, and what
// was lost.
func (s *session) finish() (Summary, error) {
	if err := s.tracer.Detach(); err != nil {
		return s.summary(monotonic()), err
	}
	var err error
	for {
		if s.buf, err = s.tracer.Drain(s.buf[:0], batch); err == nil {
			err = s.records()
		}
		if err != nil {
			return s.summary(monotonic()), err
		}
		if len(s.buf) == 0 {
			break
		}
	}
	now := monotonic()
	if s.stacks != nil {
		if s.stacks.sleeps, err = s.tracer.Sleeps(); err != nil {
			return s.summary(now), err
		}
	}
	if err := s.rest(now); err != nil {
		return s.summary(now), err
	}
	sum := s.summary(now)
	if err := s.player.printer.Finish(now); err != nil {
		return sum, fmt.Errorf("output: %w", err)
	}
	if err := s.player.out.Flush(); err != nil {
		return sum, fmt.Errorf("output: %w", err)
	}
	if err := s.tape.answers(now); err != nil {
		return sum, err
	}
	return sum, s.tape.json(formatEnd, now, sum)
}

func (s *session) summary(now uint64) Summary {
	c := s.tracer.Counts()
	return Summary{
		Calls: c.Calls, Lines: s.player.printer.Lines(), Lost: c.LostEntries,
		LostReturns: c.LostExits, LostOthers: c.LostOthers, LostStacks: c.LostStacks, NoRoom: c.NoSlot, Busy: c.Busy, Skipped: c.Skipped, Degraded: s.tracer.Degraded(),
		Hung: s.player.printer.Hung(uint64(s.opts.Capture.Judge.Threshold), now),
	}
}
