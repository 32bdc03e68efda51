package victim

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileSize is enough for several read-ahead windows.
const fileSize = 1 << 20

// op is one way to block. It has a directory of its own, so that no thread
// queues on another's directory lock.
type op struct {
	name string
	// prepare runs while the volume is healthy. It gets the directory and a
	// data file in it, and returns the call that is to block.
	prepare func(dir, file string) (call func() error, path string, err error)
}

// onPath makes an op of a call that takes the path itself.
func onPath(name string, call func(path string) error) op {
	return op{name, func(dir, file string) (func() error, string, error) {
		return func() error { return call(file) }, file, nil
	}}
}

// onNew makes an op of a call that makes an entry.
func onNew(name string, call func(file, entry string) error) op {
	return op{name, func(dir, file string) (func() error, string, error) {
		entry := filepath.Join(dir, "new")
		return func() error { return call(file, entry) }, entry, nil
	}}
}

// onFD makes an op of a call on an open file. Opening drops the file's cached
// pages (no FOPEN_KEEP_CACHE), so that a read must ask.
func onFD(name string, call func(fd int) error) op {
	return op{name, func(dir, file string) (func() error, string, error) {
		fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
		return func() error { return call(fd) }, file, err
	}}
}

func allOps() []op {
	buf := func() []byte { return make([]byte, 4096) }
	return []op{
		onPath("stat", func(p string) error { return unix.Fstatat(unix.AT_FDCWD, p, new(unix.Stat_t), 0) }),
		onPath("lstat", func(p string) error {
			return unix.Fstatat(unix.AT_FDCWD, p, new(unix.Stat_t), unix.AT_SYMLINK_NOFOLLOW)
		}),
		onPath("statx", func(p string) error {
			return unix.Statx(unix.AT_FDCWD, p, 0, unix.STATX_ALL, new(unix.Statx_t))
		}),
		onPath("statfs", func(p string) error { return unix.Statfs(p, new(unix.Statfs_t)) }),
		onPath("access", func(p string) error { return unix.Faccessat(unix.AT_FDCWD, p, unix.R_OK, 0) }),
		onPath("open", open),
		onPath("unlink", func(p string) error { return unix.Unlinkat(unix.AT_FDCWD, p, 0) }),
		onPath("chmod", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0o600, 0) }),
		onPath("truncate", func(p string) error { return unix.Truncate(p, 1) }),
		onPath("getxattr", func(p string) error { _, err := unix.Getxattr(p, "user.none", buf()); return err }),
		onPath("readlink", func(p string) error { _, err := unix.Readlink(p, buf()); return err }),
		// Not executable: after a thaw the call fails and the victim goes on.
		onPath("execve", execute),
		onNew("mkdir", func(_, n string) error { return unix.Mkdirat(unix.AT_FDCWD, n, 0o755) }),
		onNew("creat", func(_, n string) error { return create(n) }),
		onNew("symlink", func(f, n string) error { return unix.Symlinkat(f, unix.AT_FDCWD, n) }),
		// The path of these is the first one, as a reader of the call sees it.
		onPath("rename", func(p string) error { return unix.Renameat(unix.AT_FDCWD, p, unix.AT_FDCWD, p+".new") }),
		onPath("link", func(p string) error { return unix.Linkat(unix.AT_FDCWD, p, unix.AT_FDCWD, p+".new", 0) }),
		onFD("read", func(fd int) error { _, err := unix.Read(fd, buf()); return err }),
		onFD("pread", func(fd int) error { _, err := unix.Pread(fd, buf(), fileSize/2); return err }),
		onFD("write", func(fd int) error { _, err := unix.Write(fd, buf()); return err }),
		onFD("fstat", func(fd int) error { return unix.Fstat(fd, new(unix.Stat_t)) }),
		onFD("fsync", unix.Fsync),
		onFD("ftruncate", func(fd int) error { return unix.Ftruncate(fd, 1) }),
		onFD("flock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) }),
		{"getdents", prepareGetdents},
		{"openat-dirfd", prepareDirFD},
		{"openat-cwd", prepareCwd},
		{"fault", prepareFault},
	}
}

// OpNames are the names of all operations of the mode "ops".
func OpNames() []string {
	var names []string
	for _, o := range allOps() {
		names = append(names, o.name)
	}
	return names
}

// execute calls execve as it is: Go's own keeps every new thread waiting. While an
// execve hangs, clone(CLONE_FS) of what the thread shares its directories with is
// EAGAIN, of which Go's runtime dies; so it shares them with nobody.
func execute(path string) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	argv := [2]*byte{name}
	_, _, errno := unix.Syscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&argv)), 0)
	return orNil(errno)
}

func open(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func create(path string) error {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func prepareGetdents(dir, _ string) (func() error, string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return func() error { _, err := unix.Getdents(fd, make([]byte, 4096)); return err }, dir, err
}

func prepareDirFD(dir, file string) (func() error, string, error) {
	dirfd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return func() error { return openAt(dirfd, filepath.Base(file)) }, file, err
}

// prepareCwd leaves the process in the operation's directory.
func prepareCwd(dir, file string) (func() error, string, error) {
	return func() error { return openAt(unix.AT_FDCWD, filepath.Base(file)) }, file, os.Chdir(dir)
}

func openAt(dirfd int, name string) error {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// faulted keeps the compiler from dropping the faulting read.
type faulted struct{ value atomic.Uint32 }

func prepareFault(_, file string) (func() error, string, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	data, err := unix.Mmap(fd, 0, fileSize, unix.PROT_READ, unix.MAP_SHARED)
	var sink faulted
	return func() error { sink.value.Store(uint32(data[fileSize/2])); return nil }, file, err
}

// runOps blocks one thread per operation. Arguments: a directory on the
// volume, then the operations, none for all.
func runOps(s *session) error {
	if len(s.args) == 0 {
		return fmt.Errorf("ops: no directory")
	}
	// A thread in a page fault keeps its P and never reaches a safe point: no
	// garbage collection may wait for it, and the others need Ps of their own.
	runtime.GOMAXPROCS(8)
	debug.SetGCPercent(-1)
	start := make(chan struct{})
	wanted := s.args[1:]
	for _, o := range allOps() {
		if len(wanted) > 0 && !slices.Contains(wanted, o.name) {
			continue
		}
		call, path, err := prepareOp(o, s.args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		go func() {
			runtime.LockOSThread()
			<-start
			s.blocking(o.name, path)
			s.returned(o.name, path, call())
			select {} // keep the thread: its ID must not be used again
		}()
	}
	if s.prepared() {
		close(start)
		s.await("quit")
	}
	return nil
}

// prepareOp gives the operation a directory with a data file.
func prepareOp(o op, volume string) (func() error, string, error) {
	dir := filepath.Join(volume, o.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "file")
	if err := writeFile(file, fileSize); err != nil {
		return nil, "", err
	}
	return o.prepare(dir, file)
}

// writeFile writes without the runtime's poller, which a Go file would join.
func writeFile(name string, size int) error {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for data := make([]byte, size); len(data) > 0; {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
