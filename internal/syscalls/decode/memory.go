package decode

import (
	"bytes"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// cstring reads a string of at most max bytes; cut tells that it goes on.
func (d *decoder) cstring(m Memory, addr uint64, max int) (s []byte, cut, ok bool) {
	if m == nil {
		return nil, false, false
	}
	b := m(addr, max+1)
	if len(b) == 0 {
		return nil, false, false
	}
	if len(b) > max+1 {
		b = b[:max+1]
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i], false, true
	}
	if len(b) > max {
		b = b[:max]
	}
	return b, true, true
}

// mem shows the memory behind argument i.
func (d *decoder) mem(b []byte, i int, a syscalls.Arg) ([]byte, bool) {
	m := d.in.Entry
	if a.Dir&syscalls.DirOut != 0 && !shownAtEntry(a) {
		if !d.filledIn(a) && !readsOwnInput(a) {
			return b, false
		}
		if d.filledIn(a) {
			m = d.in.Exit
		}
	}
	if m == nil {
		return b, false
	}
	v := value{i: i, arg: a, addr: d.in.Args[i], mem: m}
	switch a.Struct { // what programs call most
	case syscalls.StructStat:
		return d.appendStat(b, v)
	case syscalls.StructBytes:
		return d.appendBytes(b, v)
	}
	show := shower(a.Struct)
	if show == nil {
		return b, false
	}
	text, ok := show(d, v)
	return append(b, text...), ok
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
	b, ok := d.appendData(nil, v, addr, n)
	return string(b), ok
}

// appendData is data behind b.
func (d *decoder) appendData(b []byte, v value, addr uint64, n int) ([]byte, bool) {
	if n == 0 {
		return append(b, `""`...), true
	}
	limit := d.o.limit()
	cut := n > limit
	if cut {
		n = limit
	}
	data := v.mem(addr, n)
	if len(data) < n {
		return b, false
	}
	return syscalls.AppendQuote(b, data[:n], cut), true
}
