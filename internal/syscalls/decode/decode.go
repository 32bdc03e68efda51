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
	return name(in) + "(" + Args(in, o) + ") = " + Return(in, o)
}

// Args shows the arguments. Of a call that has not returned, memory that the
// kernel would fill in shows as an address.
func Args(in Input, o Options) string {
	d := newDecoder(in, o)
	return in.Call.FormatArgs(in.Args, d.printer())
}

// Unfinished shows what strace prints of a call when another thread's line
// interrupts it: the name and the arguments before the first that only the
// return decides. Line begins with the same text if entry memory is the same,
// so that the rest can follow "<... read resumed>".
func Unfinished(in Input, o Options) string {
	full := in
	full.Returned = false
	list := in.Call.ArgsFor(in.Args)
	cut := len(list)
	for i, a := range list {
		if waitsForExit(a) && !(in.Args[i] == 0 && isOffset(a)) {
			cut = i
			break
		}
	}
	if in.Call.Name == "clone" {
		return name(in) + "(" + beforeResult(Args(full, o))
	}
	if in.Call.Name == "" || cut == len(list) && in.Call.Name != "clone3" {
		return name(in) + "(" + Args(full, o)
	}
	d := newDecoder(full, o)
	if in.Call.Name == "clone3" { // what it stored follows the structure
		return name(in) + "(" + in.Call.FormatFirst(in.Args, d.printer(), 1)
	}
	text := in.Call.FormatFirst(in.Args, d.printer(), cut)
	if text != "" {
		text += ", "
	}
	return name(in) + "(" + text
}

// beforeResult cuts clone's text before what strace adds at its return.
func beforeResult(text string) string {
	for _, arg := range []string{", parent_tid=", ", tls=", ", child_tidptr="} {
		text, _, _ = strings.Cut(text, arg)
	}
	return text
}

// isOffset tells of a file position that the call moves: without one strace
// has nothing to wait for.
func isOffset(a syscalls.Arg) bool {
	return a.Struct == syscalls.StructOff || a.Struct == syscalls.StructLoff
}

// waitsForExit tells whether strace prints an argument only at the return.
func waitsForExit(a syscalls.Arg) bool {
	if a.Kind != syscalls.KindMem {
		return false
	}
	return a.Dir&syscalls.DirOut != 0 && !shownAtEntry(a) || a.Struct == syscalls.StructMmsghdr
}

// shownAtEntry are the structures whose changes strace shows behind the return
// value.
func shownAtEntry(a syscalls.Arg) bool {
	switch a.Struct {
	case syscalls.StructPollfd, syscalls.StructFdset:
		return true
	case syscalls.StructTimeval:
		return a.Dir&syscalls.DirIn != 0
	}
	return false
}

// Return shows the return value, with what strace puts behind it: the ready
// descriptors of poll and select.
func Return(in Input, o Options) string {
	if !in.Returned {
		return "?"
	}
	text := syscalls.FormatReturn(in.Call, in.Args, in.Ret)
	if in.Call.Name == "" || syscalls.ErrnoOf(in.Ret) != 0 {
		return text
	}
	if in.Call.RetFor(in.Args) == syscalls.RetFD && o.FDPath != nil {
		if path := o.FDPath(int(in.Ret)); path != "" {
			text += syscalls.Bracket(path)
		}
	}
	d := newDecoder(in, o)
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

// decoder shows one call.
type decoder struct {
	in   Input
	o    Options
	list []syscalls.Arg
	bits int
}

// budget bounds how much memory one line reads, whatever lengths and pointers
// the traced program made up.
const budget = 1 << 20

func newDecoder(in Input, o Options) *decoder {
	d := &decoder{in: in, o: o, bits: in.Call.Arch.Bits()}
	if d.bits == 32 {
		for i := range d.in.Args {
			d.in.Args[i] = uint64(uint32(d.in.Args[i]))
		}
	}
	d.list = in.Call.ArgsFor(d.in.Args)
	left := budget
	d.in.Entry, d.in.Exit = bounded(in.Entry, &left), bounded(in.Exit, &left)
	return d
}

func bounded(m Memory, left *int) Memory {
	if m == nil {
		return nil
	}
	return func(addr uint64, n int) []byte {
		if *left <= 0 {
			return nil
		}
		b := m(addr, n)
		*left -= len(b) + 16
		return b
	}
}

func (d *decoder) printer() syscalls.Printer {
	return syscalls.Printer{Str: d.str, FDPath: d.o.FDPath, Mem: d.mem}
}

func (d *decoder) arch() syscalls.Arch {
	return d.in.Call.Arch
}

// failed tells whether the call returned an error.
func (d *decoder) failed() bool {
	return d.in.Returned && syscalls.ErrnoOf(d.in.Ret) != 0
}

// str gives a string argument. Paths come whole, others up to the limit.
func (d *decoder) str(i int, addr uint64) (string, bool, bool) {
	max := pathMax
	if d.list[i].Kind == syscalls.KindStr {
		max = d.o.limit()
	}
	return d.cstring(d.in.Entry, addr, max)
}

// cstring reads a string of at most max bytes; cut tells that it goes on.
func (d *decoder) cstring(m Memory, addr uint64, max int) (s string, cut, ok bool) {
	if m == nil {
		return "", false, false
	}
	b := m(addr, max+1)
	if len(b) == 0 {
		return "", false, false
	}
	if len(b) > max+1 {
		b = b[:max+1]
	}
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), false, true
		}
	}
	if len(b) > max {
		b = b[:max]
	}
	return string(b), true, true
}

// mem shows the memory behind argument i.
func (d *decoder) mem(i int, a syscalls.Arg) (string, bool) {
	m := d.in.Entry
	if a.Dir&syscalls.DirOut != 0 && !shownAtEntry(a) {
		if !d.filledIn(a) && !readsOwnInput(a) {
			return "", false
		}
		if d.filledIn(a) {
			m = d.in.Exit
		}
	}
	show := shower(a.Struct)
	if m == nil || show == nil {
		return "", false
	}
	return show(d, value{i: i, arg: a, addr: d.in.Args[i], mem: m})
}

// filledIn tells whether the call wrote an argument: it did unless it failed,
// but for the rest of a sleep, which only an interrupted one writes, and a
// status of a child, of which there may be none.
func (d *decoder) filledIn(a syscalls.Arg) bool {
	if !d.in.Returned {
		return false
	}
	switch a.Name {
	case "rmtp":
		e := syscalls.ErrnoOf(d.in.Ret)
		return e >= 512 && e <= 516
	case "stat_addr", "ru":
		if d.in.Ret == 0 && d.in.Call.Name != "getrusage" && d.in.Call.Name != "waitid" {
			return false
		}
	}
	return !d.failed()
}

// readsOwnInput tells of arguments that say something before the call fills
// them in: the room for an address, the buffers of a read.
func readsOwnInput(a syscalls.Arg) bool {
	switch a.Struct {
	case syscalls.StructSocklen, syscalls.StructFileHandle, syscalls.StructIovec, syscalls.StructMsghdr, syscalls.StructMmsghdr:
		return true
	}
	return false
}

// value is one argument to be shown.
type value struct {
	i    int
	arg  syscalls.Arg
	addr uint64
	mem  Memory
}

// read gives exactly n bytes at an address.
func (v value) read(addr uint64, n int) ([]byte, bool) {
	if n < 0 || n > maxRead {
		return nil, false
	}
	b := v.mem(addr, n)
	if len(b) < n {
		return nil, false
	}
	return b[:n], true
}

// maxRead bounds what one argument can ask for.
const maxRead = 1 << 20

// view reads n bytes at the argument's address.
func (d *decoder) view(v value, n int) (view, bool) {
	b, ok := v.read(v.addr, n)
	return view{b: b, long: d.bits / 8}, ok
}

// count gives the number of elements or bytes that an argument has.
func (d *decoder) count(v value) (int, bool) {
	switch {
	case v.arg.Len == syscalls.LenReturn:
		if !d.in.Returned || d.in.Ret < 0 || d.in.Ret > maxRead {
			return 0, false
		}
		return int(d.in.Ret), true
	case v.arg.Len >= syscalls.LenAt:
		b, ok := v.read(d.in.Args[v.arg.Len.ArgIndex()], 4)
		if !ok {
			return 0, false
		}
		return clamp(uint64(view{b: b}.u32(0))), true
	case v.arg.Len >= syscalls.LenArg:
		n := v.arg.Len.ArgIndex()
		x := d.in.Args[n]
		if k := d.list[n].Kind; k == syscalls.KindInt || k == syscalls.KindUint {
			x = uint64(uint32(x))
		}
		return clamp(x), true
	}
	return 1, true
}

func clamp(n uint64) int {
	if n > maxRead {
		return maxRead
	}
	return int(n)
}

// data shows n bytes at an address, as far as -s goes.
func (d *decoder) data(v value, addr uint64, n int) (string, bool) {
	if n == 0 {
		return `""`, true
	}
	limit := d.o.limit()
	cut := n > limit
	if cut {
		n = limit
	}
	b := v.mem(addr, n)
	if len(b) < n {
		return "", false
	}
	return syscalls.Quote(string(b[:n]), cut), true
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
