package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// capability is one right, with what it is needed for.
type capability struct {
	name string
	bit  uint // include/uapi/linux/capability.h
	// bySysAdmin tells that the kernel takes CAP_SYS_ADMIN in its place.
	bySysAdmin bool
	lost       string
}

const bitSysAdmin = 21

var capabilities = []capability{
	{"CAP_BPF", 39, true, "BPF programs: no task iterator, no tracing; hangs are looked for in /proc alone"},
	{"CAP_PERFMON", 38, true, "BPF programs that read kernel memory: as without CAP_BPF"},
	{"CAP_SYS_PTRACE", 19, false, "calls, path arguments, descriptors and stacks of other users' processes in /proc"},
	{"CAP_SYSLOG", 34, false, "kernel symbol names where kernel.kptr_restrict is 1"},
	{"CAP_DAC_READ_SEARCH", 2, false, "vol_data.json and /var/log/pods where only their owner may read them"},
	{"CAP_SYS_ADMIN", bitSysAdmin, false, "kernel stacks in /proc/PID/task/TID/stack, which --backend proc judges by"},
}

// rights reads the effective capabilities, and whether they count: those of
// another user namespace than the first mean nothing to BPF.
func (e *examiner) rights(context.Context) {
	status, err := e.opts.Proc.Status(os.Getpid(), 0)
	var caps uint64
	if err == nil {
		caps, err = effective(string(status))
	}
	for _, c := range capabilities {
		switch has := caps&(1<<c.bit) != 0; {
		case err != nil:
			e.check(GroupRights, c.name, err, "", c.lost)
		case has:
			e.check(GroupRights, c.name, nil, "", "")
		case c.bySysAdmin && caps&(1<<bitSysAdmin) != 0:
			e.check(GroupRights, c.name, nil, "by CAP_SYS_ADMIN", "")
		default:
			e.check(GroupRights, c.name, fmt.Errorf("not effective"), "", c.lost)
		}
	}
	e.userNamespace()
	e.lockdown()
}

// initialUserNS is the inode number of the first user namespace
// (PROC_USER_INIT_INO, include/linux/proc_ns.h).
const initialUserNS = 0xEFFFFFFD

func (e *examiner) userNamespace() {
	const name, lost = "first user namespace", "the capabilities above do not count for BPF, nor for processes outside"
	ns, err := e.opts.Proc.Namespace(os.Getpid(), "user")
	if err == nil && ns != initialUserNS {
		err = fmt.Errorf("this is user namespace %d (a rootless container)", ns)
	}
	e.check(GroupRights, name, err, "", lost)
}

// lockdown tries what the kernel forbids to everybody when it is locked down for
// confidentiality. It is tried first of all, as nothing else works then.
func (e *examiner) lockdown() {
	const name, lost = "BPF reads kernel memory", "BPF programs: no task iterator, no tracing, no walk; hangs are looked for in /proc alone"
	detail := ""
	if mode := storage.Lockdown(e.opts.Sys); mode != "" {
		detail = "kernel lockdown: " + mode
	}
	e.check(GroupRights, name, loader.KernelMemory(), detail, lost)
}

// effective reads the line "CapEff:" of proc_pid_status(5).
func effective(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("capabilities %q: %w", strings.TrimSpace(v), err)
			}
			return caps, nil
		}
	}
	return 0, fmt.Errorf("capabilities: no CapEff in /proc/self/status")
}
