package victim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runCrowd blocks many threads, each in a stat of a file of its own. It prints
// no line for any of them. Arguments: a directory on the volume, and how many.
func runCrowd(s *session) error {
	if len(s.args) != 2 {
		return fmt.Errorf("crowd: want a directory and a number, not %q", s.args)
	}
	n, err := threads(s.args[1])
	if err != nil {
		return fmt.Errorf("crowd: %w", err)
	}
	if !s.prepared() {
		return nil
	}
	many(n, func(i int) {
		file := filepath.Join(s.args[0], fmt.Sprintf("file-%d", i))
		_ = unix.Fstatat(unix.AT_FDCWD, file, new(unix.Stat_t), unix.AT_SYMLINK_NOFOLLOW)
	})
	s.print(Line{Event: EventBlocking, Text: fmt.Sprintf("%d threads", n)})
	s.await("quit")
	return nil
}

// runRest has many threads that wait for nothing, in the calls in which most
// threads of a node wait. Argument: how many.
func runRest(s *session) error {
	if len(s.args) != 1 {
		return fmt.Errorf("rest: want a number, not %q", s.args)
	}
	n, err := threads(s.args[0])
	if err != nil {
		return fmt.Errorf("rest: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	many(n, func(i int) {
		for { // a signal of the Go runtime may interrupt a wait
			switch i % 4 {
			case 0:
				_, _ = unix.EpollWait(epoll, make([]unix.EpollEvent, 1), -1)
			case 1:
				_ = unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil)
			case 2:
				_, _ = unix.Read(pipe[0], make([]byte, 1))
			default:
				unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(new(uint32))), 0, 0, 0, 0, 0)
			}
		}
	})
	s.print(Line{Event: EventPrepared})
	s.await("quit")
	return nil
}

// runNaps has many threads sleep for a while in the ways that are no hang, look at
// a file of their own, and sleep again. It prints a line of each look that took as
// long as half a sleep. Arguments: a directory on the volume, how many threads, how
// long they sleep.
func runNaps(s *session) error {
	if len(s.args) != 3 {
		return fmt.Errorf("naps: want a directory, a number and a duration, not %q", s.args)
	}
	n, err := threads(s.args[1])
	if err != nil {
		return fmt.Errorf("naps: %w", err)
	}
	long, err := time.ParseDuration(s.args[2])
	if err != nil {
		return fmt.Errorf("naps: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	many(n, func(i int) {
		file := filepath.Join(s.args[0], fmt.Sprintf("file-%d", i))
		for d := long * time.Duration(i) / time.Duration(n); ; d = long { // not all at once
			limit := unix.NsecToTimespec(d.Nanoseconds())
			switch i % 3 {
			case 0:
				_, _ = unix.EpollWait(epoll, make([]unix.EpollEvent, 1), int(d.Milliseconds()))
			case 1:
				_ = unix.Nanosleep(&limit, nil)
			default:
				unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(new(uint32))), 0, 0, uintptr(unsafe.Pointer(&limit)), 0, 0)
			}
			begin := time.Now()
			err := unix.Fstatat(unix.AT_FDCWD, file, new(unix.Stat_t), unix.AT_SYMLINK_NOFOLLOW)
			if time.Since(begin) > long/2 {
				s.returned("stat", file, err)
			}
		}
	})
	s.print(Line{Event: EventPrepared})
	s.await("quit")
	return nil
}

// FirstClosed is the first descriptor that "closes" closes: none that it has.
const FirstClosed = 1_000_000

// runCloses has threads, more than there are CPUs, make calls as fast as they can,
// each counting up from FirstClosed so that a missing one shows. Arguments: how many
// threads, how many calls each.
func runCloses(s *session) error {
	if len(s.args) != 2 {
		return fmt.Errorf("closes: want two numbers, not %q", s.args)
	}
	n, err := threads(s.args[0])
	if err != nil {
		return fmt.Errorf("closes: %w", err)
	}
	calls, err := strconv.Atoi(s.args[1])
	if err != nil {
		return fmt.Errorf("closes: %w", err)
	}
	if !s.prepared() {
		return nil
	}
	var done sync.WaitGroup
	done.Add(n)
	many(n, func(int) {
		for fd := range calls {
			_ = unix.Close(FirstClosed + fd)
		}
		done.Done()
	})
	done.Wait()
	s.print(Line{Event: EventReturned, Op: "close"})
	s.await("quit")
	return nil
}

func threads(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && n < 1 {
		err = errors.New("want one thread at least")
	}
	return n, err
}

// many starts n threads that do f.
func many(n int, f func(i int)) {
	debug.SetMaxThreads(n + 1000)
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(8)
	for i := range n {
		go func() {
			runtime.LockOSThread()
			f(i)
			select {}
		}()
		if i%256 == 0 { // without a pause the runtime makes them all at once
			time.Sleep(time.Millisecond)
		}
	}
}
