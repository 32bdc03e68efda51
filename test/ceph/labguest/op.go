package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// An operation prepares what must not hang (open, mmap, chdir) and returns the
// one call that may.
type operation func(path string) (call func() (int64, error), err error)

var operations = map[string]operation{
	"stat": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Stat(p, &unix.Stat_t{}) }, nil
	},
	// statcwd calls stat with a relative path.
	"statcwd": func(p string) (func() (int64, error), error) {
		if err := unix.Chdir(filepath.Dir(p)); err != nil {
			return nil, err
		}
		return func() (int64, error) { return 0, unix.Stat(filepath.Base(p), &unix.Stat_t{}) }, nil
	},
	// openat opens a path relative to a directory's descriptor.
	"openat": func(p string) (func() (int64, error), error) {
		dir, err := unix.Open(filepath.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, err
		}
		return func() (int64, error) { return result(unix.Openat(dir, filepath.Base(p), unix.O_RDONLY, 0)) }, nil
	},
	"open": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return result(unix.Open(p, unix.O_RDONLY, 0)) }, nil
	},
	"creat": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return result(unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o644)) }, nil
	},
	"mkdir": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Mkdir(p, 0o755) }, nil
	},
	"rmdir": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Rmdir(p) }, nil
	},
	"unlink": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Unlink(p) }, nil
	},
	"statfs": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Statfs(p, &unix.Statfs_t{}) }, nil
	},
	"umount": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Unmount(p, 0) }, nil
	},
	"chmod": func(p string) (func() (int64, error), error) {
		return func() (int64, error) { return 0, unix.Chmod(p, 0o600) }, nil
	},
	// openwrite opens and writes only when called: what the client may do with
	// the file is decided then.
	"openwrite": func(p string) (func() (int64, error), error) {
		return func() (int64, error) {
			fd, err := unix.Open(p, unix.O_WRONLY, 0)
			if err != nil {
				return 0, err
			}
			return result(unix.Write(fd, []byte("x")))
		}, nil
	},
	"ls":    prepareLS,
	"read":  prepareRead,
	"fsync": prepareFsync,
	// chmodfsync leaves a change in the journal's transaction, too.
	"chmodfsync": func(p string) (func() (int64, error), error) {
		sync, err := prepareFsync(p)
		return func() (int64, error) {
			if err := unix.Chmod(p, 0o640); err != nil {
				return 0, err
			}
			return sync()
		}, err
	},
	// metafsync has nothing to write but a change in the journal.
	"metafsync": func(p string) (func() (int64, error), error) {
		fd, err := unix.Open(p, unix.O_RDWR, 0)
		return func() (int64, error) {
			if err := unix.Fchmod(fd, 0o640); err != nil {
				return 0, err
			}
			return 0, unix.Fsync(fd)
		}, err
	},
	"fault": prepareFault,
}

func result(n int, err error) (int64, error) { return int64(n), err }

// prepareLS opens the directory first: the call is getdents64.
func prepareLS(p string) (func() (int64, error), error) {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	return func() (int64, error) { return result(unix.Getdents(fd, buf)) }, nil
}

func prepareRead(p string) (func() (int64, error), error) {
	fd, err := unix.Open(p, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	return func() (int64, error) { return result(unix.Pread(fd, buf, 0)) }, nil
}

// prepareFsync leaves a dirty page behind.
func prepareFsync(p string) (func() (int64, error), error) {
	fd, err := unix.Open(p, unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// Once while the servers answer: from then on the page and the right to write
	// it are here. And once before the call: what was written may be clean again
	// when they are silent.
	page := make([]byte, 4096)
	if _, err := unix.Pwrite(fd, page, 0); err != nil {
		return nil, err
	}
	return func() (int64, error) {
		if _, err := unix.Pwrite(fd, page, 0); err != nil {
			return 0, err
		}
		return 0, unix.Fsync(fd)
	}, nil
}

// prepareFault maps the file: the "call" is a page fault, outside any syscall.
func prepareFault(p string) (func() (int64, error), error) {
	fd, err := unix.Open(p, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return func() (int64, error) { return int64(m[0]), nil }, nil
}

func opNames() []string {
	names := make([]string, 0, len(operations))
	for n := range operations {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// doOp prints one JSON line when all is prepared and one after the call.
func doOp(args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("op", flag.ContinueOnError)
	after := flags.String("after", "", "do the call once this file exists")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	prepare, ok := operations[flags.Arg(0)]
	if flags.NArg() != 2 || !ok {
		return 2, fmt.Errorf("no operation %q with a path (there are: %v)", flags.Arg(0), opNames())
	}
	call, err := prepare(flags.Arg(1))
	if err != nil {
		return 1, fmt.Errorf("prepare %s %s: %w", flags.Arg(0), flags.Arg(1), err)
	}
	line := json.NewEncoder(out)
	line.Encode(map[string]any{"event": "ready", "pid": os.Getpid(), "tid": unix.Gettid()})
	for *after != "" {
		if _, err := os.Lstat(*after); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	started := time.Now()
	ret, err := call()
	done := map[string]any{"event": "done", "ret": ret, "ms": time.Since(started).Milliseconds()}
	var errno unix.Errno
	if errors.As(err, &errno) {
		done["errno"] = unix.ErrnoName(errno)
	}
	line.Encode(done)
	return 0, nil
}
