package expendable

import (
	"bytes"
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
// ever while the process's memory map is locked.
type Memory struct {
	PID int
}

// ReadAt reads the bytes at addr. It gives what is mapped before the first
// page that is not.
func (m Memory) ReadAt(p []byte, addr int64) (int, error) {
	page := os.Getpagesize()
	done := 0
	for done < len(p) {
		at := uintptr(addr) + uintptr(done)
		// A read that crosses into an unmapped page is cut at an unspecified
		// place: page by page it is cut at the page.
		n := min(page-int(at%uintptr(page)), len(p)-done)
		local := unix.Iovec{Base: &p[done]}
		local.SetLen(n)
		got, err := unix.ProcessVMReadv(m.PID, []unix.Iovec{local}, []unix.RemoteIovec{{Base: at, Len: n}}, 0)
		if got > 0 {
			done += got
		}
		if err != nil {
			return done, fmt.Errorf("read memory of process %d: %w", m.PID, err)
		}
		if got < n {
			return done, io.ErrUnexpectedEOF
		}
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
	for _, addr := range req.Addrs {
		emit(Answer{Strings: []String{readString(req.PID, addr, limit)}})
	}
	return Answer{}, nil
}

// readString reads page by page, so that a string that ends just before an
// unmapped page is whole.
func readString(pid int, addr uint64, limit int) String {
	s := String{Addr: addr}
	page := os.Getpagesize()
	buf := make([]byte, 0, 256)
	chunk := make([]byte, page)
	for len(buf) < limit {
		at := addr + uint64(len(buf))
		part := chunk[:min(page-int(at%uint64(page)), limit-len(buf))]
		n, err := Memory{pid}.ReadAt(part, int64(at))
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
