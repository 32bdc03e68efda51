package victim

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of io_uring(7) that one request needs (include/uapi/linux/io_uring.h).
const (
	uringOffSQRing = 0
	uringOffSQEs   = 0x10000000
	uringOpOpenat  = 18     // IORING_OP_OPENAT
	uringAsync     = 1 << 4 // IOSQE_ASYNC: a worker does it, whether it would block or not
)

type uringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wqFD uint32
	_                                                      [3]uint32
	sq                                                     struct{ head, tail, mask, entries, flags, dropped, array, _ uint32 }
	_                                                      uint64
	cq                                                     [10]uint32
}

type uringEntry struct {
	opcode, flags byte
	_             uint16
	fd            int32
	off, addr     uint64
	length, mode  uint32
	data          uint64
	_             [3]uint64
}

// runIOURing opens a file through io_uring: it is a worker of the kernel's, made
// for this process, that blocks. Argument: the path.
func runIOURing(s *session) error {
	if len(s.args) != 1 {
		return fmt.Errorf("iouring wants one path, got %q", s.args)
	}
	if !s.prepared() {
		return nil
	}
	runtime.LockOSThread()
	ring, err := newURing()
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(s.args[0])
	if err != nil {
		return err
	}
	s.blocking("iouring", s.args[0])
	*ring.entry = uringEntry{opcode: uringOpOpenat, flags: uringAsync, fd: unix.AT_FDCWD, addr: uint64(uintptr(unsafe.Pointer(path)))}
	*ring.tail++
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(ring.fd), 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	s.await("quit")
	runtime.KeepAlive(path)
	return nil
}

type uring struct {
	fd    int
	tail  *uint32
	entry *uringEntry
}

func newURing() (*uring, error) {
	var p uringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	const flags, prot = unix.MAP_SHARED | unix.MAP_POPULATE, unix.PROT_READ | unix.PROT_WRITE
	sq, err := unix.Mmap(int(fd), uringOffSQRing, int(p.sq.array)+4*int(p.sqEntries), prot, flags)
	if err != nil {
		return nil, fmt.Errorf("map the submission queue: %w", err)
	}
	entries, err := unix.Mmap(int(fd), uringOffSQEs, int(p.sqEntries)*int(unsafe.Sizeof(uringEntry{})), prot, flags)
	if err != nil {
		return nil, fmt.Errorf("map the submission entries: %w", err)
	}
	*(*uint32)(unsafe.Pointer(&sq[p.sq.array])) = 0
	return &uring{int(fd), (*uint32)(unsafe.Pointer(&sq[p.sq.tail])), (*uringEntry)(unsafe.Pointer(&entries[0]))}, nil
}
