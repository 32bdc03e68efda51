package strace

import (
	"strconv"
	"time"

	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// leader is what stands in front of a line: the thread and the time.
func (p *Printer) leader(t *thread, now uint64) string { return string(p.appendLeader(nil, t, now)) }

func (p *Printer) appendLeader(b []byte, t *thread, now uint64) []byte {
	switch {
	case p.o.Files != nil:
	case p.o.Prefix:
		start := len(b)
		b = strconv.AppendInt(b, int64(t.tid), 10)
		for len(b)-start < 5 {
			b = append(b, ' ')
		}
		b = append(b, ' ')
	case p.many:
		b = append(appendPadded(append(b, "[pid "...), uint64(t.tid), 5, ' '), "] "...)
	}
	b = p.appendTime(b, now)
	if p.o.Relative {
		b = p.appendRelative(b, now)
	}
	return b
}

// appendRelative is -r: the time since the line before, in brackets behind one
// of day.
func (p *Printer) appendRelative(b []byte, now uint64) []byte {
	d := uint64(0)
	if p.lastNS != 0 && now > p.lastNS {
		d = now - p.lastNS
	}
	p.lastNS = now
	if p.o.Clock != NoClock {
		b = append(b, "(+"...)
	}
	b = append(appendPadded(b, d/1e9, 6, ' '), '.')
	b = appendPadded(b, d%1e9/1e3, 6, '0')
	if p.o.Clock != NoClock {
		b = append(b, ')')
	}
	return append(b, ' ')
}

func (p *Printer) appendTime(b []byte, now uint64) []byte {
	if p.o.Clock == NoClock {
		return b
	}
	ns := int64(now) + p.o.WallOffset
	if p.o.Clock == Epoch {
		return append(appendSeconds(b, uint64(ns)), ' ')
	}
	if sec := ns / 1e9; sec != p.second || len(p.clock) == 0 {
		p.second, p.clock = sec, time.Unix(sec, 0).In(p.o.Location).AppendFormat(p.clock[:0], "15:04:05")
	}
	b = append(b, p.clock...)
	if p.o.Clock == Microseconds {
		b = appendPadded(append(b, '.'), uint64(ns%1e9/1e3), 6, '0')
	}
	return append(b, ' ')
}

// unfinished is the text of a call that has not returned.
func (p *Printer) unfinished(in decode.Input) string { return decode.Unfinished(in, p.decode) }
