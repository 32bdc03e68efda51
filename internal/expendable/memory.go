package expendable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	stringDefault = 4096
	stringLimit   = 64 << 10
	memoryLimit   = 1 << 20
)

// Memory is the memory of a process, for handlers: reading it may block for
// ever while the process's memory map is locked. It is read from /proc/PID/mem,
// whose wait for that lock a SIGKILL ends; process_vm_readv(2) waits in a way
// that nothing ends but the lock's holder.
type Memory struct {
	PID int
}

// ReadAt reads the bytes at addr. It gives what is mapped before the first
// page that is not.
func (m Memory) ReadAt(p []byte, addr int64) (int, error) {
	f, err := m.open()
	if err != nil {
		return 0, err
	}
	defer f.close()
	return f.ReadAt(p, addr)
}

func (m Memory) open() (openMemory, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", m.PID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return openMemory{}, fmt.Errorf("open memory of process %d: %w", m.PID, err)
	}
	return openMemory{m.PID, fd}, nil
}

// openMemory is Memory for many reads.
type openMemory struct {
	pid, fd int
}

func (m openMemory) close() { _ = unix.Close(m.fd) }

func (m openMemory) ReadAt(p []byte, addr int64) (int, error) {
	done := 0
	for done < len(p) { // a read ends before the first page that is not mapped
		got, err := unix.Pread(m.fd, p[done:], addr+int64(done))
		if errors.Is(err, unix.EIO) { // how this file says that nothing is mapped there
			err = unix.EFAULT
		}
		if err != nil {
			return done, fmt.Errorf("read memory of process %d: %w", m.pid, err)
		}
		if got == 0 {
			return done, io.ErrUnexpectedEOF
		}
		done += got
	}
	return done, nil
}

func (c child) memory(req Request, _ func(Answer)) (Answer, error) {
	if req.Len <= 0 || req.Len > memoryLimit {
		return Answer{}, fmt.Errorf("read memory of process %d: length %d is not in 1..%d", req.PID, req.Len, memoryLimit)
	}
	buf := make([]byte, req.Len)
	n, err := Memory{req.PID}.ReadAt(buf, int64(req.Addr))
	if n == 0 {
		return Answer{}, err
	}
	return Answer{Data: buf[:n], Truncated: n < req.Len}, nil
}

func (c child) strings(req Request, emit func(Answer)) (Answer, error) {
	limit := bound(req.Max, stringDefault, stringLimit)
	m, err := Memory{req.PID}.open()
	if err != nil {
		return Answer{}, err
	}
	defer m.close()
	for _, addr := range req.Addrs {
		emit(Answer{Strings: []String{readString(m, addr, limit)}})
	}
	return Answer{}, nil
}

// readString reads page by page, so that a string that ends just before an
// unmapped page is whole.
func readString(m openMemory, addr uint64, limit int) String {
	s := String{Addr: addr}
	page := os.Getpagesize()
	buf := make([]byte, 0, 256)
	chunk := make([]byte, page)
	for len(buf) < limit {
		at := addr + uint64(len(buf))
		part := chunk[:min(page-int(at%uint64(page)), limit-len(buf))]
		n, err := m.ReadAt(part, int64(at))
		if end := bytes.IndexByte(part[:n], 0); end >= 0 {
			s.Value = Raw(append(buf, part[:end]...))
			return s
		}
		buf = append(buf, part[:n]...)
		if err != nil {
			s.Err = err.Error()
			break
		}
	}
	s.Value, s.Truncated = Raw(buf), len(buf) > 0
	return s
}

// bound is what was asked for, within limits.
func bound(asked, otherwise, limit int) int {
	if asked <= 0 {
		asked = otherwise
	}
	return min(asked, limit)
}
