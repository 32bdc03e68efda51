package strace

import (
	"fmt"
	"io"
	"strconv"
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
	if p.current != t && p.current != nil {
		p.suspend(p.current)
	}
	in := p.input(t, true, r.Return, r.Memory)
	p.learnFirst(t, r)
	if t.head == "" {
		p.writeWhole(t, r.NS, &in)
		return
	}
	b, ret := decode.Append(append(append(p.text[:0], nameOf(t.call)...), '('), in, p.decode)
	p.text = append(b, ')')
	call := string(p.text)
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
func (p *Printer) writeWhole(t *thread, now uint64, in *decode.Input) {
	at := t.since
	if !t.known && !t.early {
		at = now
	}
	b := p.appendLeader(p.text[:0], t, at)
	start := len(b)
	b, ret := decode.Append(append(append(b, nameOf(t.call)...), '('), *in, p.decode)
	b = append(b, ')')
	for pad := max(p.o.Column-(len(b)-start), 1); pad > 0; pad -= len(spaces) {
		b = append(b, spaces[:min(pad, len(spaces))]...)
	}
	b = p.appendTook(append(append(b, "= "...), ret...), t, now)
	p.text = append(b, '\n')
	if w := p.output(t); w != nil {
		_, p.err = w.Write(p.text)
	}
}

const spaces = "                                        "

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

func (p *Printer) took(t *thread, now uint64) string { return string(p.appendTook(nil, t, now)) }

func (p *Printer) appendTook(b []byte, t *thread, now uint64) []byte {
	if !p.o.Duration {
		return b
	}
	d := now - t.since
	b = append(b, " <"...)
	if !t.known {
		b = append(b, "at least "...)
	}
	return append(appendSeconds(b, d), '>')
}

// appendSeconds appends ns as seconds with six digits behind the point.
func appendSeconds(b []byte, ns uint64) []byte {
	b = append(strconv.AppendUint(b, ns/1e9, 10), '.')
	return appendPadded(b, ns%1e9/1e3, 6, '0')
}

// appendPadded is C's %0*u, or %*u with a space.
func appendPadded(b []byte, v uint64, width int, pad byte) []byte {
	for limit, digits := uint64(10), 1; digits < width; limit, digits = limit*10, digits+1 {
		if v < limit {
			for ; digits < width; digits++ {
				b = append(b, pad)
			}
		}
	}
	return strconv.AppendUint(b, v, 10)
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
