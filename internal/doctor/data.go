package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/cri"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// childDeadline bounds one question to an expendable child, criDeadline one to
// a container runtime.
const (
	childDeadline = time.Second
	criDeadline   = time.Second
)

// data tries the sources that name what a thread hangs on.
func (e *examiner) data(ctx context.Context) {
	e.processes()
	e.otherProcesses(ctx)
	e.mountNamespaces()
	e.kallsyms()
	e.fusectl()
	e.directory(ctx, "tracefs", path.Join(e.opts.Sys, "kernel/tracing"), "needed only where the kernel preempts programs (7.2), see tracing: every call")
	e.directory(ctx, "debugfs", path.Join(e.opts.Sys, "kernel/debug"), "needed only for a look at ceph by hand")
	e.directory(ctx, "ceph debugfs", path.Join(e.opts.Sys, "kernel/debug/ceph"), "no kernel ceph client here, or debugfs is not readable")
	host := e.kubelet(ctx)
	if e.nodeRoot(ctx, host) {
		e.podLogs(ctx, host)
		e.runtimes(ctx, host)
	}
}

// processes tells whether every process of the node can be seen.
func (e *examiner) processes() {
	const hidden = "processes of other users: their hangs are not seen"
	first, err := e.opts.Proc.InitialPIDNamespace()
	if err == nil && !first {
		err = errors.New("this is a PID namespace of its own (a container without hostPID)")
	}
	e.check(GroupData, "first PID namespace", err, "", "every process outside this container, the kubelet first (hostPID: true)")

	pids, err := e.opts.Proc.PIDs()
	if err == nil {
		_, err = e.opts.Proc.Process(1)
	}
	if err == nil && !sees(pids, 1) {
		err = errors.New("/proc does not list process 1: mounted with hidepid")
	}
	e.check(GroupData, "/proc of other users", err, fmt.Sprintf("%d processes", len(pids)), hidden)
}

func sees(pids []int, pid int) bool {
	for _, p := range pids {
		if p == pid {
			return true
		}
	}
	return false
}

// otherProcesses tries what an expendable child reads of processes of other
// users, or, where there are none, of others at all. Some processes refuse even
// root (another user namespace), so a few are asked.
func (e *examiner) otherProcesses(ctx context.Context) {
	const (
		callLost   = "--backend proc: which call a thread is in, and so whether it hangs"
		stackLost  = "--backend proc: what kind of wait a thread is in"
		memoryLost = "paths given by address: only those of descriptors and directories are known"
	)
	var calls, stacks, memory tally
	for _, pid := range e.strangers() {
		threads := expendable.Request{Op: expendable.OpThreads, PID: pid, TIDs: []int{pid}}
		auxv := expendable.Request{Op: expendable.OpProcFile, PID: pid, Path: "auxv"}
		answers, err := e.opts.Runner.Do(ctx, fmt.Sprintf("pid:%d", pid), []expendable.Request{threads, auxv}, childDeadline)
		if len(answers) != 2 {
			e.check(GroupData, "expendable child", orElse(err, "it gave no answer"), "", "paths given by address, calls in /proc, directories: all that may block")
			return
		}
		if strings.Contains(answers[0].Err, "no such process") || len(answers[0].Threads) == 0 && answers[0].Err == "" {
			continue // it ended
		}
		var t expendable.Thread
		if len(answers[0].Threads) == 1 {
			t = answers[0].Threads[0]
		}
		why := firstLine(t.Err, answers[0].Err)
		calls.count(t.Syscall != "", why)
		stacks.count(t.Stack != "", why)
		memory.count(answers[1].Err == "", firstLine(answers[1].Err))
	}
	e.tally(checkCalls, calls, callLost)
	e.tally("stacks of other processes", stacks, stackLost)
	e.tally("memory of other processes", memory, memoryLost)
}

// strangers are a few processes that are not ours, those of other users first.
func (e *examiner) strangers() []int {
	const most = 8
	pids, _ := e.opts.Proc.PIDs()
	var others, same []int
	for _, pid := range pids {
		p, err := e.opts.Proc.Process(pid)
		if err != nil || pid == os.Getpid() {
			continue // gone, or ourselves
		}
		if p.Exe == "" && (pid == 2 || p.PPID == 2) {
			continue // a kernel thread
		}
		if p.UID != os.Getuid() {
			others = append(others, pid)
		} else {
			same = append(same, pid)
		}
	}
	list := append(others[:min(len(others), most)], same...)
	return list[:min(len(list), most)]
}

// tally counts processes that could be read, and why the first could not.
type tally struct {
	yes, no int
	why     string
}

func (t *tally) count(ok bool, why string) {
	if ok {
		t.yes++
		return
	}
	if t.no++; t.why == "" {
		t.why = why
	}
}

func (e *examiner) tally(name string, t tally, lost string) {
	detail := fmt.Sprintf("%d of %d processes", t.yes, t.yes+t.no)
	switch {
	case t.yes+t.no == 0:
		e.add(Check{Group: GroupData, Name: name, State: Unknown, Detail: text("no other process is seen"), Lost: text(lost)})
	case t.yes == 0:
		e.check(GroupData, name, fmt.Errorf("%s: %s", detail, orElse(nil, t.why)), "", lost)
	case t.no > 0:
		e.add(Check{Group: GroupData, Name: name, State: Partly, Detail: text(detail + ": " + t.why), Lost: text(lost + ", of the others")})
	default:
		e.check(GroupData, name, nil, detail, "")
	}
}

// firstLine is the first line of the first text that says anything.
func firstLine(texts ...string) string {
	for _, s := range texts {
		if line, _, _ := strings.Cut(s, "\n"); line != "" {
			return line
		}
	}
	return "nothing is shown"
}

func orElse(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// mountNamespaces counts the mount namespaces whose table can be read.
func (e *examiner) mountNamespaces() {
	const name, lost = "mount namespaces", "mounts of processes in containers: what they hang on has no name"
	pids, err := e.opts.Proc.PIDs()
	if err != nil {
		e.check(GroupData, name, err, "", lost)
		return
	}
	tables, unreadable, refused := make(map[uint32]bool), 0, 0
	for _, pid := range pids {
		ns, err := e.opts.Proc.Namespace(pid, "mnt")
		switch {
		case err != nil && errors.Is(err, os.ErrPermission):
			refused++
			continue
		case err != nil, tables[ns]:
			continue // gone, or a kernel thread
		}
		if _, err := e.opts.Proc.Mountinfo(pid); err != nil {
			unreadable++
			continue
		}
		tables[ns] = true
	}
	detail := fmt.Sprintf("%d readable", len(tables))
	if refused+unreadable > 0 {
		e.add(Check{Group: GroupData, Name: name, State: Partly, Lost: text(lost),
			Detail: text(fmt.Sprintf("%s; not those of %s", detail, processes(refused+unreadable)))})
		return
	}
	e.check(GroupData, name, nil, detail, "")
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// kallsyms reads as far as the first symbol that has an address.
func (e *examiner) kallsyms() {
	const name, lost = "/proc/kallsyms", "names of kernel functions before Linux 5.14, holders of page waits"
	restrict, _ := e.opts.Proc.Sysctl("kernel/kptr_restrict")
	detail := "kernel.kptr_restrict = " + restrict
	f, err := e.opts.Proc.Kallsyms()
	if err != nil {
		e.check(GroupData, name, err, "", lost)
		return
	}
	defer f.Close()
	for lines, n := bufio.NewScanner(f), 0; lines.Scan() && n < 1000; n++ {
		addr, _, _ := strings.Cut(lines.Text(), " ")
		if strings.Trim(addr, "0") != "" {
			e.check(GroupData, name, nil, detail, "")
			return
		}
	}
	e.check(GroupData, name, fmt.Errorf("addresses are hidden: %s", detail), "", lost)
}

func (e *examiner) fusectl() {
	const name, lost = "FUSE control", "how many requests wait in a FUSE connection, and connections without a mount"
	connections, degraded, err := storage.FuseConnections(e.opts.Sys)
	if err == nil && len(degraded) > 0 {
		err = errors.New(degraded[0])
	}
	e.check(GroupData, name, err, fmt.Sprintf("%d connections", len(connections)), lost)
}

// directory tries to list a directory that hangtrace can do without.
func (e *examiner) directory(ctx context.Context, name, dir, without string) {
	answer, err := e.readdir(ctx, dir, ".")
	if err == nil && len(answer.Entries) == 0 {
		err = fmt.Errorf("%s is empty", dir)
	}
	if err != nil {
		e.add(Check{Group: GroupData, Name: name, State: Absent, Detail: text(firstLine(err.Error()) + ": " + without)})
		return
	}
	e.check(GroupData, name, nil, dir, "")
}

func (e *examiner) readdir(ctx context.Context, root, dir string) (expendable.Answer, error) {
	req := expendable.Request{Op: expendable.OpReaddir, Root: expendable.Raw(root), Path: expendable.Raw(dir), Max: 10_000}
	answers, err := e.opts.Runner.Do(ctx, "doctor:"+root+dir, []expendable.Request{req}, childDeadline)
	if err != nil {
		return expendable.Answer{}, err
	}
	if answers[0].Err != "" {
		return answers[0], errors.New(firstLine(answers[0].Err))
	}
	return answers[0], nil
}

// nodeRoot tells whether the node's own file system can be reached.
func (e *examiner) nodeRoot(ctx context.Context, host int) bool {
	_, err := e.readdir(ctx, hostRoot(host), ".")
	return e.check(GroupData, "the node's root directory", err, hostRoot(host),
		"names of pods and what CSI drivers say of volumes: /var/log/pods, container runtimes, vol_data.json")
}

// kubelet looks for the kubelet and its root directory. It returns the process
// whose root is the node's.
func (e *examiner) kubelet(ctx context.Context) (host int) {
	const name = "kubelet"
	pids, _ := e.opts.Proc.PIDs()
	for _, pid := range pids {
		p, err := e.opts.Proc.Process(pid)
		if err != nil {
			continue
		}
		label, ok := kube.IsKubelet(p.Comm, p.Exe)
		if !ok {
			continue
		}
		req := expendable.Request{Op: expendable.OpCmdline, PID: pid}
		answers, err := e.opts.Runner.Do(ctx, "doctor:kubelet", []expendable.Request{req}, childDeadline)
		if err != nil || len(answers[0].Args) == 0 {
			e.add(Check{Group: GroupData, Name: name, State: Partly, Detail: text(fmt.Sprintf("%s, pid %d; its command line cannot be read", label, pid)),
				Lost: text("its root directory, if it is not " + kube.DefaultRoot + " (--kubelet-root)")})
			return pid
		}
		var args []string
		for _, a := range answers[0].Args {
			args = append(args, string(a))
		}
		root, source := kube.KubeletRoot(args)
		e.check(GroupData, name, nil, fmt.Sprintf("%s, pid %d, root directory %s (%s)", label, pid, root, source), "")
		return pid
	}
	e.add(Check{Group: GroupData, Name: name, State: Absent, Detail: text("no kubelet, k3s, kubelite or hyperkube runs here")})
	return 1
}

func hostRoot(pid int) string { return fmt.Sprintf("/proc/%d/root", pid) }

func (e *examiner) podLogs(ctx context.Context, host int) {
	const name = "/var/log/pods"
	answer, err := e.readdir(ctx, hostRoot(host), name)
	if err != nil && strings.Contains(err.Error(), "no such file") {
		e.add(Check{Group: GroupData, Name: name, State: Absent, Detail: text("no pod has run here")})
		return
	}
	e.check(GroupData, name, err, fmt.Sprintf("%d pods", len(answer.Entries)), "names of pods that the container runtime no longer knows")
}

// runtimes asks every container runtime that listens.
func (e *examiner) runtimes(ctx context.Context, host int) {
	const name, lost = "container runtime (CRI)", "names of pods, and whether a pod is deleted"
	sockets := e.opts.CRISockets
	if sockets == nil {
		sockets = kube.DefaultSockets()
	}
	found := false
	for _, r := range cri.Ask(ctx, e.opts.Runner, host, sockets, criDeadline) {
		if r.Absent {
			continue
		}
		found = true
		var err error
		if r.Err != "" {
			err = fmt.Errorf("%s: %s", r.Socket, r.Err)
		}
		e.check(GroupData, name, err, fmt.Sprintf("%s: %d pods", r.Socket, len(r.Pods)), lost)
	}
	if !found {
		e.add(Check{Group: GroupData, Name: name, State: Absent, Detail: text("none listens at the usual places")})
	}
}
