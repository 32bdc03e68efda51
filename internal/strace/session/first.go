package session

import (
	"context"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// first shows the threads that are inside a call. What the tracer sends
// meanwhile is kept, for it comes behind.
func (s *session) first(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	type result struct {
		snap *facts.Snapshot
		err  error
	}
	done := make(chan result, 1)
	go func() {
		c, err := capture.New(s.opts.Capture)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.Close()
		snap, err := c.Snapshot(bounded)
		done <- result{snap: snap, err: err}
	}()
	var kept []byte
	for {
		select {
		case r := <-done:
			return s.show(r.snap, r.err, kept)
		case <-ctx.Done():
			return nil // Ctrl-C: the snapshot is left behind
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
	} else if err := s.attached(snap, kept); err != nil {
		return err
	}
	if s.opts.Ready != nil {
		if err := s.opts.Ready(); err != nil {
			return err
		}
	}
	s.buf = kept
	if err := s.records(); err != nil {
		return err
	}
	s.buf = make([]byte, 0, batch)
	return s.out.Flush()
}

// attached shows the first lines.
func (s *session) attached(snap *facts.Snapshot, kept []byte) error {
	if len(snap.Passes) == 0 {
		return nil
	}
	tasks, err := events.DecodeTasks(snap.Passes[len(snap.Passes)-1])
	if err != nil {
		return err
	}
	if err := s.mark(kept); err != nil {
		return err
	}
	if s.opts.Lines.Quiet == 0 {
		for _, t := range s.opts.Capture.Targets.List {
			n := 0
			for i := range tasks {
				if tasks[i].PID == t.PID {
					n++
				}
			}
			fmt.Fprintf(s.opts.Messages, "hangtrace: Process %d attached with %d threads\n", t.PID, n)
		}
	}
	var list []strace.Early
	for i := range tasks {
		t := &tasks[i]
		if t.Exiting() || t.KernelThread() {
			continue
		}
		s.printer.Known(t.PID, t.TID)
		if e, ok := s.early(snap, t); ok {
			list = append(list, e)
		}
	}
	return s.printer.Attach(list, monotonic())
}

// mark notes the threads that records have come of: they were not stuck.
func (s *session) mark(kept []byte) error {
	var r events.Strace
	for len(kept) > 0 {
		var err error
		if kept, err = events.NextStrace(kept, &r); err != nil {
			return err
		}
		s.seen[r.TID] = true
	}
	return nil
}

func (s *session) early(snap *facts.Snapshot, t *events.Task) (strace.Early, bool) {
	if !t.HasRegs || t.SyscallNR < 0 || !t.Sleeping() || s.seen[t.TID] {
		return strace.Early{}, false
	}
	arch := native
	if t.Compat {
		arch = arch.Compat()
	}
	if !s.opts.Filter.Match(syscalls.Name(arch, t.SyscallNR)) {
		return strace.Early{}, false
	}
	e := strace.Early{PID: t.PID, TID: t.TID, NR: t.SyscallNR, Args: t.Args, Compat: t.Compat, Strings: make(map[uint64]string)}
	if snap.Clock.SchedCalibrated && t.LastArrivalNS != 0 {
		e.SinceNS = uint64(max(int64(t.LastArrivalNS)+snap.Clock.SchedToMonoNS, 1))
	}
	for _, u := range snap.Strings {
		if u.PID == t.PID && u.Err == "" {
			e.Strings[u.Addr] = u.Value
		}
	}
	if s.opts.Stacks {
		for _, addr := range t.Stack {
			name := snap.Symbols[addr]
			if name == "" {
				name = fmt.Sprintf("0x%x", addr)
			}
			e.Stack = append(e.Stack, name)
		}
		e.Stack = append(e.Stack, t.StackNames...)
	}
	return e, true
}
