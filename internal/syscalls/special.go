package syscalls

import (
	"strconv"
)

// octalMode shows permission bits as C's %#03o: 0644, 022, 000.
func octalMode(v uint64) string { return string(appendOctal(nil, v)) }

func appendOctal(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, "000"...)
	case v < 0o10:
		b = append(b, "00"...)
	default:
		b = append(b, '0')
	}
	return strconv.AppendUint(b, v, 8)
}

// FileMode shows a file's type and permissions: S_IFREG|0644.
func FileMode(arch Arch, mode uint32) string { return string(AppendFileMode(nil, arch, mode)) }

// AppendFileMode is FileMode behind b.
func AppendFileMode(b []byte, arch Arch, mode uint32) []byte {
	const typeMask = 0o170000
	if t := mode & typeMask; t != 0 {
		name, ok := lookupValue(arch, SetFiletype, uint64(t))
		if !ok {
			return appendOctal(b, uint64(mode))
		}
		b = append(append(b, name...), '|')
	}
	for _, special := range [...]struct {
		bit  uint32
		name string
	}{{0o4000, "S_ISUID|"}, {0o2000, "S_ISGID|"}, {0o1000, "S_ISVTX|"}} {
		if mode&special.bit != 0 {
			b = append(b, special.name...)
		}
	}
	return appendOctal(b, uint64(mode&^(typeMask|0o7000)))
}

// Makedev shows a device number by its halves.
func Makedev(major, minor uint32) string {
	return "makedev(" + hex(uint64(major)) + ", " + hex(uint64(minor)) + ")"
}

// Major and Minor split a dev_t as glibc and the kernel's new encoding do.
func Major(dev uint64) uint32 {
	return uint32(dev>>8&0xfff | dev>>32&^uint64(0xfff))
}

func Minor(dev uint64) uint32 {
	return uint32(dev&0xff | dev>>12&^uint64(0xff))
}

func (w *writer) flags(a Arg, v uint64) string {
	if a.Set == SetMmap || a.Set == SetMemfd {
		return hugeFlags(w.call.Arch, a.Set, v)
	}
	// Flags are ints; the few longs among them have no name above bit 31 but
	// MADV-like masks, so that cutting an int's garbage loses nothing.
	if !longFlags(a.Set) {
		v = uint64(uint32(v))
	}
	return FlagNames(w.call.Arch, a.Set, v)
}

// longFlags tells whether the flags of a set come as a 64-bit register.
func longFlags(s Set) bool {
	switch s {
	case SetMount, SetMmap, SetProt, SetClone, SetCloneNs, SetMremap, SetFanEvent, SetPerfOpen, SetGetMempolicy, SetPkey:
		return true
	}
	return false
}

func (w *writer) enum(a Arg, v uint64) string {
	arch := w.call.Arch
	switch a.Set {
	case SetFutex:
		return futexOp(arch, uint32(v))
	case SetKeySerial:
		if name, ok := lookupValue(arch, a.Set, v); ok {
			return name
		}
		return strconv.FormatInt(int64(int32(v)), 10)
	case SetFutexBitset:
		if name, ok := lookupValue(arch, a.Set, v); ok {
			return name
		}
		return hex(uint64(uint32(v)))
	case SetPersonality:
		if uint32(v) == 0xffffffff {
			return "0xffffffff"
		}
		return personality(arch, uint32(v))
	}
	return ValueName(arch, a.Set, uint64(uint32(v)))
}

// futexOp shows an operation with its two modifiers.
func futexOp(arch Arch, v uint32) string {
	const private, realtime = 128, 256
	cmd := v &^ (private | realtime)
	name, ok := lookupValue(arch, SetFutex, uint64(cmd))
	if !ok {
		return ValueName(arch, SetFutex, uint64(v))
	}
	if v&private != 0 {
		name += "_PRIVATE"
	}
	if v&realtime != 0 {
		name += "|FUTEX_CLOCK_REALTIME"
	}
	return name
}

// clone names its arguments, because their order differs between
// architectures, and leaves out those that the flags make meaningless.
func (w *writer) clone() string {
	const (
		setTLS      = 0x00080000
		parentTID   = 0x00100000
		pidfd       = 0x00001000
		childClear  = 0x00200000
		childSet    = 0x01000000
		argStack    = 1
		argParent   = 2
		firstOfTail = 3
	)
	childArg, tlsArg := firstOfTail, firstOfTail+1
	if w.call.Arch != AMD64 {
		childArg, tlsArg = tlsArg, childArg
	}
	flags := w.args[0]
	names := CloneFlags(w.call.Arch, flags)
	out := "child_stack=" + pointer(w.args[argStack]) + ", flags=" + names
	if flags&(parentTID|pidfd) != 0 {
		out += ", parent_tid=" + string(w.mem(nil, argParent, &w.list[argParent], w.args[argParent]))
	}
	if flags&setTLS != 0 {
		out += ", tls=" + hex(w.args[tlsArg])
	}
	if flags&(childSet|childClear) != 0 {
		out += ", child_tidptr=" + pointer(w.args[childArg])
	}
	return out
}

// CloneFlags shows clone's first argument: flags and the child's death signal.
func CloneFlags(arch Arch, v uint64) string {
	const signalMask = 0xff
	sig := int(v & signalMask)
	flags := v &^ signalMask
	var names string
	if flags != 0 || sig == 0 {
		names = FlagNames(arch, SetClone, flags)
	}
	if sig != 0 {
		if names != "" {
			names += "|"
		}
		names += SignalName(sig)
	}
	return names
}

func ioctlName(arch Arch, cmd uint32) string {
	if name, ok := lookupValue(arch, SetIoctl, uint64(cmd)); ok {
		return name
	}
	dirs := [...]string{"_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"}
	return "_IOC(" + dirs[cmd>>30] + ", " + hex(uint64(cmd>>8&0xff)) + ", " +
		hex(uint64(cmd&0xff)) + ", " + hex(uint64(cmd>>16&0x3fff)) + ")"
}

func quotaCmd(arch Arch, cmd uint32) string {
	return "QCMD(" + ValueName(arch, SetQuota, uint64(cmd>>8)) + ", " +
		ValueName(arch, SetQuotatype, uint64(cmd&0xff)) + ")"
}

func sockProto(arch Arch, family, _, proto uint32) string {
	const afInet, afInet6, afNetlink, afPacket = 2, 10, 16, 17
	switch family {
	case afInet, afInet6:
		return ValueName(arch, SetIpproto, uint64(proto))
	case afNetlink:
		return ValueName(arch, SetNetlink, uint64(proto))
	case afPacket:
		return "htons(" + ValueName(arch, SetEthproto, uint64(uint16(proto)>>8|uint16(proto)<<8)) + ")"
	}
	return strconv.FormatUint(uint64(proto), 10)
}

func sockOpt(arch Arch, level, name uint32) string {
	const solIP, solSocket, solTCP, solIPv6, solNetlink = 0, 1, 6, 41, 270
	set := SetNone
	switch level {
	case solIP:
		set = SetSoip
	case solSocket:
		set = SetSo
	case solTCP:
		set = SetSotcp
	case solIPv6:
		set = SetSoipv6
	case solNetlink:
		set = SetSonetlink
	default:
		return strconv.FormatUint(uint64(name), 10)
	}
	return ValueName(arch, set, uint64(name))
}

// empty tells whether another argument says that there is nothing to show.
func (w *writer) empty(a Arg) bool {
	n := a.Len.ArgIndex()
	if n < 0 || a.Len >= LenAt || a.Dir&DirIn == 0 && a.Struct == StructBytes {
		return false
	}
	switch a.Struct {
	case StructSockaddr, StructMsgbuf, StructSigset, StructFdset, StructOpenHow, StructSockoptval, StructCloneArgs, StructMountAttr:
		return false
	}
	v := w.at(n)
	if w.list[n].Kind == KindInt || w.list[n].Kind == KindUint {
		v = uint64(uint32(v))
	}
	return v == 0
}

func emptyText(a Arg) string {
	if a.Struct == StructBytes {
		return `""`
	}
	return "[]"
}

// hugeFlags shows the page size that mmap and memfd_create take in six high
// bits of their flags.
func hugeFlags(arch Arch, set Set, v uint64) string {
	const shift, mask = 26, 0x3f << 26
	if set == SetMemfd {
		v = uint64(uint32(v))
	}
	huge := v & mask >> shift
	text := FlagNames(arch, set, v&^mask)
	if huge == 0 {
		return text
	}
	size := strconv.FormatUint(huge, 10) + "<<" + map[Set]string{SetMmap: "MAP", SetMemfd: "MFD"}[set] + "_HUGE_SHIFT"
	if text == "0" {
		return size
	}
	return text + "|" + size
}
