package testkit

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// show logs what a process's threads are doing.
func show(t *testing.T, pid int) {
	t.Helper()
	threads, err := Threads(pid)
	if err != nil {
		t.Log(err)
	}
	for _, th := range threads {
		t.Logf("%d %s %s wchan=%s syscall=%d %v", th.TID, th.Comm, th.State, th.Wchan, th.Syscall, th.Stack)
	}
}

// inFrame tells whether one of a stack's frames is of that function.
func inFrame(th Thread, function string) bool {
	for _, frame := range th.Stack {
		if strings.HasPrefix(frame, function+"+") {
			return true
		}
	}
	return false
}

func TestVictimJamsItsOwnMmapLock(t *testing.T) {
	s, f := mountTest(t)
	v, err := s.StartVictim("jam", f.MountPoint)
	require.NoError(t, err)
	require.NoError(t, f.Freeze())
	lines, err := v.Hang(5)
	require.NoError(t, err)
	show(t, v.PID)
	want := map[string]string{"fault": "fuse_page_mkwrite", "mprotect": "do_mprotect_pkey", "fsync": "fuse_fsync"}
	for _, l := range lines {
		th, err := ReadThread(v.PID, l.TID)
		require.NoError(t, err)
		if want[l.Op] != "" {
			require.True(t, inFrame(th, want[l.Op]), "%s: %v", l.Op, th.Stack)
		}
	}

	// The jam itself: who reads the command line waits, but can be killed.
	probe := reader(t, s, fmt.Sprintf("/proc/%d/cmdline", v.PID))
	require.ErrorContains(t, probe.Wait(2*time.Second), "has not ended")
	require.NoError(t, probe.Kill())
	require.ErrorContains(t, probe.Wait(20*time.Second), "killed")

	require.NoError(t, f.Thaw())
	_, err = v.Await(victim.EventReturned, 5, 20*time.Second)
	require.NoError(t, err)
	after := reader(t, s, fmt.Sprintf("/proc/%d/cmdline", v.PID))
	require.NoError(t, after.Wait(20*time.Second))
}

func TestVictimBlocksInItsExit(t *testing.T) {
	s, f := mountTest(t)
	v, err := s.StartVictim("exit", f.MountPoint)
	require.NoError(t, err)
	require.NoError(t, f.Freeze("WRITE"))
	require.NoError(t, v.Say("go"))
	heldAtLeast(t, f, "WRITE", 1)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		threads, err := Threads(v.PID)
		require.NoError(t, err)
		if i := exiting(threads); i >= 0 {
			require.Equal(t, "D", threads[i].State)
			break
		}
		if time.Now().After(deadline) {
			show(t, v.PID)
			t.Fatal("no thread blocks in do_exit")
		}
	}
	require.NoError(t, f.Thaw())
	require.NoError(t, v.Wait(20*time.Second))
}

func exiting(threads []Thread) int {
	for i, th := range threads {
		if inFrame(th, "do_exit") {
			return i
		}
	}
	return -1
}

// mountBlock mounts a fuseblk volume, whose RELEASE and DESTROY are waited for.
func mountBlock(t *testing.T) (*Sandbox, *HangFS) {
	t.Helper()
	s := New(t)
	loop, err := s.LoopDevice(1 << 20)
	if err != nil {
		skip(t, "needs a loop device: "+err.Error())
	}
	f, err := s.MountHangFS(HangFSOptions{
		MountPoint: filepath.Join(s.Dir, "vol"), FSType: "fuseblk", Source: loop,
	})
	require.NoError(t, err)
	return s, f
}

// afterCall asserts that a thread blocks in task_work and not in the call.
func afterCall(t *testing.T, v *Victim, call string) {
	t.Helper()
	lines, err := v.Hang(1)
	require.NoError(t, err)
	th, err := ReadThread(v.PID, lines[0].TID)
	require.NoError(t, err)
	t.Log(th)
	require.True(t, inFrame(th, "task_work_run"), "%v", th.Stack)
	require.NotContains(t, strings.Join(th.Stack, " "), call)
}

func TestUmountBlocksAfterItsCall(t *testing.T) {
	s, f := mountBlock(t)
	v, err := s.StartVictim("umount", f.MountPoint)
	require.NoError(t, err)
	require.NoError(t, f.Stop())
	afterCall(t, v, "sys_umount")
}
