package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxRounds is how many rounds one command may ask for.
const maxRounds = 8192

// spinCommand asks for rounds of calls, one every period, or without a pause if
// that is 0.
type spinCommand struct {
	kind, calls, rounds, period uint64
}

// spinResult is what a round took, in ns by the clock and of the thread's own CPU
// time, which does not run while others have the core.
type spinResult struct{ wall, cpu uint64 }

// spinCall is a call and its arguments.
type spinCall struct {
	nr   uintptr
	args [6]uintptr
}

// spinner is what the loop works on. Nothing of it is allocated in there.
type spinner struct {
	command spinCommand
	calls   [len(kinds)]spinCall
	results [maxRounds]spinResult
	path    [256]byte
	buffer  [1024]byte
	parent  uintptr
}

// kinds are the calls, in the order of spinCommand.kind.
var kinds = [...]string{"stat", "getppid", "epoll_pwait"}

// runSpin starts a process that has this thread and no other, and waits for its
// end: the Go runtime's threads make calls of their own, which a tracer would
// trace. Arguments: the core, and the file to ask for.
func runSpin(args []string) error {
	if len(args) != 2 {
		return errors.New("want a core and a file")
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := pin(cpu); err != nil {
		return err
	}
	epoll, err := unix.EpollCreate1(0)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	s := &spinner{parent: uintptr(os.Getpid())}
	if copy(s.path[:len(s.path)-1], args[1]) != len(args[1]) {
		return errors.New("the file's name is too long")
	}
	at := unix.AT_FDCWD
	s.calls = [...]spinCall{
		{sysStat, [6]uintptr{uintptr(at), uintptr(unsafe.Pointer(&s.path)), uintptr(unsafe.Pointer(&s.buffer))}},
		{unix.SYS_GETPPID, [6]uintptr{}},
		{unix.SYS_EPOLL_PWAIT, [6]uintptr{uintptr(epoll), uintptr(unsafe.Pointer(&s.buffer)), 1}},
	}
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("clone", errno)
	}
	if pid == 0 {
		spin(s)
	}
	if err := binary.Write(os.Stdout, binary.NativeEndian, uint64(pid)); err != nil {
		return err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &status, 0, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if status.ExitStatus() != 0 {
		return fmt.Errorf("the loop ended with %d", status.ExitStatus())
	}
	return nil
}

// pin keeps the calling thread on a core.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &set))
}

// spin reads commands and writes results until its input ends. It runs in a
// copy of a Go process with no runtime behind it: nothing here may allocate,
// grow the stack or be preempted.
//
//go:nosplit
//go:norace
func spin(s *spinner) {
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	if ppid, _, _ := syscall.RawSyscall6(unix.SYS_GETPPID, 0, 0, 0, 0, 0, 0); ppid != s.parent {
		exit(2)
	}
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&s.command)), unsafe.Sizeof(s.command))
		if errno == unix.EINTR {
			continue
		}
		c := &s.command
		if errno != 0 || n != unsafe.Sizeof(s.command) || c.rounds > maxRounds || c.kind >= uint64(len(s.calls)) {
			exit(0)
		}
		call := &s.calls[c.kind]
		due := clock(unix.CLOCK_MONOTONIC)
		for r := uint64(0); r < c.rounds; r++ {
			wall, cpu := clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_THREAD_CPUTIME_ID)
			for i := uint64(0); i < c.calls; i++ {
				syscall.RawSyscall6(call.nr, call.args[0], call.args[1], call.args[2], call.args[3], call.args[4], call.args[5])
			}
			s.results[r].cpu = clock(unix.CLOCK_THREAD_CPUTIME_ID) - cpu
			s.results[r].wall = clock(unix.CLOCK_MONOTONIC) - wall
			if due += c.period; c.period > 0 {
				rest(due)
			}
		}
		at, left := uintptr(unsafe.Pointer(&s.results)), uintptr(c.rounds)*unsafe.Sizeof(s.results[0])
		for left > 0 {
			n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, 1, at, left)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				exit(0)
			}
			at, left = at+n, left-n
		}
	}
}

//go:nosplit
//go:norace
func clock(which uintptr) uint64 {
	var ts [2]uint64
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, which, uintptr(unsafe.Pointer(&ts)), 0)
	return ts[0]*1e9 + ts[1]
}

// rest waits until a time of the monotonic clock, which may be past.
//
//go:nosplit
//go:norace
func rest(until uint64) {
	ts := [2]uint64{until / 1e9, until % 1e9}
	syscall.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}
