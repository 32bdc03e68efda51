package live

import (
	"maps"
	"slices"
	"strconv"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// change follows what happens to targets: children join, the dead leave.
func (s *session) change(c events.TargetChange) error {
	if s.targets.All {
		return nil
	}
	switch c.What {
	case events.TargetForked:
		if s.has(c.PID) {
			return nil
		}
		s.targets.List = append(s.targets.List, facts.Target{PID: c.PID, Query: "child of " + strconv.Itoa(c.Parent)})
		return s.capture.SetTargets(s.targets)
	case events.TargetExited:
		// The first thread may exit before the others: follow checks.
		return s.follow()
	}
	return nil
}

// sampled makes the children that a look showed targets, as a tracer's word of
// their fork would.
func (s *session) sampled() error {
	if s.tracer != nil || s.targets.All {
		return nil
	}
	children := s.tracker.Children(s.has)
	for _, pid := range slices.Sorted(maps.Keys(children)) {
		if err := s.change(events.TargetChange{What: events.TargetForked, PID: pid, Parent: children[pid]}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) has(pid int) bool {
	return slices.ContainsFunc(s.targets.List, func(t facts.Target) bool { return t.PID == pid })
}

// follow drops targets that are gone and looks for the new process of a name.
func (s *session) follow() error {
	if s.targets.All {
		return nil
	}
	p := s.opts.Capture.Proc
	var kept []facts.Target
	changed := false
	for _, t := range s.targets.List {
		if p.Runs(t.PID) {
			kept = append(kept, t)
			continue
		}
		changed = true
		if s.tracer != nil {
			if err := s.tracer.SetTarget(t.PID, false); err != nil {
				return err
			}
		}
		if !s.asked(t.Query) {
			continue // a child that ended is no news
		}
		if err := s.notice("%s (pid %d) is gone", t.Query, t.PID); err != nil {
			return err
		}
	}
	s.targets.List = kept
	found, err := s.restarted()
	if err != nil {
		return err
	}
	if !changed && !found {
		return nil
	}
	return s.capture.SetTargets(s.targets)
}

// over tells whether there is nothing left to wait for: every target was a
// process by its PID, which does not come back, and all of them are gone.
func (s *session) over() bool {
	if s.targets.All || len(s.targets.List) > 0 || len(s.tracker.Watched()) > 0 {
		return false
	}
	for _, q := range s.opts.Queries {
		if _, err := strconv.Atoi(q); err != nil {
			return false
		}
	}
	return true
}

func (s *session) asked(query string) bool { return slices.Contains(s.opts.Queries, query) }

// restarted looks for processes that queries name and nobody stands for now.
func (s *session) restarted() (bool, error) {
	found := false
	for _, q := range s.opts.Queries {
		if _, err := strconv.Atoi(q); err == nil {
			continue // a PID is one process and no other
		}
		if slices.ContainsFunc(s.targets.List, func(t facts.Target) bool { return t.Query == q }) {
			continue
		}
		list, err := capture.FindTargets(s.opts.Capture.Proc, []string{q})
		if err != nil {
			continue // not there yet
		}
		for _, t := range list.List {
			if s.has(t.PID) {
				continue
			}
			found = true
			s.targets.List = append(s.targets.List, t)
			if s.tracer != nil {
				if err := s.tracer.SetTarget(t.PID, true); err != nil {
					return found, err
				}
			}
			if err := s.notice("%s is now pid %d", q, t.PID); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}
