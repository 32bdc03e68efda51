package strace

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// message is a line of the tracer's own, as strace prints to its standard error.
func (p *Printer) message(t *thread, text string) {
	if p.o.Only || p.o.Ring > 0 || p.err != nil {
		return
	}
	text = "hangtrace: " + text + "\n"
	if p.o.Notices != nil {
		_, p.err = io.WriteString(p.o.Notices, text)
		return
	}
	if p.current != nil {
		p.suspend(p.current)
	}
	p.write(t, text)
}

// personality tells of a thread that changed between 64 and 32 bits.
func (p *Printer) personality(t *thread, now uint64, arch syscalls.Arch) {
	if p.o.Quiet == 0 && !p.o.Only && p.o.Ring == 0 {
		p.note(t, now, fmt.Sprintf("[ Process PID=%d runs in %d bit mode. ]", t.tid, arch.Bits()))
	}
}

func (p *Printer) fork(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	t.seq = 0
	if p.o.Quiet == 0 {
		p.message(t, fmt.Sprintf("Process %d attached", r.TID))
	}
}

// exec follows a thread that takes the ID of its leader.
func (p *Printer) exec(r *events.Strace) {
	p.forgetProgram(r.PID, p.threads[r.Other])
	delete(p.leaders, r.PID) // it did not end: another took its place
	if r.Other == r.TID {
		return
	}
	old := p.threads[r.Other]
	leader := p.thread(r.PID, r.TID)
	if old == nil {
		return
	}
	if p.current != nil {
		p.suspend(p.current)
	}
	if leader.inside && p.showsUnfinished() && p.shown(leader) {
		p.lines++
		p.end(leader, "<unfinished ...>", "= ?", r.NS)
	}
	if p.o.Quiet < 2 && !p.o.Only && p.o.Ring == 0 {
		p.note(leader, r.NS, fmt.Sprintf("+++ superseded by execve in pid %d +++", r.Other))
	}
	delete(p.threads, r.Other)
	p.forget(old.pid)
	old.tid = r.TID
	p.threads[r.TID] = old
}

// showsUnfinished tells whether calls that never return have lines.
func (p *Printer) showsUnfinished() bool {
	return p.o.status()&Unfinished != 0 && !p.o.Only && p.o.Ring == 0
}

// coreDumped is the bit of a wait status.
const coreDumped = 0x80

func (p *Printer) death(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	signal := r.Other & 0x7f
	const sigsys = 31
	// Seccomp may end a call before any tracepoint tells of it.
	if !t.inside && signal == sigsys && r.NR >= 0 && (t.call.NR != r.NR || t.args != r.Args) {
		arch := p.o.Arch
		if r.Compat {
			arch = arch.Compat()
		}
		t.call, t.args, t.memory = lookup(arch, r.NR), r.Args, nil
		t.inside, t.kept, t.since, t.known = true, true, r.NS, true
		t.forgetStack()
	}
	last := r.Seq
	if t.inside && !t.early && last > t.seq { // it returned: more calls came behind it
		p.returnLost(t)
	}
	if t.inside {
		if p.showsUnfinished() && p.shown(t) {
			p.end(t, "<unfinished ...>", "= ?", r.NS)
		}
		p.lines++
		if p.o.Summary {
			p.count(t, 0, r.NS-t.since)
		}
	}
	t.inside = false
	p.signalsAfter(t, r.NS)
	if last > t.seq {
		p.missing(t, last-t.seq, r.NS)
	}
	t.dead = true
	p.forget(t.pid)
	delete(p.threads, r.TID)
	p.gone(t, r)
}

// Rest tells of what the records left out of a thread, at the end: calls after
// its last record, and its death.
func (p *Printer) Rest(pid, tid int, seq uint32, dead bool, code int, now uint64) error {
	t := p.threads[tid]
	if t == nil {
		if seq == 0 {
			return p.err
		}
		t = p.thread(pid, tid)
	}
	if t.inside && t.seq < seq && !t.early {
		p.returnLost(t)
	}
	if !t.inside {
		p.missing(t, seq-t.seq, now)
		t.seq = seq
	}
	if dead {
		p.death(&events.Strace{Kind: events.StraceDeath, NS: now, PID: pid, TID: tid, Seq: seq, NR: events.NoSyscall, Other: code, Leader: pid == tid})
	}
	return p.err
}

// gone shows the end of a thread. The first of a process is, as for the process
// that waits for it, the last to go: its ID lives on, and may be taken over by
// a thread that executes.
func (p *Printer) gone(t *thread, r *events.Strace) {
	end := leaderEnd{t, exitText(r.Other)}
	others := p.alive(t.pid)
	if r.Leader && others {
		p.leaders[t.pid] = end
		return
	}
	p.ended(end, r.NS)
	if leader, ok := p.leaders[t.pid]; ok && !others {
		delete(p.leaders, t.pid)
		p.ended(leader, r.NS)
	}
	if !others {
		p.forgetProgram(t.pid, nil)
	}
}

// leaderEnd is the end of a first thread that was not shown yet.
type leaderEnd struct {
	t    *thread
	text string
}

func (p *Printer) ended(e leaderEnd, now uint64) {
	if p.o.Quiet < 2 && !p.o.Only && p.o.Ring == 0 {
		p.note(e.t, now, e.text)
	}
}

// alive tells whether a process has a thread that is not dead.
func (p *Printer) alive(pid int) bool { return p.processes[pid] > 0 }

func exitText(status int) string {
	if s := status & 0x7f; s != 0 {
		core := ""
		if status&coreDumped != 0 {
			core = " (core dumped)"
		}
		return fmt.Sprintf("+++ killed by %s%s +++", syscalls.SignalName(s), core)
	}
	return fmt.Sprintf("+++ exited with %d +++", status>>8&0xff)
}

func (p *Printer) signal(r *events.Strace) {
	number := int(int32(binary.LittleEndian.Uint32(r.Info)))
	const sigkill = 9 // ends what it meets: no tracer sees it delivered
	if number == sigkill || p.o.Only || p.o.Ring > 0 || p.o.Quiet > 2 || p.o.Signals != nil && !p.o.Signals(number) {
		return
	}
	t := p.thread(r.PID, r.TID)
	text := "--- " + syscalls.SignalName(number) + " " + siginfo(p.o.Arch, r.Info) + " ---"
	if r.Ignored && t.inside { // one that is not ignored comes behind the call
		t.signals = append(t.signals, text)
		return
	}
	p.note(t, r.NS, text)
}

// signalsAfter shows the ignored signals that came during a call.
func (p *Printer) signalsAfter(t *thread, now uint64) {
	for _, text := range t.signals {
		p.note(t, now, text)
	}
	t.signals = t.signals[:0]
}

// siginfo shows the head of a siginfo as the argument of rt_sigqueueinfo is
// shown.
func siginfo(arch syscalls.Arch, info []byte) string {
	call, _ := syscalls.ByName(arch, "rt_sigqueueinfo")
	const at = 0x1000
	text := decode.Args(decode.Input{
		Call: call, Args: [6]uint64{1, 1, at},
		Entry: func(addr uint64, n int) []byte {
			if addr != at {
				return nil
			}
			return info[:min(n, len(info))]
		},
	}, decode.Options{})
	if i := strings.IndexByte(text, '{'); i >= 0 {
		return text[i:]
	}
	return "{si_signo=" + syscalls.SignalName(int(binary.LittleEndian.Uint32(info))) + "}"
}
