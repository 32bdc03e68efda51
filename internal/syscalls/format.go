package syscalls

import (
	"strconv"
	"strings"
)

// ATFDCWD is the directory descriptor that stands for the working directory.
const ATFDCWD = -100

// A Printer says what a call's text is made from besides its registers. All
// fields are optional: without them pointers print as addresses and file
// descriptors as bare numbers.
type Printer struct {
	// Str gives the string that argument i points to.
	Str func(i int, addr uint64) (s string, truncated, ok bool)
	// FDPath gives the path of a file descriptor, "" if unknown; ATFDCWD asks
	// for the working directory.
	FDPath func(fd int) string
	// Mem shows the memory that argument i points to; false prints the
	// address. It is not asked for null pointers.
	Mem func(i int, a Arg) (string, bool)
}

// Format shows a call as strace does: `openat(AT_FDCWD, "/etc", O_RDONLY)`.
// Str and fdPath, which may be nil, are as in Printer.
func (c Call) Format(args [6]uint64, str func(i int, addr uint64) (s string, truncated, ok bool), fdPath func(fd int) string) string {
	return c.FormatWith(args, Printer{Str: str, FDPath: fdPath})
}

// FormatWith shows a call with what p can tell of its memory and files.
func (c Call) FormatWith(args [6]uint64, p Printer) string {
	return c.Name + "(" + c.FormatArgs(args, p) + ")"
}

// FormatArgs is FormatWith without the name and the parentheses.
func (c Call) FormatArgs(args [6]uint64, p Printer) string {
	if c.Name == "" { // unknown: all registers, as strace shows them
		parts := make([]string, len(args))
		for i, a := range args {
			parts[i] = hex(a)
		}
		return strings.Join(parts, ", ")
	}
	if c.Name == "clone" {
		w := c.writer(args, p)
		return w.clone()
	}
	return c.FormatFirst(args, p, len(args))
}

// FormatFirst is FormatArgs for the first n registers only: what strace prints of
// a call that has not returned.
func (c Call) FormatFirst(args [6]uint64, p Printer, n int) string {
	w := c.writer(args, p)
	var b strings.Builder
	b.Grow(24 * len(w.list))
	first := true
	for i := range min(n, len(w.list)) {
		if w.list[i].Kind == KindSkip {
			continue
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		b.WriteString(w.arg(i))
	}
	return b.String()
}

func (c Call) writer(args [6]uint64, p Printer) writer {
	if c.Arch.Bits() == 32 {
		for i := range args {
			args[i] = uint64(uint32(args[i]))
		}
	}
	return writer{call: c, args: args, list: c.ArgsFor(args), p: p}
}

// FormatUnknown shows a call that Lookup does not know.
func FormatUnknown(nr int, args [6]uint64) string {
	return unknownName(nr) + "(" + Call{}.FormatArgs(args, Printer{}) + ")"
}

func unknownName(nr int) string {
	return "syscall_" + hex(uint64(uint32(nr)))
}

// writer shows the arguments of one call.
type writer struct {
	call Call
	args [6]uint64
	list []Arg
	p    Printer
}

func (w *writer) arg(i int) string {
	a, v := w.list[i], w.args[i]
	switch a.Kind {
	case KindInt, KindPID:
		return strconv.FormatInt(int64(int32(v)), 10)
	case KindUint:
		return strconv.FormatUint(uint64(uint32(v)), 10)
	case KindLong, KindOff:
		return strconv.FormatInt(w.signed(v), 10)
	case KindUlong, KindSize:
		return strconv.FormatUint(v, 10)
	case KindHex:
		return hex(v)
	case KindHex32:
		return hex(uint64(uint32(v)))
	case KindPtr:
		return pointer(v)
	case KindFD:
		return w.fd(int(int32(v)))
	case KindDirFD:
		return w.dirFD(int(int32(v)))
	case KindPath, KindText, KindStr:
		return w.str(i, v)
	case KindMem:
		return w.mem(i, a, v)
	case KindFlags:
		return w.flags(a, v)
	case KindEnum:
		return w.enum(a, v)
	}
	return w.special(i, a, v)
}

// special shows the kinds that few calls have.
func (w *writer) special(i int, a Arg, v uint64) string {
	switch a.Kind {
	case KindUID:
		return id(int64(int32(v)), uint64(uint32(v)))
	case KindUID16:
		return id(int64(int16(v)), uint64(uint16(v)))
	case KindMode:
		return octalMode(uint64(uint16(v)))
	case KindFileMode:
		return FileMode(w.call.Arch, uint32(uint16(v)))
	case KindDev:
		return Makedev(Major(v), Minor(v))
	case KindPair:
		return strconv.FormatInt(int64(w.pair(i, i+1)), 10)
	case KindPairSwap:
		return strconv.FormatInt(int64(w.pair(i+1, i)), 10)
	case KindPairHex:
		return FlagNames(w.call.Arch, SetFanEvent, w.pair(i, i+1))
	case KindPageOff:
		return hex(v << 12)
	case KindSignal:
		return SignalName(int(int32(v)))
	case KindIoctl:
		return ioctlName(w.call.Arch, uint32(v))
	case KindQuotaCmd:
		return quotaCmd(w.call.Arch, uint32(v))
	case KindSockProto:
		return sockProto(w.call.Arch, uint32(w.at(i-2)), uint32(w.at(i-1)), uint32(v))
	case KindSockOpt:
		return sockOpt(w.call.Arch, uint32(w.at(i-1)), uint32(v))
	case KindIPCKey:
		if uint32(v) == 0 {
			return "IPC_PRIVATE"
		}
		return hex(uint64(uint32(v)))
	case KindIPCFlags:
		return ipcFlags(w.call.Arch, SetIpcflags, uint32(v))
	case KindShmFlags:
		return ipcFlags(w.call.Arch, SetShmflags, uint32(v))
	case KindIPCCmd:
		return ipcCmd(w.call.Arch, w.call.Name, uint32(v))
	case KindWakeOp:
		return wakeOp(w.call.Arch, uint32(v))
	case KindIOPrio:
		return ioPrio(w.call.Arch, uint32(v))
	case KindSwapFlags:
		return swapFlags(w.call.Arch, uint32(v))
	case KindSigMask:
		return SigSet(uint64(uint32(v)), 32)
	case KindSyslogType:
		return syslogType(w.call.Arch, uint32(v))
	}
	return hex(v)
}

func (w *writer) at(i int) uint64 {
	if i < 0 || i >= len(w.args) {
		return 0
	}
	return w.args[i]
}

func (w *writer) signed(v uint64) int64 {
	if w.call.Arch.Bits() == 32 {
		return int64(int32(v))
	}
	return int64(v)
}

func (w *writer) pair(low, high int) uint64 {
	return w.at(low)&0xffffffff | w.at(high)<<32
}

func (w *writer) fd(fd int) string {
	s := strconv.Itoa(fd)
	if fd >= 0 && w.p.FDPath != nil {
		if path := w.p.FDPath(fd); path != "" {
			s += Bracket(path)
		}
	}
	return s
}

func (w *writer) dirFD(fd int) string {
	if fd != ATFDCWD {
		return w.fd(fd)
	}
	if w.p.FDPath != nil {
		if path := w.p.FDPath(fd); path != "" {
			return "AT_FDCWD" + Bracket(path)
		}
	}
	return "AT_FDCWD"
}

func (w *writer) str(i int, v uint64) string {
	if v == 0 {
		return "NULL"
	}
	if w.p.Str != nil {
		if s, cut, ok := w.p.Str(i, v); ok {
			return Quote(s, cut)
		}
	}
	return pointer(v)
}

func (w *writer) mem(i int, a Arg, v uint64) string {
	if v == 0 {
		return "NULL"
	}
	if w.empty(a) {
		return emptyText(a)
	}
	if w.p.Mem != nil {
		if s, ok := w.p.Mem(i, a); ok {
			return s
		}
	}
	return pointer(v)
}

// pointer shows an address.
func pointer(v uint64) string {
	if v == 0 {
		return "NULL"
	}
	return hex(v)
}

func id(signed int64, unsigned uint64) string {
	if signed == -1 {
		return "-1"
	}
	return strconv.FormatUint(unsigned, 10)
}
