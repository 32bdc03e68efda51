package strace

import (
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// thread is one traced thread.
type thread struct {
	pid, tid int
	seq      uint32 // of the last call that is known of
	lost     uint64
	dead     bool

	compat bool // its last call was a 32-bit one

	inside bool
	call   syscalls.Call
	before string // the name of the call before
	args   [6]uint64
	since  uint64 // ns of the entry
	// known tells whether since is the entry's own time: not of calls that
	// began before us.
	known  bool
	memory []byte // of the entry, copied
	// head is what is on the screen of the call already; open tells that the
	// line has not ended.
	head string
	open bool
	// early tells that the line of the call was shown at the attach.
	early bool
	// signals are those it ignores, of the time since the call began.
	signals []string
	// kept tells that the call passes the filters.
	kept bool

	ring ring
	at   madeAt // -k
}

// memories are what one line can be made from.
type memories struct {
	segments []events.Segment
	entry    []events.Segment
	exit     []events.Segment
	// files are what descriptors stood for at the two ends.
	filesEntry, filesExit []events.Segment
}

// load reads the memory of both ends.
func (m *memories) load(entry, exit []byte) {
	m.entry, m.exit = m.entry[:0], m.exit[:0]
	m.filesEntry, m.filesExit = m.filesEntry[:0], m.filesExit[:0]
	for _, part := range [...][]byte{entry, exit} {
		m.segments = events.AppendSegments(m.segments[:0], part)
		for _, s := range m.segments {
			switch {
			case s.File && s.Entry:
				m.filesEntry = append(m.filesEntry, s)
			case s.File:
				m.filesExit = append(m.filesExit, s)
			case s.Entry:
				m.entry = append(m.entry, s)
			default:
				m.exit = append(m.exit, s)
			}
		}
	}
}

// reader gives the bytes of segments by address.
func reader(list *[]events.Segment) decode.Memory {
	return func(addr uint64, n int) []byte {
		var best []byte
		for _, s := range *list {
			if addr < s.Addr || addr-s.Addr >= uint64(len(s.Data)) {
				continue
			}
			b := s.Data[addr-s.Addr:]
			if len(b) >= n {
				return b[:n]
			}
			if len(b) > len(best) {
				best = b
			}
		}
		return best
	}
}

// input is the call for package decode.
func (p *Printer) input(t *thread, returned bool, ret int64, exit []byte) decode.Input {
	p.mem.load(t.memory, exit)
	return decode.Input{
		Call: t.call, Args: t.args, Resumes: t.before, Returned: returned, Ret: ret,
		Entry: p.entryMemory, Exit: p.exitMemory,
	}
}

// lookup gives the call with a number, by a name of its own if it is unknown.
func lookup(arch syscalls.Arch, nr int) syscalls.Call {
	if c, ok := syscalls.Lookup(arch, nr); ok {
		return c
	}
	return syscalls.Call{Arch: arch, NR: nr}
}

func nameOf(c syscalls.Call) string {
	if c.Name != "" {
		return c.Name
	}
	return syscalls.Name(c.Arch, c.NR)
}
