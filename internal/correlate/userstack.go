package correlate

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// userStack gives a hang the calls that led to it. What the Go runtime knows of
// the wait can be an older bound than the scheduler's.
func (w *world) userStack(t *events.Task, h *Hang) {
	s := w.userStacks()[t.TID]
	if s == nil || s.PID != t.PID {
		return
	}
	h.UserStack, h.UserStackEnd = []Frame{}, Text(s.End)
	for i, f := range s.Frames {
		frame := Frame{Function: Text(f.Function), File: Text(f.File), Line: Number(max(f.Line, 0)), BuildID: f.BuildID}
		if f.Function == "" && f.Module != "" {
			frame.Function = Text(fmt.Sprintf("%s+%#x", f.Module, f.Offset))
		}
		if s.Elided > 0 && i+1 == s.ElidedAt {
			frame.Elided = s.Elided
		}
		h.UserStack = append(h.UserStack, frame)
	}
	if s.Goroutine == nil {
		return
	}
	h.Goroutine = &Goroutine{ID: s.Goroutine.ID}
	since := s.Goroutine.WaitSinceNS
	if since == 0 || since > t.SampledNS {
		return
	}
	age := int64(t.SampledNS-since) / 1e6
	minutes := age / 60_000
	h.Goroutine.WaitMin = &minutes
	if h.Blocked.AtLeast && age > h.Blocked.ForMS {
		h.Blocked = Blocked{ForMS: age, AtLeast: true, Since: w.wall(since), Source: sourceGoroutine}
	}
}

func (w *world) userStacks() map[int]*facts.UserStack {
	if w.users == nil {
		w.users = make(map[int]*facts.UserStack, len(w.snap.UserStacks))
		for i := range w.snap.UserStacks {
			w.users[w.snap.UserStacks[i].TID] = &w.snap.UserStacks[i]
		}
	}
	return w.users
}
