package strace

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// kept is a call that returned, as raw as it came: most are never shown.
type kept struct {
	call         syscalls.Call
	args         [6]uint64
	since, until uint64
	known        bool
	ret          int64
	entry, exit  []byte
}

// ring keeps the last calls of a thread.
type ring struct {
	calls []kept
	next  int
	// told tells that the call in flight was shown already.
	told bool
}

// keep puts a returned call into its thread's ring, and shows the ring if the
// call took too long.
func (p *Printer) keep(t *thread, r *events.Strace, took uint64) {
	p.lines++
	if len(t.ring.calls) < p.o.Ring {
		t.ring.calls = append(t.ring.calls, kept{})
	}
	k := &t.ring.calls[t.ring.next%len(t.ring.calls)]
	t.ring.next = (t.ring.next + 1) % p.o.Ring
	*k = kept{
		call: t.call, args: t.args, since: t.since, until: r.NS, known: t.known, ret: r.Return,
		entry: append(k.entry[:0], t.memory...), exit: append(k.exit[:0], r.Memory...),
	}
	slow := took >= uint64(p.o.Threshold) || t.early && t.since != 0 && r.NS-t.since >= uint64(p.o.Threshold)
	if (slow || t.ring.told) && t.call.ClassFor(t.args) != syscalls.ClassWait {
		p.showRing(t, r.NS)
		p.showStack(t, false)
	}
	t.ring.told = false
}

// Tick shows the rings of threads whose call in flight has passed the
// threshold. It does nothing without Ring.
func (p *Printer) Tick(now uint64) error {
	if p.o.Ring == 0 {
		return nil
	}
	for _, t := range p.threads {
		if !t.inside || t.ring.told || t.since == 0 || now < t.since || now-t.since < uint64(p.o.Threshold) {
			continue
		}
		if t.call.ClassFor(t.args) == syscalls.ClassWait {
			continue // waits by nature: what led to it is no news
		}
		t.ring.told = true
		p.showRing(t, now)
		d := now - t.since
		p.pid = t.pid
		in := p.input(t, false, 0, nil)
		p.write(t, p.leader(t, t.since)+p.unfinished(in)+" <unfinished ...>"+fmt.Sprintf(" <for %s%d.%06d>\n", atLeast(t.known), d/1e9, d%1e9/1e3))
		p.showStack(t, true)
	}
	return p.err
}

func atLeast(known bool) string {
	if known {
		return ""
	}
	return "at least "
}

// showRing prints what a thread did last, and forgets it.
func (p *Printer) showRing(t *thread, now uint64) {
	p.write(t, fmt.Sprintf("hangtrace: the last %d calls of thread %d:\n", len(t.ring.calls), t.tid))
	n := len(t.ring.calls)
	first := 0
	if n == p.o.Ring {
		first = t.ring.next
	}
	was := *t
	for i := range n {
		k := &t.ring.calls[(first+i)%n]
		show := thread{
			pid: was.pid, tid: was.tid, call: k.call, args: k.args, since: k.since, known: k.known,
			memory: k.entry, inside: true, kept: true,
		}
		p.pid = was.pid
		p.finishLine(&show, &events.Strace{NS: k.until, Return: k.ret, Memory: k.exit})
	}
	t.ring.calls, t.ring.next = t.ring.calls[:0], 0
}
