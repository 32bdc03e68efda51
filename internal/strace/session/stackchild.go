package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// stackChild is the child for one process.
type stackChild struct {
	kept   *expendable.Kept
	used   int
	chains chains
	why    error     // there is none, because
	since  time.Time // of why
}

func (c *stackChild) fail(why error) { c.why, c.since = why, time.Now() }

// child gives the child for a process, or why there is none.
func (s *stacks) child(pid int) *stackChild {
	s.used++
	c := s.of[pid]
	if c == nil || c.why != nil && time.Since(c.since) > stackAgain {
		s.makeRoom()
		c = &stackChild{chains: make(chains)}
		s.of[pid] = c
		if err := s.start(c, pid); err != nil {
			c.fail(err)
		}
	}
	c.used = s.used
	return c
}

func (s *stacks) start(c *stackChild, pid int) error {
	params, err := s.capture.StackParams(pid)
	if err != nil {
		return errors.New("it ended before its program was looked into")
	}
	if c.kept, err = s.runner.Keep(fmt.Sprintf("stacks:%d", pid)); err != nil {
		return err
	}
	a, err := s.request(c, userstack.OpOpen, pid, params)
	if err == nil && a.Err != "" {
		err = errors.New(a.Err)
	}
	return err
}

// request has the child do one thing; if it does not, there is no child any more.
func (s *stacks) request(c *stackChild, op expendable.Op, pid int, params any) (expendable.Answer, error) {
	text, err := json.Marshal(params)
	if err != nil {
		return expendable.Answer{}, err
	}
	// Not until Ctrl-C, which ends the tracing: what was traced is yet to be shown.
	a, err := c.kept.Ask(context.Background(), expendable.Request{Op: op, PID: pid, Params: text}, stackPatience)
	if err != nil {
		c.kept = nil
		c.fail(err)
	}
	return a, err
}

// makeRoom ends the child that was not asked for longest.
func (s *stacks) makeRoom() {
	var oldest, n int
	for pid, c := range s.of {
		if c.kept == nil {
			continue
		}
		if n++; oldest == 0 || c.used < s.of[oldest].used {
			oldest = pid
		}
	}
	if n >= mostStackChildren {
		s.forget(oldest)
	}
}
