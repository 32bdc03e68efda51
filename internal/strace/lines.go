package strace

import (
	"fmt"
	"io"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// finish shows the rest of a call's line, and where it was made.
func (p *Printer) finish(t *thread, r *events.Strace) {
	p.lines++
	p.finishLine(t, r)
	p.showStack(t, false)
}

func (p *Printer) finishLine(t *thread, r *events.Strace) {
	in := p.input(t, true, r.Return, r.Memory)
	p.learnFirst(t, r)
	args, ret := decode.Both(in, p.decode)
	if p.current != t && p.current != nil {
		p.suspend(p.current)
	}
	if t.head == "" {
		at := t.since
		if !t.known && !t.early {
			at = r.NS
		}
		p.writeWhole(t, at, r.NS, args, ret)
		return
	}
	call := nameOf(t.call) + "(" + args + ")"
	rest, ok := strings.CutPrefix(call, t.head)
	if !ok {
		rest = restOf(call, t.head)
	}
	if t.open {
		p.write(t, p.alignRest(len(t.head), rest)+"= "+ret+p.took(t, r.NS)+"\n")
		t.open = false
		return
	}
	p.write(t, p.leader(t, r.NS)+p.align("<... "+nameOf(t.call)+" resumed>"+rest)+"= "+ret+p.took(t, r.NS)+"\n")
}

// writeWhole writes the line of a call that nothing came between: most lines.
func (p *Printer) writeWhole(t *thread, at, now uint64, args, ret string) {
	b := append(p.text[:0], p.leader(t, at)...)
	start := len(b)
	b = append(append(append(append(b, nameOf(t.call)...), '('), args...), ')')
	for pad := max(p.o.Column-(len(b)-start), 1); pad > 0; pad-- {
		b = append(b, ' ')
	}
	b = append(append(append(b, "= "...), ret...), p.took(t, now)...)
	p.text = append(b, '\n')
	if w := p.output(t); w != nil {
		_, p.err = w.Write(p.text)
	}
}

// learnFirst lets the return value of an open show its path.
func (p *Printer) learnFirst(t *thread, r *events.Strace) {
	if p.o.FDPaths && syscalls.ErrnoOf(r.Return) == 0 && t.call.RetFor(t.args) == syscalls.RetFD {
		p.learn(t, r)
		p.learnFiles(t, r.Memory)
		p.mem.load(t.memory, r.Memory)
	}
}

// restOf is what follows when the arguments at the return do not begin as those
// at the entry did: what was read late. The part that is equal is not repeated.
func restOf(call, head string) string {
	n := 0
	for n < len(call) && n < len(head) && call[n] == head[n] {
		n++
	}
	if i := strings.LastIndex(call[:n], ", "); i > 0 && n < len(head) {
		n = i + 2
	}
	return call[n:]
}

func (p *Printer) align(text string) string { return p.alignRest(0, text) }

func (p *Printer) alignRest(before int, text string) string {
	pad := p.o.Column - before - len(text)
	return text + strings.Repeat(" ", max(pad, 1))
}

func (p *Printer) took(t *thread, now uint64) string {
	if !p.o.Duration {
		return ""
	}
	d := now - t.since
	if !t.known {
		return fmt.Sprintf(" <at least %d.%06d>", d/1e9, d%1e9/1e3)
	}
	return fmt.Sprintf(" <%d.%06d>", d/1e9, d%1e9/1e3)
}

// returnLost ends the line of a call whose return the tracer lost.
func (p *Printer) returnLost(t *thread) {
	t.inside = false
	if p.current == t {
		p.current = nil
	}
	if !p.shown(t) || p.o.Only || p.o.Ring > 0 {
		p.lines++
		return
	}
	p.lines++
	p.end(t, "<return lost>", "= ?", t.since)
}

// end closes the line of a call without a return value.
func (p *Printer) end(t *thread, why, ret string, now uint64) {
	if p.current != nil && p.current != t {
		p.suspend(p.current)
	}
	p.pid = t.pid
	in := p.input(t, false, 0, nil)
	head := t.head
	if head == "" {
		head = decode.Unfinished(in, p.decode)
	}
	rest := ")"
	if why != "" && head != nameOf(t.call)+"("+decode.Args(in, p.decode) || why == "<return lost>" {
		rest = " " + why + ")"
	}
	switch {
	case t.head == "":
		p.write(t, p.leader(t, t.since)+p.align(head+rest)+ret+"\n")
	case t.open:
		p.write(t, p.alignRest(len(head), rest)+ret+"\n")
	default:
		p.write(t, p.leader(t, now)+p.align("<... "+nameOf(t.call)+" resumed>"+rest)+ret+"\n")
	}
	t.open, t.head = false, ""
	if p.current == t {
		p.current = nil
	}
	if t.at.program.Kind != 0 {
		p.showStack(t, false)
	}
}

// gap tells of calls of which no record came.
func (p *Printer) gap(t *thread, r *events.Strace) {
	missing := r.Seq - t.seq - 1
	t.seq = r.Seq
	p.missing(t, missing, r.NS)
}

func (p *Printer) missing(t *thread, n uint32, now uint64) {
	if n == 0 || n > 1<<31 {
		return
	}
	t.lost += uint64(n)
	p.lost += uint64(n)
	if p.o.Only || p.o.Ring > 0 {
		return
	}
	p.note(t, now, fmt.Sprintf("<%d calls lost>", n))
}

// note writes a line of its own.
func (p *Printer) note(t *thread, now uint64, text string) {
	if p.current != nil {
		p.suspend(p.current)
	}
	p.write(t, p.leader(t, now)+text+"\n")
}

func (p *Printer) write(t *thread, text string) {
	if w := p.output(t); w != nil {
		_, p.err = io.WriteString(w, text)
	}
}

// output is where a thread's lines go; nil after an error.
func (p *Printer) output(t *thread) io.Writer {
	if p.err != nil {
		return nil
	}
	if p.o.Files == nil {
		return p.o.Output
	}
	var w io.Writer
	if w, p.err = p.o.Files(t.tid); p.err != nil {
		return nil
	}
	return w
}
