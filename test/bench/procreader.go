package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// runRead reads of a process what a report needs, from /proc alone and with no
// thought for what may hang: of each thread its status, kernel stack, call and
// wait channel, which mount namespace it is in, and the path it asks for; once
// what all share, its descriptors and each namespace's mountinfo. It is the
// floor for whoever reads /proc, as it makes nothing of what it has read.
// Argument: the process.
func runRead(args []string) error {
	if len(args) != 1 {
		return errors.New("want a process")
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	dir := filepath.Join("/proc", args[0])
	tasks, err := names(filepath.Join(dir, "task"))
	if err != nil {
		return err
	}
	var buf, path [64 << 10]byte
	namespaces := make(map[string]bool)
	for _, tid := range tasks {
		task := filepath.Join(dir, "task", tid)
		for _, name := range []string{"status", "stack", "wchan", "syscall"} {
			n, err := read(filepath.Join(task, name), buf[:])
			if err != nil {
				return err
			}
			if name == "syscall" {
				readPath(pid, buf[:n], path[:4096])
			}
		}
		ns, err := os.Readlink(filepath.Join(task, "ns/mnt"))
		if err != nil {
			return err
		}
		if namespaces[ns] {
			continue
		}
		namespaces[ns] = true
		if _, err := os.ReadFile(filepath.Join(task, "mountinfo")); err != nil {
			return err
		}
	}
	fds, err := names(filepath.Join(dir, "fd"))
	if err != nil {
		return err
	}
	for _, fd := range fds {
		_, _ = os.Readlink(filepath.Join(dir, "fd", fd))
		_, _ = read(filepath.Join(dir, "fdinfo", fd), buf[:])
	}
	return nil
}

func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// read reads a file of /proc with three calls; os.ReadFile makes seven.
func read(name string, buf []byte) (int, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := unix.Read(fd, buf)
	unix.Close(fd)
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return n, nil
}

// readPath reads what the second argument of a call points to.
func readPath(pid int, call, path []byte) {
	fields := bytes.Fields(call)
	if len(fields) < 3 {
		return
	}
	addr, err := strconv.ParseUint(string(fields[2]), 0, 64)
	if err != nil || addr == 0 {
		return
	}
	size := min(uint64(len(path)), 4096-addr%4096) // to the page's end: the next may be none
	local := []unix.Iovec{{Base: &path[0], Len: size}}
	_, _ = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: int(size)}}, 0)
}
