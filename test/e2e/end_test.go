package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// TestKillLeavesNothing kills live while it watches a hang: no program, no link
// and no child may outlive it.
func TestKillLeavesNothing(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("jam", fs.MountPoint)
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	s.hang(v, fs, jamThreads)
	l.await(correlate.EventHangSeen, 0, 4)
	held := bpfObjects(t, l.PID)
	require.NotEmpty(t, held)
	for _, object := range held {
		require.True(t, exists(t, object), object)
	}
	require.NoError(t, l.Kill())
	require.Error(t, l.Wait(patience))
	for _, object := range held {
		object := object
		require.Eventually(t, func() bool { return !exists(t, object) }, patience, 20*time.Millisecond, object)
	}
	nothingLeftOf(t, v.PID) // while the volume is frozen still
}

// nothingLeftOf waits until no child of a tool that was killed lives, though
// what it asked about is jammed still.
func nothingLeftOf(t *testing.T, _ int) {
	t.Helper()
	nothingLeft(t)
}

// exists asks the kernel for a BPF object by its ID.
func exists(t *testing.T, object string) bool {
	t.Helper()
	kind, number, _ := strings.Cut(object, " ")
	id, err := strconv.ParseUint(number, 10, 32)
	require.NoError(t, err)
	commands := map[string]uintptr{"prog_id": unix.BPF_PROG_GET_FD_BY_ID, "link_id": unix.BPF_LINK_GET_FD_BY_ID}
	attr := struct{ id, next, flags, _ uint32 }{id: uint32(id)}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, commands[kind], uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno == unix.ENOENT {
		return false
	}
	require.Zero(t, errno, object)
	require.NoError(t, unix.Close(int(fd)))
	return true
}

// TestInterruptPrintsTheSummary ends live as a user does, with a hang and
// without.
func TestInterruptPrintsTheSummary(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint, "stat")
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		l := watch(t, s.Sandbox, pid(v.PID), threshold)
		require.NoError(t, l.Signal(sig))
		require.Equal(t, exitOK, l.end(t), "%s", &l.stderr)
		require.Contains(t, l.stdout.String(), `"event":"summary"`)
	}
	text := watch(t, s.Sandbox, pid(v.PID), threshold, "-o", "text")
	s.hang(v, fs, 1)
	text.until("the hang", func() bool { return strings.Contains(text.stdout.String(), fs.MountPoint) })
	require.NoError(t, text.Signal(os.Interrupt))
	require.Equal(t, exitHung, text.end(t))
	require.Contains(t, text.stdout.String(), "1 hang seen, 1 thread hangs still")
	require.Empty(t, text.stderr.String())
}

// TestDurationEndsLive ends it by itself.
func TestDurationEndsLive(t *testing.T) {
	s := newStage(t)
	v := s.victim("idle", s.Dir)
	r := tool(t, s.Sandbox, exitOK, pid(v.PID), "--duration=1s", "-o", "ndjson")
	list := decode(t, r.stdout.String())
	require.Equal(t, correlate.EventSummary, list[len(list)-1].Kind)
	require.GreaterOrEqual(t, r.took, time.Second)
}

// TestClosedPipeEndsQuietly is "| head -1": neither a hang nor a panic.
func TestClosedPipeEndsQuietly(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint)
	s.hang(v, fs, 1)
	pastThreshold()
	for _, args := range [][]string{
		{"report", pid(v.PID), threshold},
		{"report", "-o", "json", pid(v.PID), threshold},
		{"live", "-o", "ndjson", pid(v.PID), threshold},
	} {
		r := &run{cmd: exec.Command(binary(t), args...)}
		in, out, err := os.Pipe()
		require.NoError(t, err)
		r.cmd.Stdout, r.cmd.Stderr = out, &r.stderr
		require.NoError(t, in.Close())
		r.Process, err = s.Start(r.cmd)
		require.NoError(t, err)
		require.NoError(t, out.Close())
		err = r.Wait(patience)
		require.NotContains(t, r.stderr.String(), "panic")
		require.NotContains(t, r.stderr.String(), "goroutine")
		if err != nil {
			require.Contains(t, []int{-1, exitOK, exitHung}, r.cmd.ProcessState.ExitCode(), "%v %s", err, &r.stderr)
		}
		require.True(t, r.cmd.ProcessState != nil, "%v has not ended", args)
	}
}
