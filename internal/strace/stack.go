package strace

import (
	"github.com/hangtrace/hangtrace/internal/events"
)

// CallStack is what is known of where a call was made.
type CallStack struct {
	PID, TID int
	Seq      uint32
	Compat   bool
	// Program are the caller's registers and stack; nil if that record was lost.
	Program *events.Strace
	// Kernel is where it slept for longest, innermost first; nil if it did not.
	Kernel []uint64
	// Inside tells of a call that has not returned.
	Inside bool
}

// madeAt keeps where a call was made until its line is shown.
type madeAt struct {
	program events.Strace // copied; of no call if Kind is 0
	memory  []byte
	kernel  []uint64
	lines   []string // what to show, if that is known already
}

// stack keeps where the call in flight was made.
func (p *Printer) stack(r *events.Strace) {
	t := p.threads[r.TID]
	if p.o.Stack == nil || t == nil || !t.inside || t.seq != r.Seq {
		return
	}
	if r.Kind == events.StraceSlept {
		t.at.kernel = append(t.at.kernel[:0], r.Kernel...)
		return
	}
	t.at.memory = append(t.at.memory[:0], r.Memory...)
	t.at.program = *r
	t.at.program.Memory = t.at.memory
}

// forgetStack begins a call.
func (t *thread) forgetStack() {
	t.at.program.Kind, t.at.kernel, t.at.lines = 0, t.at.kernel[:0], nil
}

// showStack shows where the call was made whose line was just ended.
func (p *Printer) showStack(t *thread, inside bool) {
	if p.o.Stack == nil || p.err != nil {
		return
	}
	if t.at.lines == nil {
		t.at.lines = p.stackLines(t, inside)
	}
	for _, l := range t.at.lines {
		p.write(t, " > "+l+"\n")
	}
}

func (p *Printer) stackLines(t *thread, inside bool) []string {
	c := CallStack{PID: t.pid, TID: t.tid, Seq: t.seq, Compat: t.compat, Kernel: t.at.kernel, Inside: inside}
	if t.at.program.Kind != 0 {
		c.Program = &t.at.program
	}
	return p.o.Stack(&c)
}

// forgetProgram is told of a process whose program is gone. A thread that is in
// its execve came there from the old one.
func (p *Printer) forgetProgram(pid int, t *thread) {
	p.fds.forget(pid)
	if t != nil && t.inside && t.at.program.Kind != 0 && t.at.lines == nil && p.o.Stack != nil {
		t.at.lines = p.stackLines(t, false)
	}
	if p.o.Forget != nil {
		p.o.Forget(pid)
	}
}
