package strace

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// message is a line of the tracer's own, as strace prints to its standard error.
func (p *Printer) message(t *thread, text string) {
	if p.o.Only || p.o.Ring > 0 {
		return
	}
	if p.current != nil {
		p.suspend(p.current)
	}
	p.write(t, "hangtrace: "+text+"\n")
}

func (p *Printer) fork(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	t.seq = 0
	if p.o.Quiet == 0 && p.o.Files == nil {
		p.message(t, fmt.Sprintf("Process %d attached", r.TID))
	}
}

// exec follows a thread that takes the ID of its leader.
func (p *Printer) exec(r *events.Strace) {
	p.fds.forget(r.PID)
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
	if leader.inside && !p.whole() && p.shown(leader) {
		p.lines++
		p.end(leader, "<unfinished ...>", "= ?", r.NS)
	}
	if p.o.Quiet < 2 && !p.o.Only && p.o.Ring == 0 {
		p.note(leader, r.NS, fmt.Sprintf("+++ superseded by execve in pid %d +++", r.Other))
	}
	delete(p.threads, r.Other)
	p.live--
	old.tid = r.TID
	p.threads[r.TID] = old
}

// coreDumped is the bit of a wait status.
const coreDumped = 0x80

func (p *Printer) death(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	signal := r.Other & 0x7f
	const sigsys = 31
	if !t.inside && signal == sigsys && r.NR >= 0 { // seccomp ends a call before the tracepoint
		arch := p.o.Arch
		if r.Compat {
			arch = arch.Compat()
		}
		t.call, t.args, t.memory = lookup(arch, r.NR), r.Args, nil
		t.inside, t.kept, t.since, t.known = true, true, r.NS, true
	}
	last := r.Seq
	if t.inside {
		if !p.whole() && p.shown(t) {
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
	if p.o.Quiet < 2 && !p.o.Only && p.o.Ring == 0 {
		p.note(t, r.NS, exitText(r.Other))
	}
	t.dead = true
	p.live--
	delete(p.threads, r.TID)
	if r.Leader {
		p.fds.forget(r.PID)
	}
}

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
	if p.o.Only || p.o.Ring > 0 || p.o.Quiet > 2 || p.o.Signals != nil && !p.o.Signals(number) {
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

// faultCodes are the codes of signals that the hardware raises.
var faultCodes = map[string][]string{
	"SIGSEGV": {"SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"},
	"SIGBUS":  {"BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"},
	"SIGILL":  {"ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK"},
	"SIGFPE":  {"FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"},
	"SIGTRAP": {"TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"},
}

// siginfo shows the head of a siginfo: a fault by its address, others as the
// argument of rt_sigqueueinfo is shown.
func siginfo(arch syscalls.Arch, info []byte) string {
	name := syscalls.SignalName(int(binary.LittleEndian.Uint32(info)))
	code := int(int32(binary.LittleEndian.Uint32(info[8:])))
	if codes := faultCodes[name]; code > 0 && code <= len(codes) {
		addr := "NULL"
		if a := binary.LittleEndian.Uint64(info[16:]); a != 0 {
			addr = fmt.Sprintf("%#x", a)
		}
		return fmt.Sprintf("{si_signo=%s, si_code=%s, si_addr=%s}", name, codes[code-1], addr)
	}
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
	return "{si_signo=" + name + "}"
}
