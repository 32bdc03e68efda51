package capture

import (
	"testing"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// TestStacksInVain counts tries: one late child is not the end of it, and a
// process that is jammed is left alone after a few.
func TestStacksInVain(t *testing.T) {
	c := newCache()
	late := correlate.Suspect{PID: 7, TID: 7, StartBootNS: 1, Switches: 5, PC: 1}
	list := []correlate.Suspect{late}
	asked := func(p correlate.Suspect) bool {
		known, _ := c.stacks.get(keyOf(p, 0))
		return len(known.Frames) == 0 && known.vain < stackTries
	}
	for try := range stackTries {
		if !asked(late) {
			t.Fatalf("not asked for after %d tries", try)
		}
		c.keepStacks(list, nil)
		c.turn()
	}
	if asked(late) {
		t.Error("asked for again and again")
	}
	moved := late
	moved.Switches++ // it ran: another wait
	if !asked(moved) {
		t.Error("not asked for in its next wait")
	}
	c.keepStacks([]correlate.Suspect{moved}, []facts.UserStack{{PID: 7, TID: 7, Frames: []facts.UserFrame{{Function: "main.main"}}}})
	if known, ok := c.stacks.get(keyOf(moved, 0)); !ok || len(known.Frames) != 1 || asked(moved) {
		t.Errorf("%+v", known)
	}
}
