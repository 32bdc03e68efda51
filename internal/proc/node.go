package proc

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// initialPIDNS is the inode number of the first PID namespace
// (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initialPIDNS = 0xEFFFFFFC

// kallsymsLimit is far above the symbols of any kernel with all its modules.
const kallsymsLimit = 256 << 20

// Node describes the machine. What cannot be read stays empty.
func (f *FS) Node() facts.Node {
	node := facts.Node{Arch: runtime.GOARCH, PageSize: os.Getpagesize()}
	node.Hostname, _ = f.Sysctl("kernel/hostname")
	node.Kernel, _ = f.Sysctl("kernel/osrelease")
	node.BootID, _ = f.Sysctl("kernel/random/boot_id")
	if text, err := readFile(f.root+"/uptime", textLimit); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		if seconds, err := strconv.ParseFloat(first, 64); err == nil {
			node.UptimeS = int64(seconds)
		}
	}
	return node
}

// Clock reads the clocks together. The scheduler's clock is left for whoever
// can see it.
func (f *FS) Clock() (facts.Clock, time.Time) {
	wall := time.Now()
	return facts.Clock{
		MonoNS: clockNS(unix.CLOCK_MONOTONIC),
		BootNS: clockNS(unix.CLOCK_BOOTTIME),
	}, wall
}

func clockNS(clock int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// InitialPIDNamespace tells whether this process sees every process of the
// machine. In a container that is so with hostPID only.
func (f *FS) InitialPIDNamespace() (bool, error) {
	path := f.root + "/self/ns/pid"
	text, err := readlink(path)
	if err != nil {
		return false, err
	}
	inode, err := parseNamespace(text)
	if err != nil {
		return false, fmt.Errorf("read link %s: %w", path, err)
	}
	return inode == initialPIDNS, nil
}

var sysctlName = regexp.MustCompile(`^(kernel|fs|vm|dev)(/[a-z0-9_]+)+$`)

// Sysctl is a kernel setting, its name with slashes: "kernel/kptr_restrict".
func (f *FS) Sysctl(name string) (string, error) {
	path := f.root + "/sys/" + name
	if !sysctlName.MatchString(name) {
		return "", fmt.Errorf("read %s: not the name of a setting", path)
	}
	text, err := readFile(path, textLimit)
	return strings.TrimSpace(string(text)), err
}

// Version is the text of /proc/version.
func (f *FS) Version() (string, error) {
	text, err := readFile(f.root+"/version", textLimit)
	return strings.TrimSpace(string(text)), err
}

// Modules is the text of /proc/modules: one loaded module a line.
func (f *FS) Modules() (string, error) {
	text, err := readFile(f.root+"/modules", tableLimit)
	return string(text), err
}

// Filesystems is the text of /proc/filesystems.
func (f *FS) Filesystems() (string, error) {
	text, err := readFile(f.root+"/filesystems", textLimit)
	return string(text), err
}

// Kallsyms opens the kernel's symbol table; the caller closes it. Its
// addresses are zero where these rights do not show them.
func (f *FS) Kallsyms() (io.ReadCloser, error) {
	path := f.root + "/kallsyms"
	fd, err := open(unix.AT_FDCWD, path, 0)
	if err != nil {
		return nil, failed("open", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, kallsymsLimit), file}, nil
}
