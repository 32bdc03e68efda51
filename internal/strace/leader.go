package strace

import (
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// leader is what stands in front of a line: the thread and the time.
func (p *Printer) leader(t *thread, now uint64) string {
	b := p.line[:0]
	switch {
	case p.o.Files != nil:
	case p.o.Prefix:
		b = fmt.Appendf(b, "%-5d ", t.tid)
	case p.many:
		b = fmt.Appendf(b, "[pid %5d] ", t.tid)
	}
	b = p.appendTime(b, now)
	if p.o.Relative {
		b = p.appendRelative(b, now)
	}
	p.line = b
	return string(b)
}

// appendRelative is -r: the time since the line before, in brackets behind one
// of day.
func (p *Printer) appendRelative(b []byte, now uint64) []byte {
	d := uint64(0)
	if p.lastNS != 0 && now > p.lastNS {
		d = now - p.lastNS
	}
	p.lastNS = now
	format := "%6d.%06d "
	if p.o.Clock != NoClock {
		format = "(+%6d.%06d) "
	}
	return fmt.Appendf(b, format, d/1e9, d%1e9/1e3)
}

func (p *Printer) appendTime(b []byte, now uint64) []byte {
	if p.o.Clock == NoClock {
		return b
	}
	wall := time.Unix(0, int64(now)+p.o.WallOffset).In(p.o.Location)
	switch p.o.Clock {
	case Seconds:
		b = wall.AppendFormat(b, "15:04:05")
	case Microseconds:
		b = wall.AppendFormat(b, "15:04:05.000000")
	case Epoch:
		b = fmt.Appendf(b, "%d.%06d", wall.Unix(), wall.Nanosecond()/1000)
	}
	return append(b, ' ')
}

// unfinished is the text of a call that has not returned.
func (p *Printer) unfinished(in decode.Input) string { return decode.Unfinished(in, p.decode) }
