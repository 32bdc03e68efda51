package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HangFSOptions say what the file system looks like. All fields but MountPoint
// are optional.
type HangFSOptions struct {
	// MountPoint is made if it does not exist.
	MountPoint string
	// FSType is "fuse.ceph-fuse" unless set; any "fuse.X", or "fuseblk" with a
	// block device as Source.
	FSType string
	// Source is "ceph-fuse" unless set.
	Source string
	// EntryTimeout and AttrTimeout are how long the kernel may answer by
	// itself. Zero: every stat and every path component asks the daemon, so
	// that with everything frozen a path call blocks in LOOKUP.
	EntryTimeout, AttrTimeout time.Duration
	// AdminSocket is where the daemon listens as ceph-fuse does (a name that
	// ends in ".asok"), and never answers.
	AdminSocket string
}

// HangFS is a FUSE file system whose daemon can be frozen. What it holds lies
// in a plain directory, Backing, which stays usable while it is frozen.
type HangFS struct {
	MountPoint string
	Backing    string
	// Major and Minor are the device number: 0:Minor, where Minor is also the
	// FUSE connection's number, or that of fuseblk's block device.
	Major, Minor uint32
	// MountID is the mount's ID in mountinfo.
	MountID int

	daemon     *Process
	connection uint64 // inode of its directory in fusectl
	in         io.WriteCloser
	replies    *json.Decoder
}

// MountHangFS starts a daemon and mounts it.
func (s *Sandbox) MountHangFS(opts HangFSOptions) (*HangFS, error) {
	f, err := s.mountHangFS(opts)
	if err != nil {
		return nil, fmt.Errorf("hanging file system: %w", err)
	}
	return f, nil
}

func (s *Sandbox) mountHangFS(opts HangFSOptions) (*HangFS, error) {
	if opts.FSType == "" {
		opts.FSType = "fuse.ceph-fuse"
	}
	if opts.Source == "" {
		opts.Source = "ceph-fuse"
	}
	backing, err := os.MkdirTemp(s.Dir, "backing-")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.MountPoint, 0o755); err != nil {
		return nil, err
	}
	config, err := json.Marshal(daemonConfig{
		MountPoint: opts.MountPoint, Backing: backing,
		FSType: opts.FSType, Source: opts.Source,
		EntryTimeout: opts.EntryTimeout, AttrTimeout: opts.AttrTimeout, AdminSocket: opts.AdminSocket,
	})
	if err != nil {
		return nil, err
	}
	f := &HangFS{MountPoint: opts.MountPoint, Backing: backing}
	daemon, err := s.startHidden("ceph-fuse", wordDaemon, string(config))
	if err != nil {
		return nil, err
	}
	f.daemon, f.in, f.replies = daemon, daemon.Stdin, json.NewDecoder(daemon.Stdout)
	s.filesystems = append(s.filesystems, f)
	var ready daemonReply
	if err := f.replies.Decode(&ready); err != nil {
		return nil, fmt.Errorf("daemon's first word: %w", err)
	}
	if err := f.readIdentity(); err != nil {
		return nil, err
	}
	return f, f.remember()
}

// readIdentity takes the device number from mountinfo, which asks no daemon.
func (f *HangFS) readIdentity() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var id, parent int
		var major, minor uint32
		var root, point string
		_, err := fmt.Sscanf(line, "%d %d %d:%d %s %s", &id, &parent, &major, &minor, &root, &point)
		if err == nil && point == f.MountPoint {
			f.MountID, f.Major, f.Minor = id, major, minor
		}
	}
	if f.MountID == 0 {
		return fmt.Errorf("no mount at %s in mountinfo", f.MountPoint)
	}
	return nil
}

// Daemon is the daemon's process ID.
func (f *HangFS) Daemon() int { return f.daemon.PID }

// Freeze makes the daemon hold every request that comes from now on, or only
// those of the named FUSE operations ("READ", "GETATTR", "LOOKUP", ...: the
// names of the operations in upper case). It replaces an earlier Freeze.
// Requests count as read by the daemon: SIGKILL does not end their callers.
func (f *HangFS) Freeze(ops ...string) error {
	_, err := f.command(daemonRequest{Command: "freeze", Ops: ops})
	return err
}

// Thaw lets everything go that Freeze holds.
func (f *HangFS) Thaw() error {
	_, err := f.command(daemonRequest{Command: "thaw"})
	return err
}

// Held counts the requests the daemon holds, by FUSE operation.
func (f *HangFS) Held() (map[string]int, error) {
	reply, err := f.command(daemonRequest{Command: "held"})
	return reply.Held, err
}

func (f *HangFS) command(req daemonRequest) (daemonReply, error) {
	var reply daemonReply
	if err := json.NewEncoder(f.in).Encode(req); err != nil {
		return reply, fmt.Errorf("%s: %w", req.Command, err)
	}
	if err := f.replies.Decode(&reply); err != nil {
		return reply, fmt.Errorf("%s: %w", req.Command, err)
	}
	if reply.Err != "" {
		return reply, fmt.Errorf("%s: %s", req.Command, reply.Err)
	}
	return reply, nil
}

// Stop stops the daemon's process (SIGSTOP): requests stay unread in the
// kernel's queue, and their callers can be killed. Cont lets it run again. Until
// the last of its threads stands still it may answer, so that is waited for.
func (f *HangFS) Stop() error {
	if err := f.daemon.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(slowed(30 * time.Second)); ; time.Sleep(time.Millisecond) {
		list, err := Threads(f.daemon.PID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(th Thread) bool { return th.State != "T" }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("daemon %d does not stop", f.daemon.PID)
		}
	}
}

// Cont lets a stopped daemon run again.
func (f *HangFS) Cont() error { return f.daemon.Signal(syscall.SIGCONT) }

// Abort ends the connection through fusectl: blocked calls get ECONNABORTED,
// new ones ENOTCONN.
func (f *HangFS) Abort() error {
	dir, err := f.ConnectionDir()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "abort"), []byte("1"), 0)
}

// ConnectionDir is the connection's directory in fusectl, which is mounted in
// the sandbox when it is not yet.
func (f *HangFS) ConnectionDir() (string, error) {
	const control = "/sys/fs/fuse/connections"
	var st unix.Statfs_t
	if err := unix.Statfs(control, &st); err != nil {
		return "", os.NewSyscallError("statfs "+control, err)
	}
	if st.Type != unix.FUSE_SUPER_MAGIC && st.Type != fusectlMagic {
		if err := unix.Mount("fusectl", control, "fusectl", 0, ""); err != nil {
			return "", os.NewSyscallError("mount "+control, err)
		}
	}
	return fmt.Sprintf("%s/%d", control, f.connectionNumber()), nil
}

// connectionNumber is the kernel's own dev_t of the superblock.
func (f *HangFS) connectionNumber() uint32 { return f.Major<<20 | f.Minor }

// fusectlMagic is FUSE_CTL_SUPER_MAGIC of fs/fuse/control.c.
const fusectlMagic = 0x65735543

// Kill kills the daemon: everything blocked on it gets ECONNABORTED.
func (f *HangFS) Kill() error { return f.daemon.Kill() }

// Detach unmounts lazily, as `umount -l` does: the mount leaves every mount
// table while the calls blocked on it stay blocked.
func (f *HangFS) Detach() error {
	return os.NewSyscallError("umount "+f.MountPoint, unix.Unmount(f.MountPoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
}

// Fill writes files into the volume, below the mount: data of the given size
// each, in directories that are made. It goes round the mount, so that the
// kernel has nothing of it cached.
func (f *HangFS) Fill(size int, names ...string) error {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	for _, name := range names {
		file := filepath.Join(f.Backing, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func fuseSubtype(fstype string) (string, bool) { return strings.CutPrefix(fstype, "fuse.") }
