// Package storage tells of the storage side: block devices and FUSE connections,
// which it reads from sysfs (as whether the kernel is locked down), the kernel's log, and what ceph clients and NFS
// mounts say of their servers, which it only parses.
//
// In: the directory sysfs is mounted on, the log's device; the text of ceph's
// files in debugfs, of a ceph-fuse daemon's answers and of mountstats, which
// others have read. Out: facts, and a sentence for each thing that is missing.
// It opens only attributes that the kernel answers from memory without a lock
// that I/O may hold. It must never read an attribute that can hold a secret
// (rbd's config_info), never open a device, and never touch a mount.
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// attributeLimit is what sysfs gives at most: one page.
const attributeLimit = 64 << 10

// reader reads below one sysfs and keeps what failed.
type reader struct {
	root    string
	skipped []facts.Skipped
}

// attribute is the text of a file without blanks around it. ok is false when
// there is none; that it could not be read is noted.
func (r *reader) attribute(path ...string) (text string, ok bool) {
	name := filepath.Join(append([]string{r.root}, path...)...)
	data, err := readAttribute(name)
	if err != nil {
		r.note(name, err)
		return "", false
	}
	return strings.TrimSpace(data), true
}

func (r *reader) number(path ...string) (int, bool) {
	text, ok := r.attribute(path...)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.skip(filepath.Join(append([]string{r.root}, path...)...), fmt.Errorf("%q is no number", text))
		return 0, false
	}
	return n, true
}

// note remembers an error, unless it only says that there is no such thing or
// that it went away just now.
func (r *reader) note(name string, err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTDIR) {
		return
	}
	r.skip(name, err)
}

func (r *reader) skip(name string, err error) {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	r.skipped = append(r.skipped, facts.Skipped{What: name, Why: err.Error()})
}

// readAttribute uses plain system calls: os.ReadFile would stat first.
func readAttribute(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for len(text) <= attributeLimit {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case n == 0:
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
	return "", fmt.Errorf("longer than %d bytes", attributeLimit)
}

// Lockdown is the mode in which the kernel is locked down: "none", "integrity",
// "confidentiality", or "" where it does not show one.
func Lockdown(root string) string {
	text, err := readAttribute(filepath.Join(root, "kernel/security/lockdown"))
	if err != nil {
		return ""
	}
	_, text, _ = strings.Cut(text, "[")
	mode, _, _ := strings.Cut(text, "]")
	return mode
}

// names lists a directory without a stat of what is in it.
func names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
