package syscalls

import (
	"strconv"
	"strings"
)

func ipcFlags(arch Arch, set Set, v uint32) string {
	mode := octalMode(uint64(v & 0o777))
	rest := uint64(v &^ 0o777)
	huge := uint64(0)
	if set == SetShmflags {
		huge, rest = rest>>26, rest&^(0x3f<<26)
	}
	var parts []string
	if rest != 0 {
		parts = append(parts, FlagNames(arch, set, rest))
	}
	if huge != 0 {
		parts = append(parts, strconv.FormatUint(huge, 10)+"<<SHM_HUGE_SHIFT")
	}
	return strings.Join(append(parts, mode), "|")
}

// ipcCmd shows the command of shmctl, semctl or msgctl.
func ipcCmd(arch Arch, call string, v uint32) string {
	const ipc64 = 0x100
	set := SetShmcmd
	switch call {
	case "semctl":
		set = SetSemcmd
	case "msgctl":
		set = SetMsgcmd
	}
	prefix := ""
	if v&ipc64 != 0 {
		prefix = "IPC_64|"
	}
	return prefix + ValueName(arch, set, uint64(v&^ipc64))
}

// ioPrio shows an I/O priority by class and level.
func ioPrio(arch Arch, v uint32) string {
	const shift = 13
	return "IOPRIO_PRIO_VALUE(" + ValueName(arch, SetIoprioClass, uint64(v>>shift)) + ", " +
		strconv.Itoa(int(v&(1<<shift-1))) + ")"
}

func swapFlags(arch Arch, v uint32) string {
	const prioMask = 0x7fff
	prio := strconv.Itoa(int(v & prioMask))
	if rest := v &^ prioMask; rest != 0 {
		return FlagNames(arch, SetSwapon, uint64(rest)) + "|" + prio
	}
	return prio
}

func personality(arch Arch, v uint32) string {
	const mask = 0xff
	name := ValueName(arch, SetPersonality, uint64(v&mask))
	if rest := v &^ mask; rest != 0 {
		flags := FlagNames(arch, SetPersflags, uint64(rest))
		flags, _, _ = strings.Cut(flags, " /*")
		name += "|" + flags
	}
	return name
}

// SigSet shows a set of signals: [INT TERM], ~[KILL STOP], [] for none.
func SigSet(mask uint64, bits int) string {
	n := 0
	for s := range bits {
		n += int(mask >> s & 1)
	}
	open := "["
	if n > bits*2/3 { // more in than out
		mask, open = ^mask, "~["
	}
	var names []string
	for s := range bits {
		if mask>>s&1 != 0 {
			names = append(names, strings.TrimPrefix(SignalName(s+1), "SIG"))
		}
	}
	return open + strings.Join(names, " ") + "]"
}

func syslogType(arch Arch, v uint32) string {
	return strconv.Itoa(int(int32(v))) + " /* " + enumName(arch, SetSyslog, v) + " */"
}

// enumName gives a value's name, or the set's stand-in for one.
func enumName(arch Arch, set Set, v uint32) string {
	if name, ok := lookupValue(arch, set, uint64(v)); ok {
		return name
	}
	return sets[set].unknown
}

// wakeOp shows FUTEX_WAKE_OP's sixth argument.
func wakeOp(arch Arch, v uint32) string {
	op := ValueName(arch, SetFutexWakeop, uint64(v>>28&7))
	if v>>31 != 0 {
		op = "FUTEX_OP_OPARG_SHIFT<<28|" + op
	}
	return op + "<<28|" + hex(uint64(v>>12&0xfff)) + "<<12|" +
		ValueName(arch, SetFutexWakecmp, uint64(v>>24&0xf)) + "<<24|" + hex(uint64(v&0xfff))
}
