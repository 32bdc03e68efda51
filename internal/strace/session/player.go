package session

import (
	"bufio"
	"fmt"
	"io"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// player makes lines of what comes: from the tracer, or from a recording. What
// both show must be the same, so neither does it otherwise.
type player struct {
	printer  *strace.Printer
	out      *bufio.Writer
	messages io.Writer
	arch     syscalls.Arch
	filter   *strace.Filter
	quiet    int
	stacks   bool
}

// records shows a batch of the tracer's records.
func (p *player) records(data []byte) error {
	var r events.Strace
	for len(data) > 0 {
		var err error
		if data, err = events.NextStrace(data, &r); err != nil {
			return err
		}
		if err := p.printer.Record(&r); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
	return nil
}

func (p *player) rest(t restFrame, now uint64) error {
	return p.printer.Rest(t.PID, t.TID, t.Seq, t.Dead, t.Code, now)
}

// attached shows the first lines. Threads in seen have records already.
func (p *player) attached(snap *facts.Snapshot, seen map[int]bool, now uint64) error {
	if len(snap.Passes) == 0 {
		return nil
	}
	tasks, err := events.DecodeTasks(snap.Passes[len(snap.Passes)-1])
	if err != nil {
		return err
	}
	if p.quiet == 0 {
		p.greet(snap.Targets, tasks)
	}
	for _, s := range snap.Skipped {
		fmt.Fprintf(p.messages, "hangtrace: not read: %s: %s\n", s.What, s.Why)
	}
	var list []strace.Early
	for i := range tasks {
		t := &tasks[i]
		if t.Exiting() || t.KernelThread() {
			continue
		}
		p.printer.Known(t.PID, t.TID)
		if e, ok := p.early(snap, t, seen); ok {
			list = append(list, e)
		}
	}
	return p.printer.Attach(list, now)
}

func (p *player) greet(targets []facts.Target, tasks []events.Task) {
	for _, t := range targets {
		n := 0
		for i := range tasks {
			if tasks[i].PID == t.PID {
				n++
			}
		}
		noun := "threads"
		if n == 1 {
			noun = "thread"
		}
		fmt.Fprintf(p.messages, "hangtrace: Process %d attached with %d %s\n", t.PID, n, noun)
	}
}

func (p *player) early(snap *facts.Snapshot, t *events.Task, seen map[int]bool) (strace.Early, bool) {
	if !t.HasRegs || t.SyscallNR < 0 || !t.Sleeping() || seen[t.TID] {
		return strace.Early{}, false
	}
	arch := p.arch
	if t.Compat {
		arch = arch.Compat()
	}
	if !p.filter.Match(syscalls.Name(arch, t.SyscallNR)) {
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
	if p.stacks {
		e.Stack = stackOf(snap, t)
	}
	return e, true
}

// stackOf gives the kernel's frames and then the program's, innermost first.
func stackOf(snap *facts.Snapshot, t *events.Task) []string {
	var list []string
	for _, addr := range t.Stack {
		name := snap.Symbols[addr]
		if name == "" {
			name = fmt.Sprintf("0x%x", addr)
		}
		list = append(list, name)
	}
	list = append(list, t.StackNames...)
	for i := range snap.UserStacks {
		u := &snap.UserStacks[i]
		if u.TID != t.TID || u.PID != t.PID {
			continue
		}
		for _, f := range u.Frames {
			list = append(list, frameText(f))
		}
		if u.End != "" {
			list = append(list, "("+u.End+")")
		}
	}
	return list
}

// frameText shows a frame of the program as strace does: module(function+0x1),
// with the source line where it is known.
func frameText(f facts.UserFrame) string {
	name := f.Function
	switch {
	case f.File != "":
		return fmt.Sprintf("%s (%s:%d)", name, f.File, f.Line)
	case f.Module != "" && name == "":
		return fmt.Sprintf("%s() [0x%x]", f.Module, f.Offset)
	case f.Module != "":
		return fmt.Sprintf("%s(%s+0x%x) [0x%x]", f.Module, name, f.Into, f.Offset)
	case name == "":
		return "unknown"
	}
	return name
}
