package decode

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

func showWstatus(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 4)
	if !ok {
		return "", false
	}
	return "[" + waitStatus(w.u32(0)) + "]", true
}

// waitStatus shows a status in the words of the macros that take it apart.
func waitStatus(s uint32) string {
	sig := int(s & 0x7f)
	switch {
	case s&0xff == 0x7f && s&0xffff != 0xffff:
		text := "{WIFSTOPPED(s) && WSTOPSIG(s) == " + stopSignal(int(s>>8&0xff)) + "}"
		if event := s >> 16; event != 0 {
			text += "|" + traceEvent(event) + "<<16"
		}
		return text
	case s&0xffff == 0xffff:
		return "{WIFCONTINUED(s)}"
	case sig == 0:
		return fmt.Sprintf("{WIFEXITED(s) && WEXITSTATUS(s) == %d}", s>>8&0xff)
	}
	core := ""
	if s&0x80 != 0 {
		core = " && WCOREDUMP(s)"
	}
	return "{WIFSIGNALED(s) && WTERMSIG(s) == " + syscalls.SignalName(sig) + core + "}"
}

func stopSignal(n int) string {
	const traced = 0x80
	if n&traced != 0 {
		return syscalls.SignalName(n&^traced) + " | 0x80"
	}
	return syscalls.SignalName(n)
}

func traceEvent(n uint32) string {
	names := [...]string{1: "PTRACE_EVENT_FORK", "PTRACE_EVENT_VFORK", "PTRACE_EVENT_CLONE", "PTRACE_EVENT_EXEC",
		"PTRACE_EVENT_VFORK_DONE", "PTRACE_EVENT_EXIT", "PTRACE_EVENT_SECCOMP"}
	if n < uint32(len(names)) {
		return names[n]
	}
	if n == 128 {
		return "PTRACE_EVENT_STOP"
	}
	return hex(uint64(n)) + " /* PTRACE_EVENT_??? */"
}

// sigset reads a set of n bytes, of which the kernel uses 8.
func (d *decoder) sigset(v value, addr uint64, n int) (string, bool) {
	if n != 4 && n != 8 {
		return "", false
	}
	b, ok := v.read(addr, n)
	if !ok {
		return "", false
	}
	w := view{b: append(append([]byte(nil), b...), make([]byte, 8)...)}
	return syscalls.SigSet(w.u64(0), 8*n), true
}

func showSigset(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	return d.sigset(v, v.addr, n)
}

// showSigset6 shows pselect6's pair of a set's address and size.
func showSigset6(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 2*d.bits/8)
	if !ok {
		return "", false
	}
	set := pointer(w.ulong(0))
	if s, ok := d.sigset(v, w.ulong(0), clamp(w.ulong(1))); ok && w.ulong(0) != 0 {
		set = s
	}
	return fields("sigmask="+set, "sigsetsize="+utoa(w.ulong(1))), true
}

// showSigaction reads struct sigaction of the kernel: arm64 has sa_restorer
// too, though it seldom sets it.
func showSigaction(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 32)
	if !ok || d.bits == 32 {
		return "", false
	}
	handler := hex(w.u64(0))
	switch w.u64(0) {
	case 0:
		handler = "SIG_DFL"
	case 1:
		handler = "SIG_IGN"
	}
	const restorer = 0x04000000
	flags := w.u64(8)
	parts := []string{"sa_handler=" + handler, "sa_mask=" + syscalls.SigSet(w.u64(24), 64),
		"sa_flags=" + d.flags(syscalls.SetSaFlags, flags)}
	if flags&restorer != 0 {
		parts = append(parts, "sa_restorer="+pointer(w.u64(16)))
	}
	return fields(parts...), true
}

// showSiginfo shows the fields that a signal's code gives a meaning.
func showSiginfo(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 48)
	if !ok || d.bits == 32 {
		return "", false
	}
	signo, errno, code := int32(w.u32(0)), int32(w.u32(4)), int32(w.u32(8))
	if signo == 0 {
		return "{}", true
	}
	parts := []string{"si_signo=" + syscalls.SignalName(int(signo))}
	if errno != 0 {
		parts = append(parts, "si_errno="+itoa(int64(errno)))
	}
	const sigchld = 17
	if signo == sigchld && code > 0 {
		parts = append(parts, "si_code="+d.enum(syscalls.SetCldCode, uint64(uint32(code))), "si_pid="+utoa(uint64(w.u32(16))),
			"si_uid="+utoa(uint64(w.u32(20))), "si_status="+childStatus(code, int(int32(w.u32(24)))),
			"si_utime="+ticks(w.u64(32)), "si_stime="+ticks(w.u64(40)))
		return fields(parts...), true
	}
	parts = append(parts, "si_code="+d.signalCode(signo, code))
	return fields(append(parts, d.signalDetails(w, signo, code)...)...), true
}

// signalCodes are the codes of signals that the kernel raises for a reason.
var signalCodes = map[string][]string{
	"SIGSEGV": {"SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR", "SEGV_ACCADI", "SEGV_ADIDERR", "SEGV_ADIPERR", "SEGV_MTEAERR", "SEGV_MTESERR"},
	"SIGBUS":  {"BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"},
	"SIGILL":  {"ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK"},
	"SIGFPE":  {"FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"},
	"SIGTRAP": {"TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"},
	"SIGIO":   {"POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"},
	"SIGSYS":  {"SYS_SECCOMP"},
}

func (d *decoder) signalCode(signo, code int32) string {
	if names := signalCodes[syscalls.SignalName(int(signo))]; code > 0 && int(code) <= len(names) {
		return names[code-1]
	}
	return d.enum(syscalls.SetSiCode, uint64(uint32(code)))
}

// signalDetails shows what a signal brings along: its sender, its address, its
// call.
func (d *decoder) signalDetails(w view, signo, code int32) []string {
	sender := []string{"si_pid=" + utoa(uint64(w.u32(16))), "si_uid=" + utoa(uint64(w.u32(20)))}
	var sigval []string
	if p := w.u64(24); p != 0 {
		sigval = []string{fmt.Sprintf("si_int=%d", int32(w.u32(24))), "si_ptr=" + hex(p)}
	}
	const siUser, siTimer, siTkill = 0, -2, -6
	switch {
	case code == siUser || code == siTkill:
		return sender
	case code == siTimer:
		return []string{"si_timerid=" + hex(uint64(w.u32(16))), "si_overrun=" + itoa(int64(int32(w.u32(20)))),
			fmt.Sprintf("si_int=%d", int32(w.u32(24))), "si_ptr=" + pointer(w.u64(24))}
	case code < 0:
		return append(sender, sigval...)
	}
	switch syscalls.SignalName(int(signo)) {
	case "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP":
		return []string{"si_addr=" + pointer(w.u64(16))}
	case "SIGIO":
		return []string{"si_band=" + itoa(int64(w.u64(16))), "si_fd=" + itoa(int64(int32(w.u32(24))))}
	case "SIGSYS":
		return []string{"si_call_addr=" + pointer(w.u64(16)), "si_syscall=" + d.callNumber(int(int32(w.u32(24)))), "si_arch=" + d.enum(syscalls.SetAuditArch, uint64(w.u32(28)))}
	}
	if w.u64(16) == 0 {
		sender = nil
	}
	return append(sender, sigval...)
}

func (d *decoder) callNumber(nr int) string {
	if c, ok := syscalls.Lookup(d.arch(), nr); ok {
		return "__NR_" + c.Name
	}
	return itoa(int64(nr))
}

func childStatus(code int32, status int) string {
	const exited = 1
	if code == exited {
		return itoa(int64(status))
	}
	return syscalls.SignalName(status)
}

func showStack(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 24)
	if !ok || d.bits == 32 {
		return "", false
	}
	return fields("ss_sp="+pointer(w.u64(0)), "ss_flags="+d.flags(syscalls.SetSsFlags, uint64(w.u32(8))),
		"ss_size="+utoa(w.u64(16))), true
}

func showSigevent(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 32)
	if !ok || d.bits == 32 {
		return "", false
	}
	value := w.u64(0)
	parts := []string{}
	if value != 0 {
		parts = append(parts, "sigev_value="+fields("sival_int="+itoa(int64(int32(w.u32(0)))), "sival_ptr="+hex(value)))
	}
	notify := w.u32(12)
	parts = append(parts, "sigev_signo="+syscalls.SignalName(int(int32(w.u32(8)))),
		"sigev_notify="+d.enum(syscalls.SetSigev, uint64(notify)))
	const thread, threadID = 2, 4
	switch notify {
	case threadID:
		parts = append(parts, "sigev_notify_thread_id="+itoa(int64(int32(w.u32(16)))))
	case thread:
		parts = append(parts, "sigev_notify_function="+hex(w.u64(16)), "sigev_notify_attributes="+hex(w.u64(24)))
	}
	return fields(parts...), true
}
