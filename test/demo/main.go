// Command demo shows hangtrace finding a hang, as root, on any machine: it puts
// up a kubelet-like tree with two volumes that look like ceph-fuse in a private
// mount namespace, a victim called kubelet, freezes the volumes and runs the
// tool. It leaves nothing behind, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

func main() {
	testkit.RunHidden()
	bin := flag.String("bin", "bin/hangtrace", "the hangtrace binary to show")
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo: mounting a file system needs root (try: sudo make demo)")
		os.Exit(1)
	}
	path, err := filepath.Abs(*bin)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: no tool to show: %v (try: make build)\n", err)
		os.Exit(1)
	}
	os.Exit(testkit.Supervise(func() int {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			<-signals
			cancel()
		}()
		if err := run(ctx, path, os.Stdout); errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "demo: interrupted, everything is cleaned up")
			return 130
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			return 1
		}
		return 0
	}))
}

// The pods of the demo: one deleted, whose volume was left behind, and one that
// runs.
const (
	deletedPod = "3e5c5b0c-7a57-4f6e-9f0e-5c2d8a1b9d42"
	runningPod = "9b1d7f7e-1c0a-4c39-8d3f-27c6a1f0e3aa"
)

// stage is what the demo puts up.
type stage struct {
	*testkit.Sandbox
	tree           *testkit.KubeletTree
	orphan, volume *testkit.HangFS
	kubelet        *testkit.Victim
	bin            string
	out            io.Writer
}

func run(ctx context.Context, bin string, out io.Writer) (err error) {
	sandbox, err := testkit.Open()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, sandbox.Close())
		if ctx.Err() != nil {
			err = context.Canceled
		}
	}()
	s := &stage{Sandbox: sandbox, bin: bin, out: out}
	if err := s.putUp(); err != nil {
		return err
	}
	if err := s.report(ctx); err != nil {
		return err
	}
	if err := s.live(ctx); err != nil {
		return err
	}
	s.say("The volumes answer again; the demo takes everything down.")
	return errors.Join(s.orphan.Thaw(), s.volume.Thaw())
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "\n# "+format+"\n", args...)
}

// putUp makes the tree, mounts the volumes and starts the victim.
func (s *stage) putUp() error {
	var err error
	if s.tree, err = testkit.NewKubeletTree(s.Dir); err != nil {
		return err
	}
	// The tool finds pod names in /var/log/pods, here as on a node.
	if err := s.Cover("/var/log"); err != nil {
		return err
	}
	s.tree.Logs = "/var/log/pods"
	s.orphan, err = s.mount(deletedPod, "", "", "pvc-orders")
	if err != nil {
		return err
	}
	s.volume, err = s.mount(runningPod, "shop", "catalog-0", "pvc-catalog")
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	s.kubelet, err = s.StartVictim("kubelet", "--root-dir", s.tree.Root, "--pod", runningPod, "--read-only-port", port)
	return err
}

// freePort gives one for the kubelet's healthz: the usual may be taken.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// mount makes a pod with one CSI volume.
func (s *stage) mount(uid, namespace, name, pv string) (*testkit.HangFS, error) {
	if _, err := s.tree.Pod(uid, namespace, name); err != nil {
		return nil, err
	}
	point, err := s.tree.CSIMount(uid, testkit.CSIVolume{
		PV: pv, Driver: "cephfs.csi.ceph.com", Handle: "0001-0009-rook-ceph-0000000000000001-" + pv, Node: "demo",
	})
	if err != nil {
		return nil, err
	}
	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point})
	if err != nil {
		return nil, err
	}
	return fs, fs.Fill(4096, "data/file")
}

// report freezes the deleted pod's volume and looks at it afterwards.
func (s *stage) report(ctx context.Context) error {
	s.say("A kubelet (PID %d) cleans up after a deleted pod; its volume stops answering now:\n#   %s",
		s.kubelet.PID, s.orphan.MountPoint)
	if err := s.orphan.Freeze(); err != nil {
		return err
	}
	if err := held(ctx, s.orphan); err != nil {
		return err
	}
	// Long enough to be beyond the default threshold of one second.
	if err := sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	s.say("Who came too late to see it begin asks for a report:")
	return s.tool(ctx, "report", "--pid", s.target(), "--kubelet-root", s.tree.Root)
}

// live lets the tool watch while a second volume hangs for a while.
func (s *stage) live(ctx context.Context) error {
	s.say("Live, the tool also sees a second volume hang one second from now, and come back:\n#   %s",
		s.volume.MountPoint)
	second := make(chan error, 1)
	go func() {
		second <- func() error {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			if err := s.volume.Freeze(); err != nil {
				return err
			}
			if err := sleep(ctx, 2500*time.Millisecond); err != nil {
				return err
			}
			return s.volume.Thaw()
		}()
	}()
	err := s.tool(ctx, "--pid", s.target(), "--kubelet-root", s.tree.Root, "--duration", "5s")
	return errors.Join(err, <-second)
}

// target is how the tool is told of the victim: by name where it is the only
// one of that name.
func (s *stage) target() string {
	comms, _ := filepath.Glob("/proc/[0-9]*/comm")
	kubelets := 0
	for _, name := range comms {
		if comm, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(comm)) == testkit.VictimName {
			kubelets++
		}
	}
	if kubelets == 1 {
		return testkit.VictimName
	}
	return strconv.Itoa(s.kubelet.PID)
}

// tool shows and runs one command of the tool. Exit code 3 says that a hang
// was found, which is the point.
func (s *stage) tool(ctx context.Context, args ...string) error {
	fmt.Fprintf(s.out, "\n$ hangtrace %s\n", strings.Join(args, " "))
	cmd := exec.Command(s.bin, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, s.out, os.Stderr
	p, err := s.Start(cmd)
	if err != nil {
		return err
	}
	err = s.wait(ctx, p)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		fmt.Fprintln(s.out, "# exit code 3: something hangs")
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s found no hang", filepath.Base(s.bin))
	}
	return err
}

// wait ends when the tool does, or leaves it to the sandbox when the demo is
// interrupted.
func (s *stage) wait(ctx context.Context, p *testkit.Process) error {
	for {
		err := p.Wait(100 * time.Millisecond)
		if !errors.Is(err, testkit.ErrNotEnded) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// held waits until the volume's daemon holds a call.
func held(ctx context.Context, fs *testkit.HangFS) error {
	for range 100 {
		calls, err := fs.Held()
		if err != nil || len(calls) > 0 {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("nothing has come to hang on the frozen volume in 10 s")
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
