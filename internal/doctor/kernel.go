package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
)

var errNotTried = errors.New("not tried: the task iterator does not work")

// What is lost without each of the loader's probes.
var probeLost = map[string]string{
	loader.ProbeBTF:     "all BPF programs: they find the kernel's fields by it (CONFIG_DEBUG_INFO_BTF)",
	loader.ProbeRing:    "live tracing (Linux 5.8)",
	loader.ProbeEnter:   "live: the exact begin of calls, and their path as it was at entry",
	loader.ProbeExit:    "live: the exact end and result of calls",
	loader.ProbeSwitch:  "live: the exact times of page faults and of blocks after a call",
	loader.ProbeProcess: "live: children that targets start",
	loader.ProbeSeed:    "live: the result of calls that began before hangtrace (Linux 5.14)",
	loader.ProbeEvery:   "live, strace: some calls of targets whose threads are preempted often",
}

// short leaves out which map or program of ours it was that the kernel refused.
func short(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: needs root, or CAP_BPF and CAP_PERFMON", unix.EPERM)
	}
	return err
}

// kernel tries the programs themselves: the iterators on this very process, the
// tracing programs one by one with no target.
func (e *examiner) kernel(context.Context) {
	for _, p := range loader.ProbeKernel() {
		e.check(GroupKernel, p.Name, p.Err, "", probeLost[p.Name])
	}
	e.iterators()
	for _, p := range loader.ProbeTracing() {
		e.check(GroupKernel, checkTracing+p.Name, p.Err, "", probeLost[p.Name])
	}
	e.walker()
}

// iterators samples this process as report samples a target.
func (e *examiner) iterators() {
	const (
		taskLost   = "report and live with BPF: times, killable or not, 10,000 threads at once; --backend proc is used"
		stackLost  = "what kind of wait a thread is in: hangs in state S are missed"
		sinceLost  = "since when a thread is blocked, beyond what hangtrace itself watched"
		fileLost   = "paths, devices and mounts of descriptors where the process's memory is jammed"
		symbolLost = "what kind of wait a thread is in: without names, only uninterruptible waits count"
	)
	s, err := loader.NewSnapshotter(loader.SnapshotOptions{RunningStacks: true})
	if err == nil {
		defer s.Close()
		err = s.SetTargets([]int{os.Getpid()})
	}
	var tasks []events.Task
	if err == nil {
		tasks, err = sample(s)
	}
	works := e.check(GroupKernel, checkIterator, short(err), fmt.Sprintf("%d threads of this process", len(tasks)), taskLost)
	if !works {
		for _, c := range [][2]string{{"kernel stacks", stackLost}, {"last_arrival", sinceLost}, {"file iterator", fileLost}, {"kernel symbol names", symbolLost}} {
			e.check(GroupKernel, c[0], errNotTried, "", c[1])
		}
		return
	}
	addrs := stackOf(tasks)
	err = nil
	if len(addrs) == 0 {
		err = errors.New("no thread of this process showed one")
	}
	e.check(GroupKernel, "kernel stacks", err, fmt.Sprintf("%d frames of this process", len(addrs)), stackLost)

	var clock facts.Clock
	err = s.Clock(&clock)
	e.check(GroupKernel, "last_arrival", err,
		fmt.Sprintf("calibrated to %s", time.Duration(clock.SchedErrorNS).Round(time.Microsecond)), sinceLost)
	e.files(s, fileLost)
	e.symbols(s, addrs, symbolLost)
}

// sample takes a sample of this process, of which a thread sleeps.
func sample(s *loader.Snapshotter) ([]events.Task, error) {
	asleep, done := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(asleep)
		time.Sleep(20 * time.Millisecond)
		close(done)
	}()
	<-asleep
	defer func() { <-done }()
	pass, err := s.Tasks()
	if err != nil {
		return nil, err
	}
	tasks, err := events.DecodeTasks(pass)
	if err == nil && len(tasks) == 0 {
		err = errors.New("it shows no thread of this process: another PID namespace")
	}
	return tasks, err
}

func stackOf(tasks []events.Task) []uint64 {
	var longest []uint64
	for i := range tasks {
		if len(tasks[i].Stack) > len(longest) {
			longest = tasks[i].Stack
		}
	}
	return longest
}

// files looks for a file of this process whose path is known: its program's
// directory of descriptors is never empty.
func (e *examiner) files(s *loader.Snapshotter, lost string) {
	const name = "file iterator"
	f, err := e.opts.Proc.Kallsyms()
	if err != nil {
		e.check(GroupKernel, name, err, "", lost)
		return
	}
	defer f.Close()
	pass, err := s.Files([]int{os.Getpid()})
	var files []events.File
	if err == nil {
		files, err = events.DecodeFiles(pass)
	}
	if err == nil && len(files) == 0 {
		err = errors.New("it shows no file of this process")
	}
	if err != nil {
		e.check(GroupKernel, name, err, "", lost)
		return
	}
	want := filepath.Join(e.opts.Proc.Root(), "kallsyms")
	for _, file := range files {
		if file.Path == want {
			e.check(GroupKernel, name, nil, fmt.Sprintf("%d files of this process, with paths by bpf_d_path", len(files)), "")
			return
		}
	}
	e.add(Check{Group: GroupKernel, Name: name, State: Partly, Detail: text("without paths: bpf_d_path is refused here (Linux 6.1)"),
		Lost: text("nothing for ordinary processes: /proc links name the paths")})
}

func (e *examiner) symbols(s *loader.Snapshotter, addrs []uint64, lost string) {
	const name = "kernel symbol names"
	if len(addrs) == 0 {
		e.check(GroupKernel, name, errors.New("not tried: no kernel stack"), "", lost)
		return
	}
	names, err := s.Symbols(addrs)
	if errors.Is(err, loader.ErrNotSupported) {
		e.add(Check{Group: GroupKernel, Name: name, State: Partly, Detail: text("bpf_snprintf needs Linux 5.14: /proc/kallsyms is read instead"),
			Lost: text("nothing where /proc/kallsyms shows addresses")})
		return
	}
	if err == nil && len(names) == 0 {
		err = errors.New("the kernel names none of its own frames")
	}
	e.check(GroupKernel, name, err, fmt.Sprintf("%d of %d frames named", len(names), len(addrs)), lost)
}

func (e *examiner) walker() {
	const name, lost = "walk over kernel structures", "which request to which server a thread waits for, and exact holders of locks (Linux 5.17, module BTF)"
	w, err := loader.NewWalker(nil)
	if err != nil {
		e.check(GroupKernel, name, short(err), "", lost)
		return
	}
	defer w.Close()
	if _, err := w.Walk(loader.WalkOptions{}); err != nil {
		e.check(GroupKernel, name, err, "", lost)
		return
	}
	if missing := w.Degraded(); len(missing) > 0 {
		e.add(Check{Group: GroupKernel, Name: name, State: Partly, Detail: text(missing[0]), Lost: text(lost)})
		return
	}
	e.check(GroupKernel, name, nil, "", "")
}
