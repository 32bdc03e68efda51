package testkit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mountTest mounts a volume with one data file.
func mountTest(t *testing.T) (*Sandbox, *HangFS) {
	t.Helper()
	s := New(t)
	f, err := s.MountHangFS(HangFSOptions{MountPoint: filepath.Join(s.Dir, "vol")})
	require.NoError(t, err)
	require.NoError(t, f.Fill(1<<20, "data", "dir/file"))
	return s, f
}

// reader starts a process that reads the file: blocked on a frozen mount, a
// goroutine would pin the test.
func reader(t *testing.T, s *Sandbox, path string) *Process {
	t.Helper()
	p, err := s.startHidden("reader", wordProbe, path)
	require.NoError(t, err)
	return p
}

// heldAtLeast waits until the daemon holds a request of that operation.
func heldAtLeast(t *testing.T, f *HangFS, op string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		held, err := f.Held()
		require.NoError(t, err)
		if held[op] >= n {
			return
		}
		require.False(t, time.Now().After(deadline), "held: %v, want %d %s", held, n, op)
	}
}

func TestHangFSLooksLikeCephFuse(t *testing.T) {
	_, f := mountTest(t)
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Contains(t, string(text), f.MountPoint+" rw,nosuid,nodev,relatime - fuse.ceph-fuse ceph-fuse rw,user_id=0,group_id=0")
	require.NotZero(t, f.Minor)
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(f.Daemon()), "comm"))
	require.NoError(t, err)
	require.Equal(t, "ceph-fuse\n", string(comm))
	data, err := os.ReadFile(filepath.Join(f.MountPoint, "dir/file"))
	require.NoError(t, err)
	require.Len(t, data, 1<<20)
}

func TestFreezeAndThaw(t *testing.T) {
	s, f := mountTest(t)
	require.NoError(t, f.Freeze())
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	heldAtLeast(t, f, "LOOKUP", 1)
	require.Error(t, p.Wait(100*time.Millisecond))
	require.NoError(t, f.Thaw())
	require.NoError(t, p.Wait(20*time.Second))
}

func TestFreezeOneOperation(t *testing.T) {
	s, f := mountTest(t)
	require.NoError(t, f.Freeze("READ"))
	_, err := os.Stat(filepath.Join(f.MountPoint, "data"))
	require.NoError(t, err)
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	heldAtLeast(t, f, "READ", 1)
	require.NoError(t, f.Thaw())
	require.NoError(t, p.Wait(20*time.Second))
}

func TestKillAndAbortFree(t *testing.T) {
	for name, end := range map[string]func(*HangFS) error{
		"kill": (*HangFS).Kill, "abort": (*HangFS).Abort,
	} {
		t.Run(name, func(t *testing.T) {
			s, f := mountTest(t)
			require.NoError(t, f.Freeze())
			p := reader(t, s, filepath.Join(f.MountPoint, "data"))
			heldAtLeast(t, f, "LOOKUP", 1)
			require.NoError(t, end(f))
			require.ErrorContains(t, p.Wait(20*time.Second), "exit status 1")
		})
	}
}

func TestStoppedDaemonLeavesCallersKillable(t *testing.T) {
	s, f := mountTest(t)
	require.NoError(t, f.Stop())
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	require.Error(t, p.Wait(300*time.Millisecond))
	require.NoError(t, p.Kill())
	require.ErrorContains(t, p.Wait(20*time.Second), "killed")
	require.NoError(t, f.Cont())
	_, err := os.Stat(filepath.Join(f.MountPoint, "data"))
	require.NoError(t, err)
}

func TestDetachedMountKeepsItsCallers(t *testing.T) {
	s, f := mountTest(t)
	require.NoError(t, f.Freeze())
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	heldAtLeast(t, f, "LOOKUP", 1)
	require.NoError(t, f.Detach())
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(text), f.MountPoint)
	require.Error(t, p.Wait(100*time.Millisecond))
	require.NoError(t, f.Thaw())
	require.NoError(t, p.Wait(20*time.Second))
}

// TestCloseFreesAndForgets closes a sandbox with a frozen mount and a caller
// that SIGKILL alone does not end.
func TestCloseFreesAndForgets(t *testing.T) {
	NeedRoot(t)
	s, err := Open()
	require.NoError(t, err)
	f, err := s.MountHangFS(HangFSOptions{MountPoint: filepath.Join(s.Dir, "vol")})
	require.NoError(t, err)
	require.NoError(t, f.Freeze())
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	heldAtLeast(t, f, "LOOKUP", 1)
	require.NoError(t, p.Kill())
	require.Error(t, p.Wait(200*time.Millisecond))
	require.NoError(t, s.Close())

	require.ErrorIs(t, syscall.Kill(p.PID, 0), syscall.ESRCH)
	require.ErrorIs(t, syscall.Kill(f.Daemon(), 0), syscall.ESRCH)
	_, err = os.Lstat(s.Dir)
	require.True(t, errors.Is(err, fs.ErrNotExist))
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.False(t, strings.Contains(string(text), "ceph-fuse"))
}
