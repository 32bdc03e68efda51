package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// The hidden commands, as first argument.
const (
	wordDaemon  = "testkit-hangfs-daemon"
	wordVictim  = "testkit-victim"
	wordProbe   = "testkit-read"
	wordMeasure = "testkit-measure"
)

// envPrivate holds the private tmpfs once the program runs in its own mount
// namespace.
const envPrivate = "HANGTRACE_TESTKIT_PRIVATE"

// Main is the TestMain of a package that uses the testkit. As root it runs the
// tests in a private mount namespace; without, as they are.
func Main(m *testing.M) {
	RunHidden()
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(Supervise(m.Run))
}

// RunHidden runs the hidden command if this process was started for one, and
// then does not return.
func RunHidden() {
	if len(os.Args) < 2 {
		return
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case wordDaemon:
		err = runDaemon(strings.Join(args, " "), os.Stdin, os.Stdout)
	case wordVictim:
		err = victim.Run(args, os.Stdin, os.Stdout)
	case wordProbe:
		_, err = os.ReadFile(strings.Join(args, " "))
	case wordMeasure:
		err = runMeasure(args)
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Supervise runs main in a copy of this process in a private mount namespace
// and returns its exit code. When the copy ends, however it does, everything
// it started and left is killed. When this process ends, the copy dies, and
// its children with it.
func Supervise(main func() int) int {
	if os.Getenv(envPrivate) != "" {
		return main()
	}
	if base := os.Getenv(envEnter); base != "" {
		if err := enter(base); err != nil {
			fmt.Fprintln(os.Stderr, "testkit:", err)
			return 1
		}
		return main()
	}
	code, err := superviseCopy()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		return max(code, 1)
	}
	return code
}

// envEnter tells the copy which directory to cover with its private tmpfs.
const envEnter = "HANGTRACE_TESTKIT_ENTER"

// enter covers base with a tmpfs. The mount namespace is private already.
func enter(base string) error {
	if err := unix.Mount("hangtrace-testkit", base, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("private tmpfs on %s: %w", base, err)
	}
	return os.Setenv(envPrivate, base)
}

// coverable finds a directory that the copy may cover with its tmpfs. That way
// nothing at all is left on the host, even after SIGKILL.
func coverable() (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	needed := append(filepath.SplitList(os.Getenv("PATH")), cwd, exe, os.TempDir(), os.Getenv("HOME"))
	for _, dir := range []string{"/mnt", "/media", "/srv", "/home"} {
		inUse := false
		for _, path := range needed {
			inUse = inUse || strings.HasPrefix(filepath.Clean(path)+"/", dir+"/")
		}
		if st, err := os.Lstat(dir); err == nil && st.IsDir() && !inUse {
			return dir, nil
		}
	}
	return "", errors.New("no directory among /mnt, /media, /srv and /home to put a private tmpfs on")
}

func superviseCopy() (int, error) {
	base, err := coverable()
	if err != nil {
		return 1, err
	}
	// The parent death signal comes when the forking thread ends.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, os.NewSyscallError("prctl", err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envEnter+"="+base)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNS, // Go makes its mounts private too
		Pdeathsig:    syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() {
		for sig := range signals {
			cmd.Process.Signal(sig)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	code := cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return code, reap(slowed(10 * time.Second))
}

// reap kills whatever the copy left: as subreaper this process inherited it.
func reap(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		left, err := children()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes are left and do not die: %v", left)
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// children lists the processes whose parent this one is.
func children() ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // has ended
		}
		// The comm may hold anything, so look behind its last parenthesis.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 || string(fields[1]) != strconv.Itoa(os.Getpid()) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}
