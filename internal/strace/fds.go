package strace

import (
	"path"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// descriptors remembers what descriptors stand for: by the time a line is
// shown, the number may have been closed and given away again.
type descriptors struct {
	lookup func(pid, fd int) string
	// cache and cacheDir tell that every call that changes descriptors, and the
	// working directory, is traced.
	cache, cacheDir bool
	of              map[int]map[int]string
}

func (d *descriptors) path(pid, fd int) string {
	if known, ok := d.of[pid][fd]; ok {
		return known
	}
	if d.lookup == nil {
		return ""
	}
	to := d.lookup(pid, fd)
	if to != "" {
		d.set(pid, fd, to)
	}
	return to
}

func (d *descriptors) set(pid, fd int, to string) {
	if !d.cache && fd != syscalls.ATFDCWD || !d.cacheDir && fd == syscalls.ATFDCWD {
		return
	}
	if d.of[pid] == nil {
		d.of[pid] = make(map[int]string)
	}
	d.of[pid][fd] = to
}

// learn follows a call that succeeded. Opened is the path argument of an open.
func (d *descriptors) learn(pid int, c syscalls.Call, args [6]uint64, ret int64, opened string) {
	switch c.Name {
	case "close":
		delete(d.of[pid], int(int32(args[0])))
		return
	case "close_range", "execve", "execveat":
		delete(d.of, pid)
		return
	case "chdir", "fchdir", "chroot", "pivot_root":
		delete(d.of[pid], syscalls.ATFDCWD)
		return
	case "dup", "dup2", "dup3":
		if from, ok := d.of[pid][int(int32(args[0]))]; ok {
			d.set(pid, int(ret), from)
			return
		}
	}
	if c.RetFor(args) != syscalls.RetFD {
		return
	}
	delete(d.of[pid], int(ret))
	if full := d.absolute(pid, c, args, opened); full != "" {
		d.set(pid, int(ret), full)
	}
}

// absolute makes the path of an open absolute where that is possible by text.
func (d *descriptors) absolute(pid int, c syscalls.Call, args [6]uint64, opened string) string {
	if opened == "" || strings.HasPrefix(opened, "/") {
		return opened
	}
	dir := syscalls.ATFDCWD
	if paths := c.PathArgs(args); len(paths) > 0 && paths[0].Dir >= 0 {
		dir = int(int32(args[paths[0].Dir]))
	}
	base := d.path(pid, dir)
	if base == "" {
		return ""
	}
	return path.Join(base, opened)
}

func (d *descriptors) forget(pid int) { delete(d.of, pid) }
