package testkit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Sandbox starts and mounts things that hang, and ends all of them at Close.
type Sandbox struct {
	// Dir is a directory of its own on a tmpfs that only this mount namespace
	// sees.
	Dir string

	spawn       chan func()
	processes   []*Process
	filesystems []*HangFS
	devices     []*os.File
	covered     []string
	closed      bool
}

// ErrNotEnded is what Process.Wait reports of a process that still lives.
var ErrNotEnded = errors.New("process has not ended")

// errNotPrivate keeps frozen mounts away from the host's mount namespace.
var errNotPrivate = errors.New("not in a private mount namespace: call testkit.Main or testkit.Supervise first")

// New opens a sandbox for a test and closes it at the test's end. It skips
// the test without root.
func New(t testing.TB) *Sandbox {
	t.Helper()
	NeedRoot(t)
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Open opens a sandbox. It must be closed.
func Open() (*Sandbox, error) {
	base := os.Getenv(envPrivate)
	if base == "" {
		return nil, errNotPrivate
	}
	dir, err := os.MkdirTemp(base, "sandbox-")
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s := &Sandbox{Dir: dir, spawn: make(chan func())}
	go s.spawner()
	return s, nil
}

// spawner starts the processes from one thread that lives as long as the
// sandbox: a parent death signal comes when the forking thread ends, which
// for an ordinary Go thread may be any time.
func (s *Sandbox) spawner() {
	runtime.LockOSThread()
	for f := range s.spawn {
		f()
	}
}

// Process is a process of a sandbox. It dies with the sandbox's process.
type Process struct {
	PID    int
	Stdin  io.WriteCloser
	Stdout io.Reader
	cmd    *exec.Cmd
	done   chan struct{}
	err    error
}

// Start starts cmd. Its standard error goes to ours unless set; its standard
// input and output are pipes unless set.
func (s *Sandbox) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	theirs, err := p.pipes()
	if err != nil {
		return nil, err
	}
	failed := make(chan error)
	s.spawn <- func() { failed <- cmd.Start() }
	err = <-failed
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	p.PID = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return p, nil
}

// pipes are plain ones and not exec's own, whose Wait closes the reading end
// under the reader.
func (p *Process) pipes() (theirs []*os.File, err error) {
	if p.cmd.Stdin == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p.cmd.Stdin, p.Stdin, theirs = r, w, append(theirs, r)
	}
	if p.cmd.Stdout == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p.cmd.Stdout, p.Stdout, theirs = w, r, append(theirs, w)
	}
	return theirs, nil
}

// startHidden runs a hidden command of this program under the given name,
// which becomes its argv[0], its comm and its executable's file name.
func (s *Sandbox) startHidden(name, word string, args ...string) (*Process, error) {
	exe, err := s.copySelf(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, append([]string{word}, args...)...)
	cmd.Dir = "/"
	return s.Start(cmd)
}

// copySelf puts a copy of this program under another name into the sandbox.
func (s *Sandbox) copySelf(name string) (string, error) {
	exe := filepath.Join(s.Dir, "bin", name)
	if _, err := os.Lstat(exe); err == nil {
		return exe, nil
	}
	if err := os.MkdirAll(filepath.Dir(exe), 0o755); err != nil {
		return "", err
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(exe+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", err
	}
	if err := out.Close(); err != nil {
		return "", err
	}
	return exe, os.Rename(exe+".new", exe)
}

// Signal sends a signal, unless the process has ended.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill sends SIGKILL; a process that has ended is no error.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Wait waits at most d for the end.
func (p *Process) Wait(d time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(d):
		return fmt.Errorf("%w after %v: %d (%s)", ErrNotEnded, d, p.PID, filepath.Base(p.cmd.Path))
	}
}

// Close ends everything: first the victims are told, then the daemons die,
// which frees whatever is blocked on them. It reports what is left.
func (s *Sandbox) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, p := range s.processes {
		errs = append(errs, p.Kill())
	}
	for _, f := range s.filesystems {
		// Only after its daemon's death: until then, umount might ask it.
		errs = append(errs, f.end())
	}
	for _, p := range s.processes {
		if err := p.Wait(slowed(10 * time.Second)); errors.Is(err, ErrNotEnded) {
			errs = append(errs, err)
		}
		for _, end := range []any{p.Stdin, p.Stdout} {
			if c, ok := end.(io.Closer); ok && c != nil {
				c.Close()
			}
		}
	}
	for _, f := range s.filesystems {
		errs = append(errs, f.gone())
	}
	for _, dir := range slices.Backward(s.covered) {
		errs = append(errs, os.NewSyscallError("umount "+dir, unix.Unmount(dir, unix.MNT_DETACH)))
	}
	for _, d := range s.devices {
		errs = append(errs, d.Close())
	}
	close(s.spawn)
	errs = append(errs, os.RemoveAll(s.Dir))
	return errors.Join(errs...)
}

// end waits for the daemon's death and takes the mount away.
func (f *HangFS) end() error {
	select {
	case <-f.daemon.done:
	case <-time.After(slowed(10 * time.Second)):
		return fmt.Errorf("daemon %d does not die", f.daemon.PID)
	}
	for {
		err := f.Detach()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // no mount (any more)
		}
		if err != nil {
			return err
		}
	}
}
