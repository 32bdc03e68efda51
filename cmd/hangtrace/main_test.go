package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.RunHidden()
	if len(os.Args) > 1 && os.Args[1] == expendable.ChildCommand {
		main()
	}
	testscript.Main(supervised{m}, map[string]func(){
		"hangtrace": main,
		"asnobody":  asNobody,
		"nocaps":    withoutCapabilities,
		"nomount":   withoutMounts,
		"sleeper":   sleeper,
		"brief":     sleeper,
		// Prints the PID of the one process called brief, once it is there.
		"pidof-brief": func() { awaitName("brief", 1) },
		// forker has a child of its own name.
		"forker":       forker,
		"pidof-forker": func() { awaitName("forker", 2) },
		// "byarg FILE COMMAND": the content of FILE is the last argument.
		"byarg": byArgument,
		// "withzombie COMMAND": the last argument is the PID of a zombie.
		"withzombie": withZombie,
	})
}

// supervised runs the tests in a private mount namespace where that is possible.
type supervised struct{ m *testing.M }

func (s supervised) Run() int {
	if os.Geteuid() != 0 {
		return s.m.Run()
	}
	return testkit.Supervise(s.m.Run)
}

// TestScripts runs testdata/script: one script a behaviour.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") == "1",
		Condition:           condition,
		Setup: func(e *testscript.Env) error {
			wd, err := os.Getwd()
			e.Setenv("RECORDINGS", wd+"/testdata/recordings")
			e.Setenv("SELF", strconv.Itoa(os.Getpid())) // a target that is there
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    exitCode,
			"oneline": oneLineOnly,
			"mode":    fileMode,
			"truncate": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.ParseInt(args[1], 10, 64)
				ts.Check(err)
				ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
			},
		},
	})
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "bpf":
		return os.Geteuid() == 0 && exec.Command("/proc/self/exe", "-test.run=^TestNeedBPF$").Run() == nil, nil
	}
	return false, fmt.Errorf("condition %q is unknown", name)
}

// exitCode is "code N COMMAND...": like exec, for a certain exit code.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARGUMENTS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s: exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// oneLineOnly holds standard error against the form of every error: one line
// that names the program and ends with the next step.
func oneLineOnly(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stderr")
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "hangtrace: ") || !strings.Contains(text, "; try: ") {
		ts.Fatalf("standard error is not one line \"hangtrace: ...; try: ...\": %q", text)
	}
	if strings.Count(text, "try: ") != 1 {
		ts.Fatalf("two next steps: %q", text)
	}
}

func fileMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%#o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// become replaces this process by the command in the arguments. This program
// goes by its magic link: its directory may be closed to the new user.
func become(args []string) {
	path := "/proc/self/exe"
	if args[0] != "hangtrace" && args[0] != "nocaps" {
		var err error
		if path, err = exec.LookPath(args[0]); err != nil {
			fatal(err)
		}
	}
	fatal(syscall.Exec(path, args, os.Environ()))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "test:", err)
	os.Exit(99)
}

// asNobody runs a command as a user without any rights.
func asNobody() {
	const nobody = 65534
	for _, err := range []error{unix.Setgroups(nil), unix.Setresgid(nobody, nobody, nobody), unix.Setresuid(nobody, nobody, nobody)} {
		if err != nil {
			fatal(err)
		}
	}
	become(os.Args[1:])
}

// withoutCapabilities is "nocaps N,N,... COMMAND": root, but for some of its
// capabilities (by number; "all" of them).
func withoutCapabilities() {
	runtime.LockOSThread()
	var drop []string
	if os.Args[1] == "all" {
		for i := range unix.CAP_LAST_CAP + 1 {
			drop = append(drop, strconv.Itoa(i))
		}
	} else {
		drop = strings.Split(os.Args[1], ",")
	}
	for _, s := range drop {
		n, err := strconv.Atoi(s)
		if err == nil {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
		}
		if err != nil {
			fatal(err)
		}
	}
	become(os.Args[2:])
}

// withoutMounts is "nomount DIR,DIR,... COMMAND": what is mounted there is not.
func withoutMounts() {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fatal(err)
	}
	for dir := range strings.SplitSeq(os.Args[1], ",") {
		for unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		}
	}
	become(os.Args[2:])
}

// sleeper waits for its parent's death, or for as long as it is told.
func sleeper() {
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	d := time.Minute
	if len(os.Args) > 1 {
		d, _ = time.ParseDuration(os.Args[1])
	}
	time.Sleep(d)
}

// forker waits as vfork does for a child that sleeps for four seconds: in state D, in a
// call that need not last. The child is a copy of this thread alone, so it makes
// system calls and nothing else.
func forker() {
	left := unix.Timespec{Sec: 4}
	if pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); pid != 0 {
		return
	}
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&left)), 0, 0)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

func withZombie() {
	child := exec.Command("true") // nobody waits for it
	if err := child.Start(); err != nil {
		fatal(err)
	}
	for proc.New("/proc").Runs(child.Process.Pid) {
		time.Sleep(10 * time.Millisecond)
	}
	become(append(os.Args[1:], strconv.Itoa(child.Process.Pid)))
}

func awaitName(name string, n int) {
	for range 500 {
		if found, err := proc.New("/proc").ByName(name); err == nil && len(found) == n {
			fmt.Println(found[0].PID)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	fatal(fmt.Errorf("not %d called %s", n, name))
}

func byArgument() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fatal(err)
	}
	become(append(os.Args[2:], strings.TrimSpace(string(text))))
}

func TestNeedBPF(t *testing.T) { testkit.NeedBPF(t) }
