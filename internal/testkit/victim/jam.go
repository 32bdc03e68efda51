package victim

import (
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// step is the time a thread of a jam gets to block before the next one starts.
const step = 300 * time.Millisecond

// runJam jams this process's own mmap_lock. Argument: a directory on the
// volume, of which WRITE at least must be frozen before "go".
//
// One thread's fsync puts a page under writeback, which the daemon never ends.
// A second one writes to the page: page_mkwrite waits for the writeback and
// holds the VMA's lock for reading. A third one calls mprotect: it takes
// mmap_lock for writing and waits for the VMA's lock. From then on whoever
// reads this process's command line, maps or memory waits too.
func runJam(s *session) error {
	if len(s.args) != 1 {
		return fmt.Errorf("jam: want one directory, not %q", s.args)
	}
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(8)
	dir := s.args[0]
	page, fd, err := dirtyPage(filepath.Join(dir, "jammed"))
	if err != nil {
		return fmt.Errorf("jam: %w", err)
	}
	other := filepath.Join(dir, "other")
	if err := writeFile(other, 4096); err != nil {
		return err
	}
	otherFD, err := unix.Open(other, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if !s.prepared() {
		return nil
	}
	jammed := filepath.Join(dir, "jammed")
	s.locked("fsync", jammed, func() error { return unix.Fsync(fd) })
	// These two hang as any other victim does; the first one's path cannot be
	// read any more, the second one's is its descriptor's.
	s.locked("stat", other, func() error { return unix.Fstatat(unix.AT_FDCWD, other, new(unix.Stat_t), 0) })
	s.locked("write", other, func() error { _, err := unix.Write(otherFD, []byte("x")); return err })
	time.Sleep(step)
	s.locked("fault", jammed, func() error { page[0]++; return nil })
	time.Sleep(step)
	s.locked("mprotect", jammed, func() error { return unix.Mprotect(page, unix.PROT_WRITE) })
	s.await("quit")
	return nil
}

// locked runs the call on a thread of its own.
func (s *session) locked(op, path string, call func() error) {
	go func() {
		runtime.LockOSThread()
		s.blocking(op, path)
		s.returned(op, path, call())
		select {}
	}()
}

// dirtyPage maps a new file's first page, shared, and writes to it.
func dirtyPage(name string) (page []byte, fd int, err error) {
	if err := writeFile(name, 4096); err != nil {
		return nil, -1, err
	}
	fd, err = unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	page, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, -1, err
	}
	page[0]++
	return page, fd, nil
}

// runExit blocks in its own exit: the last mapping of a dirty page of the
// volume writes it back. Argument: a directory on the volume, of which WRITE
// must be frozen before "go".
func runExit(s *session) error {
	if len(s.args) != 1 {
		return fmt.Errorf("exit: want one directory, not %q", s.args)
	}
	name := filepath.Join(s.args[0], "dirty")
	if _, _, err := dirtyPage(name); err != nil {
		return fmt.Errorf("exit: %w", err)
	}
	if s.prepared() {
		s.blocking("exit", name)
	}
	return nil
}

// runUmount unmounts its argument, which blocks after the call has returned
// when the file system's end needs an answer (fuseblk).
func runUmount(s *session) error {
	if len(s.args) != 1 {
		return fmt.Errorf("umount: want one mount point, not %q", s.args)
	}
	if s.prepared() {
		s.locked("umount2", s.args[0], func() error { return unix.Unmount(s.args[0], 0) })
		s.await("quit")
	}
	return nil
}
