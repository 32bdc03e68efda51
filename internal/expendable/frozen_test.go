package expendable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/storage"
)

const inside = "HANGTRACE_TEST_PRIVATE_MOUNTS"

// TestFrozenMount runs the next test in a mount namespace of its own: nobody
// else may meet the frozen mount.
func TestFrozenMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs FUSE")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestFrozenMountInside$", "-test.v", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFrozenMountInside") {
		t.Errorf("inside: %v", err)
	}
}

func TestFrozenMountInside(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("runs under TestFrozenMount")
	}
	m := freeze(t)
	root := Request{Op: OpReaddir, Root: Raw(m.dir)}
	self := cmdline(os.Getpid())
	key := fmt.Sprintf("device 0:%d", os.Getpid())
	r := NewRunner(Options{Grace: 500 * time.Millisecond})

	answers, err := r.Do(t.Context(), key, []Request{self, root, self}, 2*time.Second)
	if !errors.Is(err, ErrDeadline) || answers[0].Err != "" || answers[1].Err == "" {
		t.Fatalf("%+v, %v", answers, err)
	}
	<-m.asked // the daemon has the request: nothing frees the child now
	left := r.Abandoned()
	if len(left) != 1 || left[0].Key != key || !strings.Contains(left[0].Doing, m.dir) || left[0].StartBootNS == 0 {
		t.Fatalf("abandoned %+v", left)
	}
	if s := left[0].Skipped(); !strings.Contains(s.What, m.dir) || !strings.Contains(s.Why, "cannot be killed") {
		t.Errorf("skipped %+v", s)
	}
	m.checkConnection(t)
	pid := left[0].PID
	fs := proc.New("/proc")
	if comm, err := fs.Comm(pid); comm != childName(key) {
		t.Errorf("the child is called %q, %v", comm, err)
	}
	for doing, other := range map[string]*Runner{left[0].Doing: r, "": NewRunner(Options{})} {
		_, err := other.Do(t.Context(), key, []Request{self}, long)
		var out *OutstandingError
		if !errors.As(err, &out) || out.PID != pid || out.Doing != doing {
			t.Errorf("asked again: %v, want child %d outstanding", err, pid)
		}
	}
	// A path onto the mount is resolved up to it, and the walk stays free.
	path := Request{Op: OpResolve, PID: os.Getpid(), Path: Raw(m.dir) + "/a/b", SafeMounts: m.before}
	answers, err = r.Do(t.Context(), key+" another", []Request{path}, long)
	want := Resolved{Path: Raw(m.dir) + "/a/b", Mount: Raw(m.dir)}
	if err != nil || answers[0].Resolved == nil || *answers[0].Resolved != want {
		t.Errorf("resolve: %+v, %v", answers, err)
	}

	m.thaw()
	for range 400 {
		if len(r.Abandoned()) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if left := r.Abandoned(); len(left) != 0 {
		t.Errorf("abandoned after the thaw: %+v", left)
	}
	if _, err := r.Do(t.Context(), key, []Request{self}, long); err != nil {
		t.Errorf("the same key after the thaw: %v", err)
	}
}

// frozen is a FUSE mount whose daemon reads requests and answers none.
type frozen struct {
	dir    string
	fd     int
	before []Raw // the mount points before it
	asked  chan struct{}
}

func freeze(t *testing.T) *frozen {
	m := &frozen{dir: t.TempDir(), before: append(otherMounts(t), "/proc"), asked: make(chan struct{})}
	var err error
	m.fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", m.fd)
	must(t, unix.Mount("frozen", m.dir, "fuse", 0, opts))
	t.Cleanup(m.thaw)
	go m.serve()
	return m
}

// checkConnection holds package storage against the kernel: the connection
// bears the number of the mount's device and counts the child's request.
func (m *frozen) checkConnection(t *testing.T) {
	sys := t.TempDir()
	control := filepath.Join(sys, "fs/fuse/connections")
	must(t, os.MkdirAll(control, 0o755))
	must(t, unix.Mount("fusectl", control, "fusectl", 0, ""))
	defer func() { must(t, unix.Unmount(control, 0)) }()
	text, err := proc.New("/proc").Mountinfo(os.Getpid())
	must(t, err)
	device := ""
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[4] == m.dir {
			device = fields[2]
		}
	}
	connections, degraded, err := storage.FuseConnections(sys)
	if err != nil || len(degraded) != 0 {
		t.Errorf("connections: %q, %v", degraded, err)
	}
	for _, c := range connections {
		if c.Device == device {
			if c.Waiting != 1 || c.MaxBackground < 1 {
				t.Errorf("connection %+v", c)
			}
			return
		}
	}
	t.Errorf("no connection %s among %+v", device, connections)
}

// thaw aborts the connection, as the end of this process would.
func (m *frozen) thaw() {
	_ = unix.Unmount(m.dir, unix.MNT_FORCE)
	_ = unix.Unmount(m.dir, unix.MNT_DETACH)
}

// serve answers FUSE_INIT (include/uapi/linux/fuse.h) and nothing more.
func (m *frozen) serve() {
	const opInit = 26
	buf := make([]byte, 1<<17)
	for asked := false; ; {
		n, err := unix.Read(m.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n < 40 {
			_ = unix.Close(m.fd)
			return
		}
		if binary.NativeEndian.Uint32(buf[4:]) != opInit {
			if !asked {
				close(m.asked)
				asked = true
			}
			continue
		}
		out := make([]byte, 16+64)
		binary.NativeEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:16], buf[8:16])                    // unique
		binary.NativeEndian.PutUint32(out[16:], 7)    // major
		binary.NativeEndian.PutUint32(out[20:], 31)   // minor
		binary.NativeEndian.PutUint32(out[36:], 4096) // max_write
		_, _ = unix.Write(m.fd, out)
	}
}
