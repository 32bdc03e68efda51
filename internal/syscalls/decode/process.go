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

// ticks shows a time in clock ticks with its seconds.
func ticks(n uint64) string {
	const hz = 100
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d /* %d.%02d s */", n, n/hz, n%hz)
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
