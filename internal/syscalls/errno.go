package syscalls

import (
	"strconv"
	"sync"
)

// maxErrno is the kernel's MAX_ERRNO: returns from -4095 to -1 are errors.
const maxErrno = 4095

// restarts are the kernel's own error numbers, which no program sees: the call
// is restarted after a signal. The words are strace's.
func restart(errno int) (name, message string) {
	switch errno {
	case 512:
		return "ERESTARTSYS", "To be restarted if SA_RESTART is set"
	case 513:
		return "ERESTARTNOINTR", "To be restarted"
	case 514:
		return "ERESTARTNOHAND", "To be restarted if no handler"
	case 516:
		return "ERESTART_RESTARTBLOCK", "Interrupted by signal"
	}
	return "", ""
}

// ErrnoName gives the name of an error number ("EIO" for 5), "" if it has none.
func ErrnoName(errno int) string {
	if errno > 0 && errno < len(errnos) && errnos[errno].name != "" {
		return errnos[errno].name
	}
	name, _ := restart(errno)
	return name
}

// ErrnoMessage gives glibc's words for an error number.
func ErrnoMessage(errno int) string {
	if errno > 0 && errno < len(errnos) && errnos[errno].name != "" {
		return errnos[errno].message
	}
	_, m := restart(errno)
	return m
}

// ErrnoOf gives the error number in a return value, or 0 for success.
func ErrnoOf(ret int64) int {
	if ret < 0 && ret >= -maxErrno {
		return int(-ret)
	}
	return 0
}

// FormatErrno shows an error return: "-1 EIO (Input/output error)", or
// "? ERESTARTSYS (To be restarted if SA_RESTART is set)".
func FormatErrno(errno int) string {
	if texts := errnoTexts(); errno >= 0 && errno < len(texts) {
		return texts[errno]
	}
	return formatErrno(errno)
}

// errnoTexts are made once: a program that looks for files in many places fails
// as often as it succeeds.
var errnoTexts = sync.OnceValue(func() []string {
	texts := make([]string, 134)
	for i := range texts {
		texts[i] = formatErrno(i)
	}
	return texts
})

func formatErrno(errno int) string {
	if name, message := restart(errno); name != "" {
		return "? " + name + " (" + message + ")"
	}
	if name := ErrnoName(errno); name != "" {
		return "-1 " + name + " (" + ErrnoMessage(errno) + ")"
	}
	return "-1 (errno " + strconv.Itoa(errno) + ")"
}

// FormatReturn shows what a call returned. The arguments matter for fcntl; a
// caller that lacks them passes zeros.
func FormatReturn(c Call, args [6]uint64, ret int64) string {
	if c.Arch.Bits() == 32 {
		ret = int64(int32(ret))
	}
	if e := ErrnoOf(ret); e != 0 {
		return FormatErrno(e)
	}
	v := uint64(ret)
	if c.Arch.Bits() == 32 {
		v = uint64(uint32(ret))
	}
	if c.shape == 0 { // unknown call
		return hex(v)
	}
	switch c.RetFor(args) {
	case RetPtr:
		return hex(v)
	case RetOctal:
		return octalMode(v)
	case RetNone:
		return "?"
	case RetFDFlags:
		return withNote(v, FlagNames(c.Arch, SetFdflags, v))
	case RetFileFlags:
		return withNote(v, FlagNames(c.Arch, SetOpen, v))
	case RetSeals:
		if v == 0 {
			return "0"
		}
		return hex(v) + " (seals " + FlagNames(c.Arch, SetSeals, v) + ")"
	case RetSignal:
		if v == 0 {
			return "0"
		}
		return strconv.FormatInt(ret, 10) + " (" + SignalName(int(v)) + ")"
	case RetLease:
		return hex(v) + " (" + ValueName(c.Arch, SetLease, v) + ")"
	case RetPersonality:
		return hex(v) + " (" + personality(c.Arch, uint32(v)) + ")"
	case RetSched: // a policy that is or'd with a flag has no name, as with strace
		text := strconv.FormatInt(ret, 10)
		if name, ok := lookupValue(c.Arch, SetSched, v); ok {
			text += " (" + name + ")"
		}
		return text
	case RetMembarrier:
		return withNames(v, hex(v), FlagNames(c.Arch, SetMembarrier, v))
	case RetIOPrio:
		return withNames(1, strconv.FormatInt(ret, 10), ioPrio(c.Arch, uint32(v)))
	case RetTimeState:
		return withNames(1, strconv.FormatInt(ret, 10), ValueName(c.Arch, SetTimestate, v))
	case RetDumpable:
		return withNames(1, strconv.FormatInt(ret, 10), ValueName(c.Arch, SetDumpable, v))
	}
	return strconv.FormatInt(ret, 10)
}

// withNames shows a value with what it means, unless it is 0.
func withNames(v uint64, text, names string) string {
	if v == 0 {
		return text
	}
	return text + " (" + names + ")"
}

func withNote(v uint64, names string) string {
	if v == 0 {
		return names2(names)
	}
	return hex(v) + " (flags " + names + ")"
}

// names2 keeps O_RDONLY's note for a zero of F_GETFL and drops an empty one.
func names2(names string) string {
	if names == "0" {
		return "0"
	}
	return "0 (flags " + names + ")"
}

// SignalName gives SIGKILL for 9, SIGRT_1 for 33, and a number for others.
func SignalName(n int) string {
	if n > 0 && n < len(signals) && signals[n] != "" {
		return signals[n]
	}
	const min, max = 32, 64
	if n == min {
		return "SIGRTMIN"
	}
	if n > min && n <= max {
		return "SIGRT_" + strconv.Itoa(n-min)
	}
	return strconv.Itoa(n)
}
