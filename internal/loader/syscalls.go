package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The programs of entries and returns come in two: for the tracepoints
// themselves, and for their perf events. Where the kernel lets programs at the
// tracepoints of system calls sleep (7.2 does, 6.18 does not), it preempts those
// that do not sleep, too, and while a thread is preempted inside a program all
// others on that CPU make their calls without it. With four busy threads on two
// CPUs three calls of a hundred left no trace, and ten no return. The perf events
// are never preempted. They cost more, and tracefs has their numbers.
const perfSuffix = "_perf"

// tracefs is where it may be mounted.
var tracefs = [...]string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// loadCalls loads those programs of entries and returns that see the most on this
// kernel, with the others of spec, and says what they do not see.
func loadCalls(spec *ebpf.CollectionSpec) (_ *ebpf.Collection, degraded string, err error) {
	types := newTypes()
	known, _ := types.of(spec)
	degraded = callPrograms(spec, known)
	coll, err := types.load(spec, known)
	return coll, degraded, err
}

func callPrograms(spec *ebpf.CollectionSpec, known *pruned) (degraded string) {
	perf := known != nil && known.preempted()
	if perf {
		if err := perfEvents(); err != nil {
			perf, degraded = false, err.Error()
		}
	}
	for name := range spec.Programs {
		plain, isPerf := strings.CutSuffix(name, perfSuffix)
		switch {
		case isPerf && perf:
			delete(spec.Programs, plain)
		case isPerf:
			delete(spec.Programs, name)
		}
	}
	return degraded
}

// preempted tells whether the kernel preempts programs at the tracepoints of
// system calls: whether it takes one that sleeps there, and not at another that
// these programs attach to. Old ones (5.10) do not look where a program attaches.
func (p *pruned) preempted() bool {
	return p.takesSleeping("sys_enter") && !p.takesSleeping("sched_process_exit")
}

func (p *pruned) takesSleeping(tracepoint string) bool {
	spec := &ebpf.ProgramSpec{
		Name: "sleeps", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: tracepoint,
		Flags: unix.BPF_F_SLEEPABLE, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
	var code bytes.Buffer
	if err := spec.Instructions.Marshal(&code, binary.LittleEndian); err != nil {
		return false
	}
	prog, err := progLoad(spec, code.Bytes(), nil, nil, 0, p.ids[attachName(spec)])
	if err != nil {
		return false
	}
	prog.Close()
	return true
}

// perfEvents tells why they cannot be had.
func perfEvents() error {
	fd, err := perfEvent("sys_exit")
	if err != nil {
		return fmt.Errorf("calls made while another thread is preempted inside our BPF program are not seen: this kernel shows all only as perf events: %w; try: mount -t tracefs tracefs %s", err, tracefs[0])
	}
	return unix.Close(fd)
}

// perfEvent opens the perf event of a tracepoint of system calls, of all threads.
// The library would go by whatever mount says that it is tracefs.
func perfEvent(name string) (fd int, err error) {
	file := "/events/raw_syscalls/" + name + "/id"
	text, err := os.ReadFile(tracefs[0] + file)
	if err != nil {
		var elsewhere error
		if text, elsewhere = os.ReadFile(tracefs[1] + file); elsewhere != nil {
			return 0, err
		}
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("number of perf event %s: %w", name, err)
	}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Sample_type: unix.PERF_SAMPLE_RAW, Sample: 1, Wakeup: 1}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err = unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("open perf event %s: %w", name, err)
	}
	return fd, nil
}

// attachAll attaches those programs that there are, in that order. With an error
// it gives what was attached before.
func attachAll(coll *ebpf.Collection, names []string) (links []link.Link, err error) {
	for _, name := range names {
		prog := coll.Programs[name]
		if prog == nil {
			continue
		}
		l, err := attachProgram(name, prog)
		if err != nil {
			return links, fmt.Errorf("attach %s: %w", name, err)
		}
		links = append(links, l)
	}
	return links, nil
}

// attachProgram attaches a program by its name in its object.
func attachProgram(name string, prog *ebpf.Program) (link.Link, error) {
	if prog.Type() != ebpf.TracePoint {
		return link.AttachTracing(link.TracingOptions{Program: prog})
	}
	event := "sys_enter"
	if strings.HasSuffix(name, "exit"+perfSuffix) {
		event = "sys_exit"
	}
	fd, err := perfEvent(event)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) // the link keeps it
	return link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: prog, Attach: ebpf.AttachPerfEvent})
}
