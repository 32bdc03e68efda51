package expendable

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// dialMost is how many addresses one request may name.
const dialMost = 256

// dialing is a connection on its way.
type dialing struct {
	result Dialed
	fd     int // -1: over
}

// connect tries a TCP connection to each address, all at once, from the network
// namespace of a process, and closes it at once. Nothing is sent. It waits until
// Max milliseconds are over.
func (c child) connect(req Request, _ func(Answer)) (Answer, error) {
	if len(req.Names) > dialMost {
		return Answer{}, fmt.Errorf("dial: %d addresses, at most %d", len(req.Names), dialMost)
	}
	// A network namespace belongs to the thread; it never serves another
	// request, as the goroutine ends with the lock held.
	var a Answer
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		entered := req.PID != 0 && c.enterNetwork(req.PID) == nil
		a.Dialed = dialAll(req.Names, time.Duration(bound(req.Max, 1000, 60_000))*time.Millisecond)
		for i := range a.Dialed {
			a.Dialed[i].Entered = entered
		}
	}()
	<-done
	return a, nil
}

func dialAll(addresses []string, limit time.Duration) []Dialed {
	begin := time.Now()
	list := make([]dialing, len(addresses))
	for i, a := range addresses {
		list[i] = startDial(a)
	}
	for open := true; open; {
		left := limit - time.Since(begin)
		open = left > 0 && pollDials(list, left, begin)
	}
	out := make([]Dialed, len(list))
	for i := range list {
		if list[i].fd >= 0 {
			list[i].result.TookMS = time.Since(begin).Milliseconds()
			unix.Close(list[i].fd)
		}
		out[i] = list[i].result
	}
	return out
}

// startDial begins a connection. Its result says ETIMEDOUT until it is known
// better.
func startDial(address string) dialing {
	d := dialing{result: Dialed{Address: address, Errno: "ETIMEDOUT"}, fd: -1}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		d.result.Errno, d.result.Err = "", err.Error()
		return d
	}
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16(), ZoneId: zone(ap.Addr().Zone())})
	if ap.Addr().Unmap().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().Unmap().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		d.result.Errno = errnoName(err)
		return d
	}
	switch err := unix.Connect(fd, to); err {
	case unix.EINPROGRESS:
		d.fd = fd
		return d
	case nil:
		d.result.Errno = ""
	default:
		d.result.Errno = errnoName(err)
	}
	unix.Close(fd)
	return d
}

func zone(name string) uint32 {
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}

func errnoName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// pollDials waits for at least one connection to be decided and tells whether
// any is left.
func pollDials(list []dialing, left time.Duration, begin time.Time) bool {
	var fds []unix.PollFd
	var of []int
	for i := range list {
		if list[i].fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(list[i].fd), Events: unix.POLLOUT})
			of = append(of, i)
		}
	}
	if len(fds) == 0 {
		return false
	}
	if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
		return false
	}
	for i, p := range fds {
		if p.Revents == 0 {
			continue
		}
		d := &list[of[i]]
		d.result.Errno, d.result.TookMS = "", time.Since(begin).Milliseconds()
		if code, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
			d.result.Errno = unix.ErrnoName(unix.Errno(code))
		}
		unix.Close(d.fd)
		d.fd = -1
	}
	return true
}
