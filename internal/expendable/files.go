package expendable

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	entriesDefault = 100_000
	entriesLimit   = 1_000_000
	entriesPerLine = 1000
	fileDefault    = 64 << 10
	fileLimit      = 4 << 20
	againLimit     = 100
)

// name is what the request is about, as it was asked.
func (r Request) name() string {
	return strings.TrimRight(string(r.Root), "/") + "/" + strings.TrimLeft(string(r.Path), "/")
}

// openBelow opens path below root without following any symbolic link.
func openBelow(req Request, flags uint64) (int, error) {
	name := req.name()
	root, err := openPath(string(req.Root))
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_BENEATH,
	}
	if req.NoXDev {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	below := strings.TrimLeft(string(req.Path), "/")
	if below == "" {
		below = "."
	}
	fd, err := openat2(root, below, &how)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// openPath opens a directory as a place to start from, nothing more.
func openPath(dir string) (int, error) {
	for {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, fmt.Errorf("open %s: %w", dir, err)
		}
	}
}

func openat2(dir int, name string, how *unix.OpenHow) (int, error) {
	for try := 0; ; try++ {
		// EAGAIN: a rename or mount happened meanwhile; the kernel cannot say
		// whether the walk stayed below.
		fd, err := unix.Openat2(dir, name, how)
		if try == againLimit || err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func (c child) readdir(req Request, emit func(Answer)) (Answer, error) {
	fd, err := openBelow(req, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return Answer{}, err
	}
	defer unix.Close(fd)
	limit := bound(req.Max, entriesDefault, entriesLimit)
	buf := make([]byte, 32<<10)
	var a Answer
	total := 0
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return a, fmt.Errorf("list %s: %w", req.name(), err)
		}
		if n == 0 {
			return a, nil
		}
		before := len(a.Entries)
		a.Entries = appendEntries(a.Entries, buf[:n])
		total += len(a.Entries) - before
		if total > limit {
			a.Entries = a.Entries[:len(a.Entries)-(total-limit)]
			a.Truncated = true
			return a, nil
		}
		if len(a.Entries) >= entriesPerLine {
			emit(a)
			a = Answer{}
		}
	}
}

// appendEntries decodes what getdents64 wrote (struct linux_dirent64), leaving
// out "." and "..".
func appendEntries(entries []Entry, buf []byte) []Entry {
	const (
		lengthAt = int(unsafe.Offsetof(unix.Dirent{}.Reclen))
		typeAt   = int(unsafe.Offsetof(unix.Dirent{}.Type))
		nameAt   = int(unsafe.Offsetof(unix.Dirent{}.Name))
	)
	for len(buf) > nameAt {
		length := int(binary.NativeEndian.Uint16(buf[lengthAt:]))
		if length <= nameAt || length > len(buf) {
			return entries
		}
		name, _, _ := strings.Cut(string(buf[nameAt:length]), "\x00")
		if name != "." && name != ".." {
			entries = append(entries, Entry{Name: Raw(name), Type: buf[typeAt]})
		}
		buf = buf[length:]
	}
	return entries
}

// readfile reads regular files only: opening a pipe may block, and opening a
// device may do anything.
func (c child) readfile(req Request, _ func(Answer)) (Answer, error) {
	name := req.name()
	fd, err := openBelow(req, unix.O_PATH)
	if err != nil {
		return Answer{}, err
	}
	defer unix.Close(fd)
	// The type is cached; asking no server for it is one wait less.
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st); err != nil {
		return Answer{}, fmt.Errorf("type of %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Answer{}, fmt.Errorf("read %s: not a regular file", name)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return Answer{}, fmt.Errorf("open %s: %w", name, errors.Unwrap(err))
	}
	defer f.Close()
	limit := bound(req.Max, fileDefault, fileLimit)
	var data []byte
	var more bool
	if req.After == "" {
		data, more, err = readUpTo(f, limit)
	} else {
		data, more, err = readAfter(f, req.After, limit)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("read %s: %w", name, err)
	}
	return Answer{Data: data, Truncated: more}, nil
}

// readUpTo reads at most limit bytes and tells whether there are more.
func readUpTo(r io.Reader, limit int) (data []byte, more bool, err error) {
	data, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(data) > limit {
		return data[:limit], true, err
	}
	return data, false, err
}

// readAfter skips to the line that is equal to after and reads what follows. A
// file without that line gives nothing.
func readAfter(r io.Reader, after string, limit int) (data []byte, more bool, err error) {
	const longest = 256 << 20 // of the file: what it takes to skip a million capabilities
	in := bufio.NewReaderSize(io.LimitReader(r, longest), 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue // no line of interest is that long
		}
		if strings.TrimRight(string(line), "\n") == after {
			return readUpTo(in, limit)
		}
		if err == io.EOF {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}
