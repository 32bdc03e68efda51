package testkit

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

func TestEveryOperationBlocksWhereItSays(t *testing.T) {
	s, f := mountTest(t)
	v, err := s.StartVictim("ops", f.MountPoint)
	require.NoError(t, err)
	require.NoError(t, f.Freeze())
	lines, err := v.Hang(len(victim.OpNames()))
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, l := range lines {
		th, err := ReadThread(v.PID, l.TID)
		require.NoError(t, err)
		t.Logf("%-14s %s %-22s %d %s", l.Op, th.State, th.Wchan, th.Syscall, l.Path)
		require.Equal(t, "kubelet", th.Comm)
		require.Contains(t, l.Path, f.MountPoint+"/"+l.Op)
		require.False(t, seen[l.Op])
		seen[l.Op] = true
		if l.Op == "fault" {
			require.Equal(t, -1, th.Syscall)
		} else {
			require.GreaterOrEqual(t, th.Syscall, 0)
		}
	}
	require.NoError(t, f.Thaw())
	returned, err := v.Await(victim.EventReturned, len(lines), 30*time.Second)
	require.NoError(t, err)
	expected := map[string]unix.Errno{"getxattr": unix.ENODATA, "readlink": unix.EINVAL, "execve": unix.EACCES}
	for _, l := range returned {
		require.Equal(t, expected[l.Op], unix.Errno(l.Errno), l.Op)
	}
}

// TestOneOperationBlocksInItsOwnRequest freezes single operations: the calls
// get past the look-ups and wait for what they came for.
func TestOneOperationBlocksInItsOwnRequest(t *testing.T) {
	for op, request := range map[string]string{
		"unlink": "UNLINK", "rename": "RENAME", "read": "READ", "getdents": "READDIR",
		"fsync": "FSYNC", "mkdir": "MKDIR", "fault": "READ", "flock": "SETLKW", "write": "WRITE",
	} {
		t.Run(op, func(t *testing.T) {
			s, f := mountTest(t)
			v, err := s.StartVictim("ops", filepath.Join(f.MountPoint), op)
			require.NoError(t, err)
			require.NoError(t, f.Freeze(request, request+"PLUS"))
			_, err = v.Hang(1)
			require.NoError(t, err)
		})
	}
}

// TestIdleThreadsWait looks only for what must be there; that none of it is
// called a hang is for the tests of the tool.
func TestIdleThreadsWait(t *testing.T) {
	s := New(t)
	v, err := s.StartVictim("idle", s.Dir, "load")
	require.NoError(t, err)
	lines, err := v.Await(victim.EventBlocking, 16, 20*time.Second)
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	for _, l := range lines {
		th, err := ReadThread(v.PID, l.TID)
		require.NoError(t, err)
		t.Logf("%-10s %s %s %d", l.Op, th.State, th.Wchan, th.Syscall)
		require.Equal(t, "S", th.State, l.Op)
	}
	require.ErrorContains(t, v.Wait(100*time.Millisecond), "has not ended")
	_, err = v.Await(victim.EventReturned, 1, 100*time.Millisecond)
	require.Error(t, err)
}
