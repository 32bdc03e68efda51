package ceph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A lab is one cluster and one guest.
type lab struct {
	t   *testing.T
	run string // state folder, HANGTRACE_CEPH_RUN
}

// output is what a script wrote, and its exit status.
type output struct {
	stdout, stderr string
	code           int
}

// exitGuestFailed is the status of the scripts when the lab itself failed.
const exitGuestFailed = 125

// needLab leaves a test out where the lab is not wanted or cannot be made.
func needLab(t *testing.T, commands ...string) {
	t.Helper()
	if os.Getenv("HANGTRACE_TEST_CEPH") != "1" {
		t.Skip("left out: needs a Ceph cluster and a guest (try: make test-ceph)")
	}
	need(t, os.Geteuid() == 0, "root")
	for _, c := range append([]string{"ceph", "ceph-mon", "ceph-osd", "ceph-mds", "ceph-mgr", "rbd", "jq", "ip", "mkfs.ext4",
		"qemu-system-x86_64", "cpio", "busybox"}, commands...) {
		_, err := exec.LookPath(c)
		need(t, err == nil, "command "+c+" (try: test/vm/install.sh vm ceph)")
	}
}

// newLab brings everything up, and down again at the end of the test.
func newLab(t *testing.T) *lab {
	l := &lab{t: t, run: os.Getenv("HANGTRACE_CEPH_RUN")}
	if l.run == "" {
		l.run = filepath.Join(cacheDir(t), "ceph", "test")
	}
	if err := os.MkdirAll(l.run, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("HANGTRACE_CEPH_LOCKED") == "" {
		l.lock()
	}
	l.down() // what a killed run left
	t.Cleanup(func() {
		if t.Failed() {
			l.explain()
		}
		if os.Getenv("HANGTRACE_CEPH_KEEP") != "1" { // to look at it by hand
			l.down()
		}
	})
	l.together(
		func() error { return l.retry("cephlab.sh", patience(120*time.Second)) },
		func() error { return l.retry("vm.sh", patience(240*time.Second)) },
	)
	// A second attempt at the cluster makes its network anew, without the guest.
	if l.script(30*time.Second, "true", "vm.sh", "sh").code != 0 {
		l.script(30*time.Second, "", "vm.sh", "down")
		l.together(func() error { return l.retry("vm.sh", patience(240*time.Second)) })
	}
	return l
}

func cacheDir(t *testing.T) string {
	if d := os.Getenv("HANGTRACE_CACHE"); d != "" {
		return d
	}
	d, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(d, "hangtrace")
}

// lock waits for another run with the same state to end. The kernel frees the
// lock with this process, however it ends.
func (l *lab) lock() {
	f, err := os.OpenFile(l.run+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { f.Close() })
	for range 600 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	l.t.Fatalf("another run holds %s: %v", f.Name(), err)
}

// together runs the steps at the same time and fails the test with their errors.
func (l *lab) together(steps ...func() error) {
	l.t.Helper()
	errs := make(chan error)
	for _, s := range steps {
		go func() { errs <- s() }()
	}
	var all error
	for range steps {
		all = errors.Join(all, <-errs)
	}
	if all != nil {
		l.t.Fatal(all)
	}
}

// retry brings a half of the lab up; a loaded machine may need a second attempt.
func (l *lab) retry(script string, limit time.Duration) error {
	var o output
	for attempt := range 2 {
		if o = l.script(limit, "", script, "up"); o.code == 0 {
			fmt.Print(o.stderr)
			return nil
		}
		fmt.Printf("%s up, attempt %d: status %d\n%s", script, attempt+1, o.code, o.stderr)
		l.script(30*time.Second, "", script, "down")
	}
	return fmt.Errorf("%s up: status %d: %s", script, o.code, o.stderr)
}

func (l *lab) down() {
	l.script(30*time.Second, "", "vm.sh", "down")
	l.script(30*time.Second, "", "cephlab.sh", "down")
}

// script runs one of this folder's scripts.
func (l *lab) script(limit time.Duration, stdin, name string, args ...string) output {
	// Not the test's context: clean-up has to work after its end.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./"+name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that traps run
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "HANGTRACE_CEPH_RUN="+l.run, fmt.Sprintf("HANGTRACE_CEPH_LIFE=%d", int(patience(1800*time.Second).Seconds())),
		fmt.Sprintf("VM_TIMEOUT=%d", int(limit.Seconds())))
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if err != nil && o.code <= 0 {
		o.code = exitGuestFailed
		o.stderr += err.Error()
	}
	return o
}

// patience multiplies what the guest and the tool in it get of time: by
// HANGTRACE_CEPH_PATIENCE, for a machine that has much else to do.
func patience(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv("HANGTRACE_CEPH_PATIENCE")); err == nil && n > 1 {
		return time.Duration(n) * d
	}
	return d
}

// within is the tool's option for it.
func within(d time.Duration) string { return "--deadline " + patience(d).String() }

// guest runs a shell script in the guest. A guest that died, or a script that
// exceeds the limit, ends the test.
func (l *lab) guest(limit time.Duration, script string) output {
	l.t.Helper()
	o := l.script(patience(limit), script, "vm.sh", "sh")
	if o.code == exitGuestFailed || o.code == 124 {
		l.t.Fatalf("guest failed (status %d): %s%s\nscript: %s", o.code, o.stdout, o.stderr, script)
	}
	return o
}

// mustGuest also fails when the script does.
func (l *lab) mustGuest(limit time.Duration, script string) string {
	l.t.Helper()
	o := l.guest(limit, script)
	if o.code != 0 {
		l.t.Fatalf("status %d in the guest: %s%s\nscript: %s", o.code, o.stdout, o.stderr, script)
	}
	return o.stdout
}

func (l *lab) cephlab(args ...string) {
	l.t.Helper()
	if o := l.script(60*time.Second, "", "cephlab.sh", args...); o.code != 0 {
		l.t.Fatalf("cephlab.sh %v: status %d: %s%s", args, o.code, o.stdout, o.stderr)
	}
}

// explain prints what helps after a failure.
func (l *lab) explain() {
	console := l.script(10*time.Second, "", "vm.sh", "console").stdout
	if n := len(console); n > 4000 {
		console = console[n-4000:]
	}
	l.t.Logf("guest console:\n%s", console)
	l.t.Logf("cluster:\n%s", l.script(20*time.Second, "", "cephlab.sh", "status").stdout)
	o := l.script(15*time.Second, "head -c 2000 /run/lab/*; dmesg | tail -n 20; "+
		"for f in /sys/kernel/debug/ceph/*/mdsc /sys/kernel/debug/ceph/*/osdc; do echo \"$f\"; timeout 2 cat $f; done", "vm.sh", "sh")
	l.t.Logf("guest:\n%s%s", o.stdout, o.stderr)
}

// fact is what labguest tells of a task.
type fact struct {
	PID   string   `json:"pid"`
	Comm  string   `json:"comm"`
	State string   `json:"state"`
	Wchan string   `json:"wchan"`
	Call  string   `json:"syscall"`
	Stack []string `json:"stack"`
}

func (l *lab) facts(pids []int) []fact {
	l.t.Helper()
	text := l.mustGuest(30*time.Second, "labguest facts "+words(pids))
	var facts []fact
	if err := json.Unmarshal([]byte(text), &facts); err != nil || len(facts) != len(pids) {
		l.t.Fatalf("facts of %v: %v: %s", pids, err, text)
	}
	return facts
}

func words(numbers []int) string { return strings.Trim(fmt.Sprint(numbers), "[]") }
