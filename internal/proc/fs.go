// Package proc reads /proc, and nothing of /proc that may block.
//
// In: process and thread IDs. Out: the text of the files below /proc/PID that
// answer at once even when the process hangs with its memory map locked, where
// its magic links point, and facts.Process, facts.Node and facts.Clock made
// from them. It must never open a file that takes the target's mmap_lock or
// exec_update_lock (the arguments, the environment, the memory and its maps,
// the call and stack of a thread: package expendable reads those), never
// follow a magic link, and never stat anything.
//
// One window is left open because nothing in user space can close it: for the
// microseconds in which a link or a directory of descriptors is read, the
// kernel holds a reference on the file or mount it names. If the target drops
// its own last reference in just that time, and the mount was detached before,
// the reader inherits the work of taking the file system down.
package proc

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process, thread or descriptor is not there: it ended,
// or hidepid hides it.
var ErrGone = errors.New("gone or hidden")

// Limits of a single read. What is longer is an error, not cut silently.
const (
	textLimit  = 1 << 20
	tableLimit = 64 << 20
	linkLimit  = 64 << 10
)

// FS is one mounted proc file system.
type FS struct {
	root string
}

// New returns the proc file system mounted at root, usually "/proc". It does
// not touch it.
func New(root string) *FS {
	return &FS{root: root}
}

// Root is the directory New was given.
func (f *FS) Root() string { return f.root }

// A file is the name of a file below /proc/PID or /proc/PID/task/TID. Only the
// ones named here are ever opened: each was read on hung targets and answered.
type file string

const (
	fileComm       file = "comm"
	fileStat       file = "stat"
	fileStatus     file = "status"
	fileWchan      file = "wchan"
	fileCgroup     file = "cgroup"
	fileLimits     file = "limits"
	fileMountinfo  file = "mountinfo"
	fileMountstats file = "mountstats"
)

// dir is the directory of a process (tid 0) or of one of its threads.
func (f *FS) dir(pid, tid int) string {
	d := f.root + "/" + strconv.Itoa(pid)
	if tid != 0 {
		d += "/task/" + strconv.Itoa(tid)
	}
	return d
}

func (f *FS) read(pid, tid int, name file, limit int) ([]byte, error) {
	return readFile(f.dir(pid, tid)+"/"+string(name), limit)
}

func readFile(path string, limit int) ([]byte, error) {
	fd, err := open(unix.AT_FDCWD, path, 0)
	if err != nil {
		return nil, failed("open", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= limit {
				return nil, fmt.Errorf("read %s: longer than %d bytes", path, limit)
			}
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, failed("read", path, err)
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

func open(dir int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func read(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func readlink(path string) (string, error) {
	buf := make([]byte, 512)
	for {
		n, err := unix.Readlink(path, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", failed("read link", path, err)
		case n < len(buf):
			return string(buf[:n]), nil
		case len(buf) >= linkLimit:
			return "", fmt.Errorf("read link %s: longer than %d bytes", path, linkLimit)
		default:
			buf = make([]byte, 4*len(buf))
		}
	}
}

// failed names the object of a failed call and marks what is gone.
func failed(what, path string, err error) error {
	if err == unix.ENOENT || err == unix.ESRCH {
		return fmt.Errorf("%s %s: %w (%w)", what, path, ErrGone, err)
	}
	return fmt.Errorf("%s %s: %w", what, path, err)
}
