// Package decode shows a system call with the memory its arguments point to.
//
// In: a call, its registers, its return value, and whatever bytes the tracer
// captured at entry and at exit. Out: the line strace 6.1 prints for it. Needs
// tells the tracer which bytes those are. It is pure and total: missing or
// nonsensical memory makes an argument print as an address, never as something
// it is not. It must never read memory or files itself.
package decode

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Memory gives up to n bytes at an address of the traced process; fewer when
// only the beginning was captured, none when nothing was.
type Memory func(addr uint64, n int) []byte

// Input is one system call.
type Input struct {
	Call syscalls.Call
	Args [6]uint64
	// Resumes is the call before that restart_syscall goes on with.
	Resumes string
	// Returned tells whether the call has returned, and Ret what.
	Returned bool
	Ret      int64
	// Entry and Exit give memory as it was at the two ends of the call; nil
	// when none was captured. What was captured at exit is not asked of Entry.
	Entry, Exit Memory
}

// Options are the choices strace gives on its command line.
type Options struct {
	// StringLimit is strace's -s: how many bytes of data are shown. Paths are
	// always shown whole. 0 stands for 32.
	StringLimit int
	// FDPath gives the path of a file descriptor (strace's -y); nil: bare
	// numbers. syscalls.ATFDCWD asks for the working directory.
	FDPath func(fd int) string
	// RetFDPath is FDPath for what the call returned. This field is optional.
	RetFDPath func(fd int) string
	// Verbose shows structures and lists in full (strace's -v).
	Verbose bool
	// Location is the time zone of absolute times; nil stands for UTC.
	Location *time.Location
}

const (
	defaultStringLimit = 32
	pathMax            = 4096
)

func (o Options) limit() int {
	if o.StringLimit <= 0 {
		return defaultStringLimit
	}
	return o.StringLimit
}

// Line shows the whole call: `read(3, "abc", 100) = 3`.
func Line(in Input, o Options) string {
	d := newDecoder(in, o)
	defer d.done()
	return name(in) + "(" + string(d.args(nil)) + ") = " + d.ret()
}

// Args shows the arguments. Of a call that has not returned, memory that the
// kernel would fill in shows as an address.
func Args(in Input, o Options) string {
	d := newDecoder(in, o)
	defer d.done()
	return string(d.args(nil))
}

func (d *decoder) args(b []byte) []byte {
	if d.in.Call.Name == "restart_syscall" {
		what := d.in.Resumes
		if what == "" {
			what = "system call"
		}
		return append(b, "<... resuming interrupted "+what+" ...>"...)
	}
	return d.in.Call.AppendArgs(b, d.in.Args, d.printer())
}

// Return shows the return value, with what strace puts behind it: the ready
// descriptors of poll and select.
func Return(in Input, o Options) string {
	d := newDecoder(in, o)
	defer d.done()
	return d.ret()
}

// Append appends the arguments to b and gives the return value, for less than
// each by itself.
func Append(b []byte, in Input, o Options) (args []byte, ret string) {
	d := newDecoder(in, o)
	defer d.done()
	return d.args(b), d.ret()
}

func (d *decoder) ret() string {
	in := &d.in
	if !in.Returned {
		return "?"
	}
	text := syscalls.FormatReturn(in.Call, in.Args, in.Ret)
	if in.Call.Name == "" || syscalls.ErrnoOf(in.Ret) != 0 {
		return text
	}
	if in.Call.RetFor(in.Args) == syscalls.RetFD && d.o.FDPath != nil {
		look := d.o.FDPath
		if d.o.RetFDPath != nil {
			look = d.o.RetFDPath
		}
		if path := look(int(in.Ret)); path != "" {
			text += syscalls.Bracket(path)
		}
	}
	if note := d.returnNote(); note != "" {
		text += " (" + note + ")"
	}
	return text
}

func name(in Input) string {
	if in.Call.Name != "" {
		return in.Call.Name
	}
	return syscalls.Name(in.Call.Arch, in.Call.NR)
}

// decoder shows one call. Its functions are bound once and its room is kept: a
// tracer shows a million calls a second.
type decoder struct {
	in   Input
	o    Options
	list []syscalls.Arg
	bits int
	left int // of the budget

	given       [2]Memory // Entry and Exit as the caller gave them
	entry, exit Memory    // the same within the budget
	strings     func(i int, addr uint64) ([]byte, bool, bool)
	memory      func(b []byte, i int, a syscalls.Arg) ([]byte, bool)
}

var decoders = sync.Pool{New: func() any {
	d := new(decoder)
	d.entry = func(addr uint64, n int) []byte { return d.bounded(d.given[0], addr, n) }
	d.exit = func(addr uint64, n int) []byte { return d.bounded(d.given[1], addr, n) }
	d.strings, d.memory = d.str, d.mem
	return d
}}

// budget bounds how much memory one line reads, whatever lengths and pointers
// the traced program made up.
const budget = 1 << 20

func newDecoder(in Input, o Options) *decoder {
	d := decoders.Get().(*decoder)
	d.in, d.o, d.bits, d.left = in, o, in.Call.Arch.Bits(), budget
	if d.bits == 32 {
		for i := range d.in.Args {
			d.in.Args[i] = uint64(uint32(d.in.Args[i]))
		}
		d.in.Ret = int64(int32(d.in.Ret))
	}
	d.list = in.Call.ArgsFor(d.in.Args)
	d.given = [2]Memory{in.Entry, in.Exit}
	if in.Entry != nil {
		d.in.Entry = d.entry
	}
	if in.Exit != nil {
		d.in.Exit = d.exit
	}
	return d
}

// done gives the decoder back. What it showed is strings of their own.
func (d *decoder) done() {
	d.in, d.o, d.list, d.given = Input{}, Options{}, nil, [2]Memory{}
	decoders.Put(d)
}

func (d *decoder) bounded(m Memory, addr uint64, n int) []byte {
	if d.left <= 0 {
		return nil
	}
	b := m(addr, n)
	d.left -= len(b) + 16
	return b
}

func (d *decoder) printer() syscalls.Printer {
	return syscalls.Printer{Str: d.strings, FDPath: d.o.FDPath, Mem: d.memory}
}

func (d *decoder) arch() syscalls.Arch {
	return d.in.Call.Arch
}

// failed tells whether the call returned an error.
func (d *decoder) failed() bool {
	return d.in.Returned && syscalls.ErrnoOf(d.in.Ret) != 0
}

// str gives a string argument. Paths come whole, others up to the limit.
func (d *decoder) str(i int, addr uint64) ([]byte, bool, bool) {
	max := pathMax
	if d.list[i].Kind == syscalls.KindStr {
		max = d.o.limit()
	}
	return d.cstring(d.in.Entry, addr, max)
}

// bracketed shows elements as [a, b, ...].
func bracketed(parts []string) string {
	return "[" + strings.Join(parts, ", ") + "]"
}

func itoa(n int64) string  { return strconv.FormatInt(n, 10) }
func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// hex is C's %#x, pointer the same with NULL for 0.
func hex(n uint64) string {
	if n == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(n, 16)
}

func pointer(n uint64) string {
	if n == 0 {
		return "NULL"
	}
	return hex(n)
}
