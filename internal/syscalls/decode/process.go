package decode

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// processShower gives the function for structures of processes and signals.
func processShower(s syscalls.Struct) showFunc {
	switch s {
	case syscalls.StructWstatus:
		return showWstatus
	case syscalls.StructRusage:
		return showRusage
	case syscalls.StructRlimit:
		return sized(16, func(v view) string { return rlimits(rlimit(v.u64(0)), rlimit(v.u64(8))) })
	case syscalls.StructRlimit32:
		return sized(8, func(v view) string { return rlimits(rlimit32(v.u32(0)), rlimit32(v.u32(4))) })
	case syscalls.StructUtsname:
		return showUtsname
	case syscalls.StructSysinfo:
		return showSysinfo
	case syscalls.StructSigset:
		return showSigset
	case syscalls.StructSigset6:
		return showSigset6
	case syscalls.StructSigaction:
		return showSigaction
	case syscalls.StructSiginfo:
		return showSiginfo
	case syscalls.StructStackT:
		return showStack
	case syscalls.StructSigevent:
		return showSigevent
	case syscalls.StructCloneArgs:
		return showCloneArgs
	case syscalls.StructCpumask:
		return showCpumask
	case syscalls.StructCapHeader:
		return showCapHeader
	case syscalls.StructCapData:
		return showCapData
	case syscalls.StructMqAttr:
		return showMqAttr
	case syscalls.StructSembuf:
		return showSembufs
	}
	return nil
}

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

func showRusage(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 18*d.bits/8)
	if !ok || d.bits == 32 {
		return "", false
	}
	parts := []string{"ru_utime=" + timeval(w), "ru_stime=" + timeval(w.from(16))}
	if !d.o.Verbose {
		return fields(append(parts, "...")...), true
	}
	for i, name := range strings.Fields("maxrss ixrss idrss isrss minflt majflt nswap inblock oublock msgsnd msgrcv nsignals nvcsw nivcsw") {
		parts = append(parts, "ru_"+name+"="+utoa(w.ulong(4+i)))
	}
	return fields(parts...), true
}

func rlimits(cur, max string) string {
	return fields("rlim_cur="+cur, "rlim_max="+max)
}

// rlimit shows a limit as a multiple of 1024 where it is one.
func rlimit(n uint64) string {
	if n == ^uint64(0) {
		return "RLIM64_INFINITY"
	}
	if n > 1024 && n%1024 == 0 {
		return utoa(n/1024) + "*1024"
	}
	return utoa(n)
}

func rlimit32(n uint32) string {
	if n == ^uint32(0) {
		return "RLIM_INFINITY"
	}
	return rlimit(uint64(n))
}

func showUtsname(d *decoder, v value) (string, bool) {
	const field = 65
	w, ok := d.view(v, 6*field)
	if !ok {
		return "", false
	}
	quoted := func(i int) string { return syscalls.Quote(w.str(i*field, field), false) }
	parts := []string{"sysname=" + quoted(0), "nodename=" + quoted(1)}
	if !d.o.Verbose {
		return fields(append(parts, "...")...), true
	}
	for i, name := range []string{"release", "version", "machine", "domainname"} {
		parts = append(parts, name+"="+quoted(2+i))
	}
	return fields(parts...), true
}

func showSysinfo(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 112)
	if !ok || d.bits == 32 {
		return "", false
	}
	return fields("uptime="+itoa(w.slong(0)),
		fmt.Sprintf("loads=[%d, %d, %d]", w.ulong(1), w.ulong(2), w.ulong(3)),
		"totalram="+utoa(w.ulong(4)), "freeram="+utoa(w.ulong(5)), "sharedram="+utoa(w.ulong(6)),
		"bufferram="+utoa(w.ulong(7)), "totalswap="+utoa(w.ulong(8)), "freeswap="+utoa(w.ulong(9)),
		"procs="+utoa(uint64(w.u16(80))), "totalhigh="+utoa(w.ulong(11)), "freehigh="+utoa(w.ulong(12)),
		"mem_unit="+utoa(uint64(w.u32(104)))), true
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
	parts = append(parts, "si_code="+d.enum(syscalls.SetSiCode, uint64(uint32(code))))
	const siUser, siQueue, siTkill = 0, -1, -6
	switch code {
	case siUser, siTkill:
		parts = append(parts, "si_pid="+utoa(uint64(w.u32(16))), "si_uid="+utoa(uint64(w.u32(20))))
	case siQueue:
		parts = append(parts, "si_pid="+utoa(uint64(w.u32(16))), "si_uid="+utoa(uint64(w.u32(20))))
		if p := w.u64(24); p != 0 {
			parts = append(parts, fmt.Sprintf("si_int=%d, si_ptr=%s", int32(w.u32(24)), hex(p)))
		}
	default:
		return fields(append(parts, "...")...), true
	}
	return fields(parts...), true
}

// ticks shows a time in clock ticks with its seconds.
func ticks(n uint64) string {
	const hz = 100
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d /* %d.%02d s */", n, n/hz, n%hz)
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

// showCloneArgs shows clone3's structure, without what its flags leave unused.
func showCloneArgs(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	const least, most = 64, 88
	if !ok || n < least {
		return "", false
	}
	w, ok := d.view(v, min(n, most))
	if !ok {
		return "", false
	}
	const (
		pidfd, settls, parentTID, childClear, childSet, intoCgroup = 0x1000, 0x80000, 0x100000, 0x200000, 0x1000000, 0x200000000
	)
	flags := w.u64(0)
	parts := []string{"flags=" + d.flags(syscalls.SetClone, flags)}
	if flags&pidfd != 0 {
		parts = append(parts, "pidfd="+pointer(w.u64(8)))
	}
	if flags&(childSet|childClear) != 0 {
		parts = append(parts, "child_tid="+pointer(w.u64(16)))
	}
	if flags&parentTID != 0 {
		parts = append(parts, "parent_tid="+pointer(w.u64(24)))
	}
	parts = append(parts, "exit_signal="+exitSignal(w.u64(32)), "stack="+pointer(w.u64(40)), "stack_size="+hex(w.u64(48)))
	if flags&settls != 0 {
		parts = append(parts, "tls="+hex(w.u64(56)))
	}
	if n >= 80 && (w.u64(64) != 0 || w.u64(72) != 0) {
		parts = append(parts, "set_tid="+pointer(w.u64(64)), "set_tid_size="+utoa(w.u64(72)))
	}
	if n >= most && flags&intoCgroup != 0 {
		parts = append(parts, "cgroup="+utoa(w.u64(80)))
	}
	return d.cloneResult(w, flags, fields(parts...)), true
}

func exitSignal(n uint64) string {
	if n > 64 {
		return utoa(n)
	}
	return syscalls.SignalName(int(n))
}

// cloneResult adds what clone3 wrote: the parent's copy of the child's ID.
func (d *decoder) cloneResult(w view, flags uint64, text string) string {
	const parentTID, pidfd = 0x100000, 0x1000
	if !d.in.Returned || d.failed() || d.in.Exit == nil || flags&(parentTID|pidfd) == 0 {
		return text
	}
	var parts []string
	if flags&pidfd != 0 {
		if b := d.in.Exit(w.u64(8), 4); len(b) >= 4 {
			parts = append(parts, "pidfd=["+d.fd(int32(view{b: b}.u32(0)))+"]")
		}
	}
	if flags&parentTID != 0 {
		if b := d.in.Exit(w.u64(24), 4); len(b) >= 4 {
			parts = append(parts, "parent_tid=["+itoa(int64(int32(view{b: b}.u32(0))))+"]")
		} else {
			parts = append(parts, "parent_tid="+hex(w.u64(24)))
		}
	}
	if len(parts) == 0 {
		return text
	}
	return text + " => " + fields(parts...)
}

func showCpumask(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok || n > 8192 {
		return "", false
	}
	if n == 0 {
		return "[]", true
	}
	b, ok := v.read(v.addr, n)
	if !ok {
		return "", false
	}
	var cpus []string
	for i := range 8 * n {
		if b[i/8]>>(i%8)&1 != 0 {
			cpus = append(cpus, itoa(int64(i)))
		}
	}
	return "[" + strings.Join(cpus, " ") + "]", true
}

func showCapHeader(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 8)
	return fields("version="+d.enum(syscalls.SetCapversion, uint64(w.u32(0))), "pid="+itoa(int64(int32(w.u32(4))))), ok
}

// showCapData shows the three sets, of 64 bits from version 2 on.
func showCapData(d *decoder, v value) (string, bool) {
	const version1 = 0x19980330
	w, ok := d.view(v, 12)
	if !ok {
		return "", false
	}
	sets := [3]uint64{uint64(w.u32(0)), uint64(w.u32(4)), uint64(w.u32(8))}
	if d.in.Entry != nil {
		if b := d.in.Entry(d.in.Args[0], 4); len(b) >= 4 && (view{b: b}).u32(0) != version1 {
			if w, ok = d.view(v, 24); !ok {
				return "", false
			}
			for i := range sets {
				sets[i] |= uint64(w.u32(12+4*i)) << 32
			}
		}
	}
	return fields("effective="+d.caps(sets[0]), "permitted="+d.caps(sets[1]), "inheritable="+d.caps(sets[2])), true
}

func (d *decoder) caps(mask uint64) string {
	if mask == 0 {
		return "0"
	}
	var names []string
	for i := range 64 {
		if mask>>i&1 == 0 {
			continue
		}
		name := d.enum(syscalls.SetCap, uint64(i))
		if strings.HasPrefix(name, "CAP_") {
			names = append(names, "1<<"+name)
			mask &^= 1 << i
		}
	}
	if mask != 0 {
		names = append(names, hex(mask))
	}
	return strings.Join(names, "|")
}

func showMqAttr(d *decoder, v value) (string, bool) {
	w, ok := d.view(v, 32)
	if !ok || d.bits == 32 {
		return "", false
	}
	return fields("mq_flags="+d.flags(syscalls.SetOpenMode, w.u64(0)), "mq_maxmsg="+itoa(w.slong(1)),
		"mq_msgsize="+itoa(w.slong(2)), "mq_curmsgs="+itoa(w.slong(3))), true
}

func showSembufs(d *decoder, v value) (string, bool) {
	n, ok := d.count(v)
	if !ok {
		return "", false
	}
	return d.array(v, n, 6, func(w view) (string, bool) {
		return fields("sem_num="+utoa(uint64(w.u16(0))), "sem_op="+itoa(int64(int16(w.u16(2)))),
			"sem_flg="+d.flags(syscalls.SetSemflag, uint64(w.u16(4)))), true
	})
}
