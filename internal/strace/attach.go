package strace

import (
	"fmt"
	"sort"

	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// Early is a thread that was inside a call before the tracer.
type Early struct {
	PID, TID int
	NR       int
	Args     [6]uint64
	Compat   bool
	// SinceNS is since when at least, CLOCK_MONOTONIC; 0 when unknown.
	SinceNS uint64
	// Strings gives strings of its memory that could be read.
	Strings map[uint64]string
	// Stack is the kernel's, symbolised (-k).
	Stack []string
}

// Known tells the Printer of a thread that is in no call.
func (p *Printer) Known(pid, tid int) { p.thread(pid, tid) }

// Attach shows the threads that are inside a call, oldest first, each on a line
// of its own. Threads of which records have come already are left out by the
// caller.
func (p *Printer) Attach(list []Early, nowNS uint64) error {
	sort.SliceStable(list, func(i, j int) bool { return list[i].SinceNS < list[j].SinceNS })
	for i := range list {
		p.thread(list[i].PID, list[i].TID)
	}
	for i := range list {
		p.attach(&list[i], nowNS)
	}
	return p.err
}

func (p *Printer) attach(e *Early, now uint64) {
	t := p.thread(e.PID, e.TID)
	arch := p.o.Arch
	if e.Compat {
		arch = arch.Compat()
	}
	t.call, t.args = lookup(arch, e.NR), e.Args
	t.inside, t.early, t.kept = true, true, true
	t.since, t.known = e.SinceNS, false
	t.forgetStack()
	t.at.lines = e.Stack
	t.memory = nil
	for addr, s := range e.Strings {
		t.memory = appendSegment(t.memory, addr, s)
	}
	if !p.shown(t) || p.whole() && p.o.Ring == 0 || p.o.Ring > 0 {
		return
	}
	p.pid = t.pid
	t.head = decode.Unfinished(p.input(t, false, 0, nil), p.decode)
	p.write(t, p.leader(t, now)+t.head+" <unfinished ...>"+age(e.SinceNS, now)+"\n")
	for _, f := range e.Stack {
		p.write(t, " > "+f+"\n")
	}
}

func appendSegment(b []byte, addr uint64, s string) []byte {
	var head [16]byte
	put64(head[:], addr)
	n := len(s) + 1
	put64(head[8:], uint64(n)|1<<32)
	b = append(append(b, head[:]...), s...)
	return append(b, make([]byte, 1+(8-n%8)%8)...)
}

func put64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}

func age(since, now uint64) string {
	if since == 0 || now < since {
		return " <for unknown>"
	}
	d := now - since
	return fmt.Sprintf(" <for at least %d.%06d>", d/1e9, d%1e9/1e3)
}

// Finish shows who is still inside a call, and the table of counts.
func (p *Printer) Finish(now uint64) error {
	var inside []*thread
	for _, t := range p.threads {
		if t.inside && t.kept {
			inside = append(inside, t)
		}
	}
	sort.Slice(inside, func(i, j int) bool { return inside[i].since < inside[j].since })
	if p.current != nil {
		p.suspend(p.current)
	}
	for _, t := range inside {
		p.pending(t, now)
		if !t.early {
			p.lines++
		}
		if p.o.Only || p.o.Ring > 0 || !p.shown(t) || p.o.status()&Unfinished == 0 {
			continue
		}
		p.pid = t.pid
		text := decode.Unfinished(p.input(t, false, 0, nil), p.decode) + " <unfinished ...>"
		if t.known {
			d := now - t.since
			text += fmt.Sprintf(" <for %d.%06d>", d/1e9, d%1e9/1e3)
		} else {
			text += age(t.since, now)
		}
		p.write(t, p.leader(t, now)+text+"\n")
		p.showStack(t, true)
	}
	if p.o.Summary && p.err == nil {
		p.err = p.writeTable()
	}
	return p.err
}

// Hung counts the threads that are inside a file call for longer than the
// threshold.
func (p *Printer) Hung(threshold, now uint64) int {
	n := 0
	for _, t := range p.threads {
		if !t.inside || t.since == 0 || now < t.since || now-t.since < threshold {
			continue
		}
		switch t.call.ClassFor(t.args) {
		case syscalls.ClassPath, syscalls.ClassSync:
			n++
		}
	}
	return n
}
