package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// busy is what a machine with much else to do may add to a deadline.
const busy = 4 * time.Second

// silent listens and never answers.
func silent(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// sickNode is one where whoever is asked keeps silent: the container runtime at
// its usual place, the kubelet at its port, ceph-fuse at its admin socket, the
// daemon of a volume with every operation blocked, and a process that is
// jammed.
func sickNode(t *testing.T) (s *stage, targets []string) {
	t.Helper()
	s = newStage(t)
	require.NoError(t, s.Cover("/run"))
	require.NoError(t, os.Mkdir("/run/containerd", 0o700))
	silent(t, "unix", "/run/containerd/containerd.sock")
	_, port, err := net.SplitHostPort(silent(t, "tcp", "127.0.0.1:0").Addr().String())
	require.NoError(t, err)
	kubelet := s.victim("idle", s.Dir, "--read-only-port="+port)

	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: s.csiPoint(podUID, pvName), AdminSocket: filepath.Join(s.Dir, "client.asok")})
	require.NoError(t, err)
	require.NoError(t, fs.Fill(4096, "data/file"))
	jammed := s.csi(otherUID, "pv-jammed")
	v, jam := s.victim("ops", fs.MountPoint), s.victim("jam", jammed.MountPoint)
	s.hang(v, fs, len(victim.OpNames()))
	s.hang(jam, jammed, jamThreads)
	pastThreshold()
	return s, []string{pid(kubelet.PID), pid(v.PID), pid(jam.PID)}
}

// TestEveryCommandEndsInTime runs all commands on a sick node: each ends within
// its deadline and a second, and what kept silent is named.
func TestEveryCommandEndsInTime(t *testing.T) {
	s, targets := sickNode(t)
	root := s.kubeletRoot()
	with := func(args ...string) []string { return append(append(args, targets...), root, threshold) }
	for _, tt := range []struct {
		args     []string
		deadline time.Duration
		named    []string
	}{
		{with("report", "--deadline=6s"), 6 * time.Second,
			[]string{"container runtime at /run/containerd", "requests of ceph-fuse", "memory of pid", "/healthz/syncloop is not known"}},
		{with("report", "--deadline=6s", "--backend=proc"), 6 * time.Second, []string{"container runtime at /run/containerd", "requests of ceph-fuse", "memory of pid"}},
		{with("report", "--deadline=1s"), time.Second, nil},
		{[]string{"report", "--pid=all", "--deadline=6s", root}, 6 * time.Second, []string{"container runtime at /run/containerd"}},
		{with("live", "--duration=2s"), 2 * time.Second, nil},
		{with("live", "--duration=2s", "--mode=sample"), 2 * time.Second, nil},
		{[]string{"scan", "--deadline=6s", "--probe", "--min-age=0s", root}, 6 * time.Second, []string{"container runtime at /run/containerd"}},
		{[]string{"check", "--deadline=4s", root}, 4 * time.Second, nil},
		{append([]string{"stacks", "--deadline=5s"}, targets...), 5 * time.Second, nil},
		{append([]string{"strace", "-f", "--duration=2s", "-o", filepath.Join(s.Dir, "calls")}, targets...), 2 * time.Second, nil},
		{[]string{"doctor"}, 3 * 5 * time.Second, []string{"/run/containerd/containerd.sock"}}, // three groups of 5 s
		{[]string{"doctor", "--stats"}, 5 * time.Second, nil},
	} {
		t.Run(strings.Join(tt.args[:min(2, len(tt.args))], " "), func(t *testing.T) {
			r := start(t, s.Sandbox, tt.args...)
			code := r.end(t)
			require.NotContains(t, []int{exitUsage}, code, "%s", &r.stderr)
			require.Less(t, r.took, tt.deadline+time.Second+busy)
			text := strings.Join(strings.Fields(r.stdout.String()), " ")
			for _, want := range tt.named {
				require.Contains(t, text, want)
			}
		})
	}
}

// TestStoppedTerminal ends what writes to a terminal that takes nothing: live
// when its time is over, everything when it is told to.
func TestStoppedTerminal(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", fs.MountPoint)
	s.hang(v, fs, len(victim.OpNames()))
	pastThreshold()
	for _, tt := range []struct {
		args []string
		told bool
	}{
		{[]string{"live", "--duration=2s"}, false},
		{[]string{"live"}, true},
		{[]string{"report"}, true},
		{[]string{"strace", "-f"}, true},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			terminal := stoppedTerminal(t)
			cmd := exec.Command(binary(t), append(tt.args, pid(v.PID))...)
			cmd.Stdout, cmd.Stderr = terminal, terminal
			p, err := s.Start(cmd)
			require.NoError(t, err)
			if tt.told {
				time.Sleep(3 * time.Second)
				require.ErrorIs(t, p.Wait(0), testkit.ErrNotEnded, "it did not wait for the terminal")
				require.NoError(t, p.Signal(unix.SIGTERM))
			}
			require.False(t, errors.Is(p.Wait(2*time.Second+time.Second+2*busy), testkit.ErrNotEnded), "it does not end")
		})
	}
}

// stoppedTerminal gives a terminal whose user has stopped its output (^S).
func stoppedTerminal(t *testing.T) *os.File {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { control.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { terminal.Close() })
	const tcOff = 0 // TCOOFF
	require.NoError(t, unix.IoctlSetInt(int(terminal.Fd()), unix.TCXONC, tcOff))
	return terminal
}

// TestChildrenAreNotDoubled probes a mount whose daemon has the question and
// never answers: nothing ends that child. It is named, and later runs ask nobody
// anew. On a busy machine a child may be ended before it has asked.
func TestChildrenAreNotDoubled(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	require.NoError(t, fs.Freeze())
	scan := func() string {
		r := start(t, s.Sandbox, "scan", "--probe", "--min-age=0s", "--deadline=8s", s.kubeletRoot())
		r.end(t)
		return strings.Join(strings.Fields(r.stdout.String()), " ")
	}
	var text string
	for i := 0; len(orphans()) == 0; i++ {
		require.Less(t, i, 10, "no child was left behind: %s", text)
		text = scan()
	}
	left := orphans()
	require.Len(t, left, 1)
	child, _, _ := strings.Cut(left[0], " ")
	require.Contains(t, text, "child "+child)
	// A child whose first thread is a zombie holds the mount by a blocked thread
	// alone, which counts after a second.
	time.Sleep(time.Second)
	for range 2 {
		text = scan()
		require.Equal(t, left, orphans())
		// As what holds the mount, or as whom to ask instead.
		require.Regexp(t, `child `+child+`\b|ht-[0-9a-f]+\[`+child+`\]`, text)
	}
	require.NoError(t, fs.Thaw())
	nothingLeft(t)
}
