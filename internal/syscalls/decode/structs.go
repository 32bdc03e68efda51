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
			parts = append(parts, syscalls.Quote(string(s), cut))
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
