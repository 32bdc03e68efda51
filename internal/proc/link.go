package proc

import (
	"fmt"
	"strconv"
	"strings"
)

// The links that only say where they point. What else /proc has as a link
// would need the memory map.
func linkAllowed(name string) bool {
	switch name {
	case "exe", "cwd", "root":
		return true
	}
	dir, last, ok := strings.Cut(name, "/")
	if !ok {
		return false
	}
	switch dir {
	case "fd":
		_, err := strconv.ParseUint(last, 10, 31)
		return err == nil
	case "ns":
		return last != "" && strings.Trim(last, "abcdefghijklmnopqrstuvwxyz_") == ""
	}
	return false
}

// Readlink says where a magic link of a process points: exe, cwd, root, fd/N
// or ns/NAME. The text comes from the kernel's cache of names; what it names is
// not touched.
func (f *FS) Readlink(pid int, name string) (string, error) {
	return f.ThreadReadlink(pid, 0, name)
}

// ThreadReadlink is Readlink for a thread, which may have a directory, a root,
// descriptors and namespaces of its own.
func (f *FS) ThreadReadlink(pid, tid int, name string) (string, error) {
	path := f.dir(pid, tid) + "/" + name
	if !linkAllowed(name) {
		return "", fmt.Errorf("read link %s: not a link that is safe to read", path)
	}
	return readlink(path)
}

// Namespace is the inode number of a namespace of a process: kind is "mnt",
// "pid", "net", ...
func (f *FS) Namespace(pid int, kind string) (uint32, error) {
	return f.ThreadNamespace(pid, 0, kind)
}

// ThreadNamespace is Namespace for a thread.
func (f *FS) ThreadNamespace(pid, tid int, kind string) (uint32, error) {
	text, err := f.ThreadReadlink(pid, tid, "ns/"+kind)
	if err != nil {
		return 0, err
	}
	inode, err := parseNamespace(text)
	if err != nil {
		return 0, fmt.Errorf("read link %s/ns/%s: %w", f.dir(pid, tid), kind, err)
	}
	return inode, nil
}

// parseNamespace reads "mnt:[4026531841]".
func parseNamespace(text string) (uint32, error) {
	_, rest, ok := strings.Cut(text, ":[")
	number, closed := strings.CutSuffix(rest, "]")
	if !ok || !closed {
		return 0, fmt.Errorf("namespace link %q: not KIND:[NUMBER]", text)
	}
	inode, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("namespace link %q: %w", text, err)
	}
	return uint32(inode), nil
}
