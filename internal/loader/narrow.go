package loader

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// The task iterator can be bound to one process (6.1, f0d74c4da1f0); the library
// has no way to ask for that. Only since 6.7 (a5ec3a7f3e6f and those before it)
// a thread that ends meanwhile does not end the walk of the others.
const (
	narrowSince = 6<<16 | 7<<8
	// narrowMost is for how many processes it pays: a pass over everything looks
	// at each thread of the node.
	narrowMost = 8
	// wideEvery is how often everything is looked at all the same where children
	// of targets are to be found.
	wideEvery = 5

	attachTraceIter = 28 // BPF_TRACE_ITER
)

// narrow runs an iterator over single processes.
type narrow struct {
	prog  *ebpf.Program
	links map[int]int // by PID
}

// linkTask is the part of union bpf_attr for BPF_LINK_CREATE, infoTask union
// bpf_iter_link_info.
type linkTask struct {
	progFD, targetFD, attachType, flags uint32
	info                                uint64
	infoLen                             uint32
	_                                   uint32
}

type infoTask struct{ tid, pid, pidFD, _ uint32 }

// newNarrow returns nil where the kernel cannot, or not well.
func newNarrow(prog *ebpf.Program) *narrow {
	if v, err := features.LinuxVersionCode(); err != nil || v < narrowSince {
		return nil
	}
	return &narrow{prog: prog, links: make(map[int]int)}
}

// set replaces the processes.
func (n *narrow) set(pids []int) {
	keep := make(map[int]bool, len(pids))
	for _, pid := range pids {
		keep[pid] = true
	}
	for pid, fd := range n.links {
		if !keep[pid] {
			_ = unix.Close(fd)
			delete(n.links, pid)
		}
	}
}

func (n *narrow) close() { n.set(nil) }

// read appends what the program writes of one process's threads.
func (n *narrow) read(pid int, data *bytes.Buffer) error {
	link, ok := n.links[pid]
	if !ok {
		var err error
		if link, err = linkOver(n.prog, infoTask{pid: uint32(pid)}); err != nil {
			return fmt.Errorf("iterator over process %d: %w", pid, err)
		}
		n.links[pid] = link
	}
	if err := readLink(link, data); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
		return fmt.Errorf("iterator over process %d: %w", pid, err)
	}
	return nil
}

// linkOver binds an iterator to one process, or to one thread. Kernels before 6.1
// bind it to none.
func linkOver(prog *ebpf.Program, of infoTask) (int, error) {
	info := &of
	var pin runtime.Pinner // the kernel reads it by its address
	pin.Pin(info)
	defer pin.Unpin()
	attr := linkTask{
		progFD: uint32(prog.FD()), attachType: attachTraceIter,
		info: uint64(uintptr(unsafe.Pointer(info))), infoLen: uint32(unsafe.Sizeof(*info)),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil // which the kernel has closed on exec
}

// readLink appends what one pass of a link's iterator writes.
func readLink(link int, data *bytes.Buffer) error {
	attr := struct{ linkFD, flags uint32 }{linkFD: uint32(link)}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_ITER_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	file := os.NewFile(fd, "bpf_iter")
	defer file.Close()
	_, err := data.ReadFrom(file)
	return err
}
