package victim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiter is a wait that is long by nature.
type waiter struct {
	name    string
	prepare func(dir string) (wait func() error, err error)
}

// runIdle waits in every way that is no hang, while other threads make short
// file calls. Arguments: a healthy directory and, optional, "load".
func runIdle(s *session) error {
	if len(s.args) == 0 {
		return errors.New("idle: no directory")
	}
	if err := s.startIdle(s.args[0]); err != nil {
		return err
	}
	if len(s.args) > 1 && s.args[1] == "load" {
		for i := range 2 {
			go load(filepath.Join(s.args[0], fmt.Sprintf("load-%d", i)))
		}
	}
	s.print(Line{Event: EventPrepared})
	s.await("quit")
	return nil
}

// startIdle starts one thread per waiter.
func (s *session) startIdle(dir string) error {
	for _, w := range waiters() {
		wait, err := w.prepare(dir)
		if err != nil {
			return fmt.Errorf("idle %s: %w", w.name, err)
		}
		s.locked(w.name, "", func() error {
			for {
				// A signal of the Go runtime may interrupt a wait.
				if err := wait(); err != nil && !errors.Is(err, unix.EINTR) {
					return err
				}
			}
		})
	}
	return nil
}

func waiters() []waiter {
	return []waiter{
		{"epoll_wait", func(string) (func() error, error) {
			fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			return func() error { _, err := unix.EpollWait(fd, make([]unix.EpollEvent, 1), -1); return err }, err
		}},
		{"futex", func(string) (func() error, error) {
			word := new(uint32)
			return func() error {
				_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 0, 0, 0, 0, 0)
				return orNil(errno)
			}, nil
		}},
		{"nanosleep", func(string) (func() error, error) {
			return func() error { return unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil) }, nil
		}},
		{"inotify", func(dir string) (func() error, error) {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				return nil, err
			}
			watched := filepath.Join(dir, "watched")
			if err := os.MkdirAll(watched, 0o755); err != nil {
				return nil, err
			}
			_, err = unix.InotifyAddWatch(fd, watched, unix.IN_CREATE)
			return readOf(fd), err
		}},
		{"wait4", func(string) (func() error, error) {
			// By this name the child is called "exe": one kubelet is enough.
			child := exec.Command("/proc/self/exe", append(selfWord(), "sleep")...)
			child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			// This thread is the idle mode's main one, which does not end.
			if err := child.Start(); err != nil {
				return nil, err
			}
			return func() error { _, err := unix.Wait4(child.Process.Pid, nil, 0, nil); return err }, nil
		}},
		{"accept", func(dir string) (func() error, error) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil { // an abstract name
				return nil, err
			}
			return func() error { _, _, err := unix.Accept4(fd, 0); return err }, unix.Listen(fd, 1)
		}},
		{"pipe", func(string) (func() error, error) {
			var fds [2]int
			err := unix.Pipe2(fds[:], unix.O_CLOEXEC)
			return readOf(fds[0]), err
		}},
		{"eventfd", func(string) (func() error, error) {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			return readOf(fd), err
		}},
		{"timerfd", func(string) (func() error, error) {
			fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
			return readOf(fd), err
		}},
		{"poll", func(string) (func() error, error) {
			return func() error { _, err := unix.Poll(nil, -1); return err }, nil
		}},
		{"select", func(string) (func() error, error) {
			return func() error { _, err := unix.Select(0, nil, nil, nil, nil); return err }, nil
		}},
		{"sigwait", func(string) (func() error, error) {
			set := uint64(1) << (64 - 1)
			return func() error {
				_, _, errno := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, 0, 8, 0, 0)
				return orNil(errno)
			}, nil
		}},
		{"flock", prepareFlock},
		{"recv", func(string) (func() error, error) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			return readOf(fds[0]), err
		}},
		{"udp", func(string) (func() error, error) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			addr := &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}
			return func() error { _, _, err := unix.Recvfrom(fd, make([]byte, 1), 0); return err }, unix.Bind(fd, addr)
		}},
		{"tty", func(string) (func() error, error) {
			fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if errors.Is(err, unix.ENOENT) {
				return unix.Pause, nil // no pseudo terminals here
			}
			return readOf(fd), err
		}},
	}
}

// prepareFlock waits for a lock that another descriptor of this process holds.
func prepareFlock(dir string) (func() error, error) {
	name := filepath.Join(dir, "lockfile")
	if err := writeFile(name, 1); err != nil {
		return nil, err
	}
	holder, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(holder, unix.LOCK_EX); err != nil {
		return nil, err
	}
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	return func() error { return unix.Flock(fd, unix.LOCK_EX) }, err
}

func readOf(fd int) func() error {
	buf := make([]byte, 4096)
	return func() error { _, err := unix.Read(fd, buf); return err }
}

func orNil(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// selfWord is the hidden command this process was started with, if any.
func selfWord() []string {
	if len(os.Args) > 2 {
		return os.Args[1:2]
	}
	return nil
}

// load makes short file calls for ever, about a thousand a second.
func load(dir string) {
	runtime.LockOSThread()
	if os.MkdirAll(dir, 0o755) != nil {
		return
	}
	file := filepath.Join(dir, "file")
	for {
		_ = writeFile(file, 4096)
		_ = unix.Stat(file, new(unix.Stat_t))
		_, _ = os.ReadFile(file)
		_, _ = os.ReadDir(dir)
		_ = os.Remove(file)
		time.Sleep(5 * time.Millisecond)
	}
}

// runSleep is the child that a wait4 waits for.
func runSleep(*session) error {
	for {
		_ = unix.Pause()
	}
}
