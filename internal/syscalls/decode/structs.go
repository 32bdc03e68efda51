package decode

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// showFunc shows what a value points to; false when the memory is missing.
type showFunc func(d *decoder, v value) (string, bool)

// shower gives the function for a structure, nil if there is none.
func shower(s syscalls.Struct) showFunc {
	if f := scalarShower(s); f != nil {
		return f
	}
	if f := timeShower(s); f != nil {
		return f
	}
	switch s {
	case syscalls.StructArgv:
		return showArgv
	case syscalls.StructEnvp:
		return showEnvp
	case syscalls.StructStat:
		return showStat
	case syscalls.StructStat64:
		return showStat64
	case syscalls.StructStatx:
		return showStatx
	case syscalls.StructStatfs, syscalls.StructStatfs64:
		return showStatfs
	case syscalls.StructDirents, syscalls.StructDirents64:
		return showDirents
	case syscalls.StructFlock:
		return showFlock
	case syscalls.StructFlock64:
		return showFlock64
	case syscalls.StructFOwnerEx:
		return showFOwner
	case syscalls.StructOpenHow:
		return showOpenHow
	case syscalls.StructFileHandle:
		return showFileHandle
	case syscalls.StructMountAttr:
		return showMountAttr
	case syscalls.StructWinsize:
		return showWinsize
	case syscalls.StructTermios:
		return showTermios
	case syscalls.StructIovec, syscalls.StructIovecbase:
		return showIovec
	case syscalls.StructMsghdr:
		return showMsghdr
	case syscalls.StructMmsghdr:
		return showMmsghdr
	case syscalls.StructSockaddr:
		return showSockaddr
	case syscalls.StructSocklen:
		return showSocklen
	case syscalls.StructSockoptval:
		return showSockopt
	case syscalls.StructPollfd:
		return showPollfds
	case syscalls.StructEpollEvent:
		return showEpollEvents
	case syscalls.StructFdset:
		return showFdset
	}
	return processShower(s)
}

// scalarShower gives the function for numbers, strings and bytes.
func scalarShower(s syscalls.Struct) showFunc {
	switch s {
	case syscalls.StructBytes:
		return showBytes
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

func showBytes(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	return d.data(v, v.addr, n)
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
	return syscalls.Quote(s, cut), ok
}

// showPathret shows a path whose length, with its NUL, the call returns.
func showPathret(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok || n == 0 {
		return "", false
	}
	s, cut, ok := d.cstring(v.mem, v.addr, pathMax)
	return syscalls.Quote(s, cut), ok
}

func showU32s(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	return d.array(v, n, 4, func(w view) (string, bool) { return id(w.u32(0)), true })
}

func showFdpair(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	if !ok {
		return "", false
	}
	return "[" + d.fd(int32(w.u32(0))) + ", " + d.fd(int32(w.u32(4))) + "]", true
}

func (d *decoder) fd(fd int32) string {
	s := itoa(int64(fd))
	if fd >= 0 && d.o.FDPath != nil {
		if path := d.o.FDPath(int(fd)); path != "" {
			s += syscalls.Bracket(path)
		}
	}
	return s
}

// maxElements is how many elements of a list strace shows without -v.
const maxElements = 32

// array shows n elements of a size. What was not captured, and what is beyond
// strace's own bound, shows as "...".
func (d *decoder) array(v value, n, size int, element func(view) (string, bool)) (string, bool) {
	if n == 0 {
		return "[]", true
	}
	var parts []string
	for i := range n {
		if i >= maxElements && !d.o.Verbose {
			return bracketed(append(parts, "...")), true
		}
		b, ok := v.read(v.addr+uint64(i*size), size)
		if ok {
			var s string
			if s, ok = element(view{b: b, long: d.bits / 8}); ok {
				parts = append(parts, s)
			}
		}
		if !ok {
			if len(parts) == 0 {
				return "", false
			}
			return bracketed(append(parts, "...")), true
		}
	}
	return bracketed(parts), true
}

// showArgv shows a list of strings that ends with a null pointer.
func showArgv(d *decoder, v value) (string, bool) {
	var parts []string
	size := d.bits / 8
	for i := 0; ; i++ {
		if i >= maxElements && !d.o.Verbose {
			return bracketed(append(parts, "...")), true
		}
		b, ok := v.read(v.addr+uint64(i*size), size)
		if !ok {
			if i == 0 {
				return "", false
			}
			return bracketed(append(parts, "...")), true
		}
		p := view{b: b, long: size}.ulong(0)
		if p == 0 {
			return bracketed(parts), true
		}
		s, cut, ok := d.cstring(v.mem, p, d.o.limit())
		if ok {
			parts = append(parts, syscalls.Quote(s, cut))
		} else {
			parts = append(parts, hex(p))
		}
		if i > maxRead/8 {
			return bracketed(append(parts, "...")), true
		}
	}
}

// showEnvp counts the variables, as strace does without -v.
func showEnvp(d *decoder, v value) (string, bool) {
	if d.o.Verbose {
		return showArgv(d, v)
	}
	size := d.bits / 8
	for i := 0; i < maxRead/8; i++ {
		b, ok := v.read(v.addr+uint64(i*size), size)
		if !ok {
			if i == 0 {
				return "", false
			}
			return hex(v.addr) + " /* " + itoa(int64(i)) + "+ vars */", true
		}
		if (view{b: b, long: size}).ulong(0) == 0 {
			return hex(v.addr) + " /* " + plural(i, "var") + " */", true
		}
	}
	return "", false
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return itoa(int64(n)) + " " + noun + "s"
}

// fields joins name=value pairs.
func fields(parts ...string) string {
	return "{" + strings.Join(parts, ", ") + "}"
}

// flags and enum are shorthands for names of this call's architecture.
func (d *decoder) flags(s syscalls.Set, v uint64) string {
	return syscalls.FlagNames(d.arch(), s, v)
}

func (d *decoder) enum(s syscalls.Set, v uint64) string {
	return syscalls.ValueName(d.arch(), s, v)
}
