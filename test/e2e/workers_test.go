package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// onVolume waits until look finds hangs on the volume, and returns them: what
// blocks here is no thread of the victim's own, so nobody tells its TID.
func onVolume(t *testing.T, fs *testkit.HangFS, look func() []*correlate.Hang) []*correlate.Hang {
	t.Helper()
	var got []*correlate.Hang
	for end := time.Now().Add(patience); len(got) == 0; {
		require.True(t, time.Now().Before(end), "nothing hangs on %s", fs.MountPoint)
		pastThreshold()
		for _, h := range look() {
			if h.Mount != nil && string(h.Mount.Point) == fs.MountPoint {
				got = append(got, h)
			}
		}
	}
	return got
}

// TestIOUringWorker opens a file through io_uring: no thread of the victim
// blocks and no system call is entered, a worker of the kernel's hangs for it.
func TestIOUringWorker(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("iouring", file(fs))
	l := watch(t, s.Sandbox, pid(v.PID), threshold, s.kubeletRoot())
	require.NoError(t, fs.Freeze())
	require.NoError(t, v.Say("go"))
	check := func(h *correlate.Hang) {
		t.Helper()
		require.Equal(t, correlate.ReasonIOWorker, h.Reason)
		require.Equal(t, v.PID, h.Task.PID)
		require.True(t, strings.HasPrefix(h.Task.Comm, "iou-wrk-"), h.Task.Comm)
		require.Nil(t, h.Syscall)
		checkVolume(t, h, fs.MountPoint, podUID, pvName)
	}
	for _, backend := range backends {
		got := onVolume(t, fs, func() []*correlate.Hang {
			return report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot()).Hangs
		})
		require.Len(t, got, 1, backend)
		check(got[0])
		if backend == "bpf" {
			require.NotNil(t, got[0].WaitingOn.Request, "%+v", got[0].WaitingOn)
		}
	}
	check(l.await(correlate.EventHangSeen, 0, 1)[0].Hang)
	require.NoError(t, fs.Thaw())
	ended := l.await(correlate.EventHangEnded, 0, 1)[0]
	require.Equal(t, correlate.ReasonIOWorker, ended.Reason)
	require.Len(t, of(l.stop(exitHung), correlate.EventHangSeen, 0), 1)
}

// TestKernelThread reads a loop device whose backing file is on the volume: the
// loop driver's worker, a kernel thread, is what hangs there.
func TestKernelThread(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	require.NoError(t, fs.Fill(1<<20, "image"))
	loop := attachLoop(t, filepath.Join(fs.MountPoint, "image"))
	dev, err := os.OpenFile(loop, os.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer dev.Close()
	require.NoError(t, fs.Freeze())
	t.Cleanup(func() { _ = fs.Thaw() })
	// Not this process: it has to survive the read.
	cmd := exec.Command("/proc/self/exe", wordRead, loop)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	reader, err := s.Start(cmd)
	require.NoError(t, err)
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	for _, backend := range backends {
		got := onVolume(t, fs, func() []*correlate.Hang {
			all := report(t, s.Sandbox, exitHung, "--pid=all", threshold, "--fs=all", "--deadline=20s", "--backend="+backend, s.kubeletRoot())
			return all.Hangs
		})
		for _, h := range got {
			require.Equal(t, correlate.ReasonKernelThread, h.Reason)
			require.True(t, h.Task.KernelThread)
			require.Equal(t, "ceph-fuse", string(h.Mount.Kind))
			require.Equal(t, pvName, string(h.Volume.PV))
			require.Equal(t, podUID, string(h.Volume.Pod.UID))
		}
		// Without "all" kernel threads are left out, the reader is not.
		rep := report(t, s.Sandbox, exitHung, pid(reader.PID), threshold, "--fs=all", "--backend="+backend)
		require.Len(t, rep.Hangs, 1)
		require.Equal(t, "block", string(rep.Hangs[0].Mount.Kind))
	}
}

// attachLoop makes a block device of a file.
func attachLoop(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", loop).Run() })
	return loop
}
