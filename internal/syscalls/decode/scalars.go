package decode

import "github.com/hangtrace/hangtrace/internal/syscalls"

// scalarShower gives the function for numbers, strings and bytes.
func scalarShower(s syscalls.Struct) showFunc {
	switch s {
	case syscalls.StructXattrval:
		return showXattr
	case syscalls.StructHexbytes:
		return showHex
	case syscalls.StructCstring:
		return showCstring
	case syscalls.StructPathret:
		return showPathret
	case syscalls.StructInt:
		return number(4, func(v view) string { return itoa(int64(int32(v.u32(0)))) })
	case syscalls.StructU32:
		return number(4, func(v view) string { return id(v.u32(0)) })
	case syscalls.StructU64:
		return number(8, func(v view) string { return utoa(v.u64(0)) })
	case syscalls.StructLoff:
		return showOffset(8)
	case syscalls.StructOff:
		return showOffset(0)
	case syscalls.StructLong:
		return long(func(v view) string { return itoa(v.slong(0)) })
	case syscalls.StructUlong:
		return long(func(v view) string { return utoa(v.ulong(0)) })
	case syscalls.StructUlonghex:
		return long(func(v view) string { return pointer(v.ulong(0)) })
	case syscalls.StructU32s:
		return showU32s
	case syscalls.StructMsgbuf:
		return showMsgbuf
	case syscalls.StructCells:
		return showCells
	case syscalls.StructIntstruct:
		return number(4, func(v view) string { return itoa(int64(int32(v.u32(0)))) })
	case syscalls.StructFdpair:
		return showFdpair
	}
	return nil
}

// number makes a function for [N].
func number(size int, text func(view) string) showFunc {
	return func(d *decoder, v value) (string, bool) {
		w, ok := d.view(v, size)
		if !ok {
			return "", false
		}
		return "[" + text(w) + "]", true
	}
}

func long(text func(view) string) showFunc {
	return func(d *decoder, v value) (string, bool) {
		return number(d.bits/8, text)(d, v)
	}
}

// id shows a user or group ID, of which -1 means none.
func id(n uint32) string {
	if n == 0xffffffff {
		return "-1"
	}
	return utoa(uint64(n))
}

func (d *decoder) appendBytes(b []byte, v value) ([]byte, bool) {
	n, ok := d.count(v)
	if !ok {
		return b, false
	}
	return d.appendData(b, v, v.addr, n)
}

// showXattr shows an attribute's value; a last NUL is not shown.
func showXattr(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	if n == 0 && v.arg.Dir&syscalls.DirOut != 0 {
		return `""`, true
	}
	if n > 0 && n <= d.o.limit() {
		if b := v.mem(v.addr, n); len(b) >= n && b[n-1] == 0 {
			n--
		}
	}
	return d.data(v, v.addr, n)
}

// showHex shows bytes that are no text.
func showHex(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	show, more := n, ""
	if show > d.o.limit() {
		show, more = d.o.limit(), "..."
	}
	b, ok := v.read(v.addr, show)
	return hexBytes(b) + more, ok
}

// showOffset shows a file position, and what the call made of it. Size 0
// stands for a long.
func showOffset(size int) showFunc {
	return func(d *decoder, v value) (string, bool) {
		n := size
		if n == 0 {
			n = d.bits / 8
		}
		text := func(m Memory) (string, bool) {
			w, ok := d.view(value{addr: v.addr, mem: m}, n)
			if n == 4 {
				return "[" + itoa(int64(int32(w.u32(0)))) + "]", ok
			}
			return "[" + itoa(int64(w.u64(0))) + "]", ok
		}
		if v.arg.Dir&syscalls.DirIn == 0 {
			return text(v.mem)
		}
		if d.in.Entry == nil {
			return "", false
		}
		before, ok := text(d.in.Entry)
		if v.arg.Dir&syscalls.DirOut == 0 || !d.in.Returned || d.failed() || d.in.Exit == nil {
			return before, ok
		}
		if after, ok := text(d.in.Exit); ok && after != before {
			return before + " => " + after, true
		}
		return before, ok
	}
}

func showCstring(d *decoder, v value) (string, bool) {
	s, cut, ok := d.cstring(v.mem, v.addr, d.o.limit())
	return syscalls.Quote(string(s), cut), ok
}

// showPathret shows a path whose length, with its NUL, the call returns.
func showPathret(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok || n == 0 {
		return "", false
	}
	s, cut, ok := d.cstring(v.mem, v.addr, pathMax)
	return syscalls.Quote(string(s), cut), ok
}

func showU32s(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	return d.array(v, n, 4, func(w view) (string, bool) { return id(w.u32(0)), true })
}

// showMsgbuf shows a message of System V: a long, then the text.
func showMsgbuf(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	w, whole := d.view(v, d.bits/8)
	if !ok || !whole {
		return "", false
	}
	text, ok := d.data(v, v.addr+uint64(d.bits/8), n)
	return fields("mtype="+itoa(w.slong(0)), "mtext="+text), ok
}

// showCells shows which pages of a range are in memory, a byte for each.
func showCells(d *decoder, v value) (string, bool) {
	const page = 4096
	n, ok := d.count(v)
	if !ok || n == 0 || n == maxRead {
		return "", false
	}
	n = (n + page - 1) / page
	cut := n > d.o.limit()
	b, ok := v.read(v.addr, min(n, d.o.limit()))
	var parts []string
	for _, c := range b {
		parts = append(parts, itoa(int64(c&1)))
	}
	if cut {
		parts = append(parts, "...")
	}
	return bracketed(parts), ok
}

func showFdpair(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	if !ok {
		return "", false
	}
	return "[" + d.fd(int32(w.u32(0))) + ", " + d.fd(int32(w.u32(4))) + "]", true
}
