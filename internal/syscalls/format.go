package syscalls

import "strconv"

// ATFDCWD is the directory descriptor that stands for the working directory.
const ATFDCWD = -100

// A Printer says what a call's text is made from besides its registers. All
// fields are optional: without them pointers print as addresses and file
// descriptors as bare numbers.
type Printer struct {
	// Str gives the string that argument i points to. It is not kept.
	Str func(i int, addr uint64) (s []byte, truncated, ok bool)
	// FDPath gives the path of a file descriptor, "" if unknown; ATFDCWD asks
	// for the working directory.
	FDPath func(fd int) string
	// Mem appends what shows the memory that argument i points to; false prints
	// the address. It is not asked for null pointers.
	Mem func(b []byte, i int, a Arg) ([]byte, bool)
}

// Format shows a call as strace does: `openat(AT_FDCWD, "/etc", O_RDONLY)`.
// Str and fdPath, which may be nil, are as in Printer.
func (c Call) Format(args [6]uint64, str func(i int, addr uint64) (s string, truncated, ok bool), fdPath func(fd int) string) string {
	p := Printer{FDPath: fdPath}
	if str != nil {
		p.Str = func(i int, addr uint64) ([]byte, bool, bool) {
			s, truncated, ok := str(i, addr)
			return []byte(s), truncated, ok
		}
	}
	b := make([]byte, 0, 128)
	b = append(append(b, c.Name...), '(')
	return string(append(c.AppendArgs(b, args, p), ')'))
}

// AppendArgs shows the arguments, without the name and the parentheses, behind b.
func (c Call) AppendArgs(b []byte, args [6]uint64, p Printer) []byte {
	if c.Name == "" { // unknown: all registers, as strace shows them
		for i, a := range args {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendHex(b, a)
		}
		return b
	}
	if c.Name == "clone" {
		w := c.writer(args, p)
		return append(b, w.clone()...)
	}
	return c.AppendFirst(b, args, p, len(args))
}

// AppendFirst is AppendArgs for the first n registers only: what strace prints of
// a call that has not returned.
func (c Call) AppendFirst(b []byte, args [6]uint64, p Printer, n int) []byte {
	w := c.writer(args, p)
	first := true
	for i := range min(n, len(w.list)) {
		if w.list[i].Kind == KindSkip {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = w.append(b, i)
	}
	return b
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
	return unknownName(nr) + "(" + string(Call{}.AppendArgs(nil, args, Printer{})) + ")"
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

// append shows argument i behind b. Kinds that few calls have are strings of
// their own.
func (w *writer) append(b []byte, i int) []byte {
	a, v := &w.list[i], w.args[i]
	switch a.Kind {
	case KindInt, KindPID:
		return strconv.AppendInt(b, int64(int32(v)), 10)
	case KindUint:
		return strconv.AppendUint(b, uint64(uint32(v)), 10)
	case KindLong, KindOff:
		return strconv.AppendInt(b, w.signed(v), 10)
	case KindUlong, KindSize:
		return strconv.AppendUint(b, v, 10)
	case KindHex:
		return appendHex(b, v)
	case KindHex32:
		return appendHex(b, uint64(uint32(v)))
	case KindPtr:
		return appendPointer(b, v)
	case KindFD:
		return w.fd(b, int(int32(v)))
	case KindDirFD:
		return w.dirFD(b, int(int32(v)))
	case KindPath, KindText, KindStr:
		return w.str(b, i, v)
	case KindMem:
		return w.mem(b, i, a, v)
	case KindFlags:
		return append(b, w.flags(*a, v)...)
	case KindEnum:
		return append(b, w.enum(*a, v)...)
	}
	return append(b, w.special(i, *a, v)...)
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

func (w *writer) fd(b []byte, fd int) []byte {
	b = strconv.AppendInt(b, int64(fd), 10)
	if fd >= 0 && w.p.FDPath != nil {
		if path := w.p.FDPath(fd); path != "" {
			b = append(b, Bracket(path)...)
		}
	}
	return b
}

func (w *writer) dirFD(b []byte, fd int) []byte {
	if fd != ATFDCWD {
		return w.fd(b, fd)
	}
	b = append(b, "AT_FDCWD"...)
	if w.p.FDPath != nil {
		if path := w.p.FDPath(fd); path != "" {
			b = append(b, Bracket(path)...)
		}
	}
	return b
}

func (w *writer) str(b []byte, i int, v uint64) []byte {
	if v != 0 && w.p.Str != nil {
		if s, cut, ok := w.p.Str(i, v); ok {
			return AppendQuote(b, s, cut)
		}
	}
	return appendPointer(b, v)
}

func (w *writer) mem(b []byte, i int, a *Arg, v uint64) []byte {
	if v == 0 {
		return append(b, "NULL"...)
	}
	if w.empty(*a) {
		return append(b, emptyText(*a)...)
	}
	if w.p.Mem != nil {
		if shown, ok := w.p.Mem(b, i, *a); ok {
			return shown
		}
	}
	return appendHex(b, v)
}

// pointer shows an address.
func pointer(v uint64) string { return string(appendPointer(nil, v)) }

func appendPointer(b []byte, v uint64) []byte {
	if v == 0 {
		return append(b, "NULL"...)
	}
	return appendHex(b, v)
}

func id(signed int64, unsigned uint64) string {
	if signed == -1 {
		return "-1"
	}
	return strconv.FormatUint(unsigned, 10)
}
