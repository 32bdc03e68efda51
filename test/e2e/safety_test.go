package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// runHeld becomes another program at a word, so that a tracer can be attached
// before its first call. Arguments: the program and its arguments.
func runHeld(args []string) error {
	if err := ready(); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// runReckless does what the tool itself must never do. Arguments: a mount
// point, and the PID of another process.
func runReckless(args []string) error {
	if _, err := os.Lstat(args[0]); err != nil {
		return err
	}
	fd, err := unix.Open(args[0]+"/data", unix.O_PATH, 0)
	if err != nil {
		return err
	}
	if err := unix.Fstatat(fd, "file", new(unix.Stat_t), 0); err != nil {
		return err
	}
	for _, name := range []string{"cmdline", "task/" + args[1] + "/stack"} {
		if _, err := os.ReadFile("/proc/" + args[1] + "/" + name); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/proc/" + args[1] + "/root/etc"); err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	_ = unix.Connect(socket, &unix.SockaddrUnix{Name: "/proc/" + args[1] + "/root/run/none.sock"})
	one := make([]byte, 1)
	local := []unix.Iovec{{Base: &one[0], Len: 1}}
	_, _ = unix.ProcessVMReadv(1, local, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
	return nil
}

// TestToolTouchesNothing traces every command, on a node with a bit of
// everything that hangs, and holds the process itself to what DESIGN promises:
// what may block is left to children that can be given up.
func TestToolTouchesNothing(t *testing.T) {
	s := newStage(t)
	good := s.csi(otherUID, "pv-good")
	held := s.csi(podUID, pvName)
	jammed := s.mount(filepath.Join(s.Dir, "jammed"), "")
	points := []string{good.MountPoint, held.MountPoint, jammed.MountPoint}

	t.Run("the check can fail", func(t *testing.T) {
		pid := strconv.Itoa(s.victim("idle", s.Dir).PID)
		bad := s.traced(t, []int{exitOK}, "/proc/self/exe", wordReckless, good.MountPoint, pid).complaints(points)
		text := strings.Join(bad, "\n")
		for _, want := range []string{"/data\"", "/data/file: ", "/cmdline", "/stack", "/root/etc", "/root/run/none.sock", "process_vm_readv", strconv.Quote(good.MountPoint)} {
			require.Contains(t, text, want)
		}
	})

	v := s.victim("ops", held.MountPoint)
	s.hang(v, held, len(victim.OpNames()))
	jam := s.victim("jam", jammed.MountPoint)
	s.hang(jam, jammed, jamThreads)
	pastThreshold()
	root, self, other := s.kubeletRoot(), pid(v.PID), pid(jam.PID)
	for _, args := range [][]string{
		{"report", self, other, root, "--fs=all"},
		{"report", self, other, root, "--fs=all", "--backend=proc"},
		{"report", "--pid=all", root, "--fs=all", "--deadline=20s"},
		{"live", self, other, root, "--fs=all", "--duration=3s"},
		{"scan", root, "--probe", "--min-age=0s", "--deadline=20s"},
		{"scan", root, "--probe", "--min-age=0s", "--deadline=20s", "--backend=proc"},
		{"check", root},
		{"stacks", self, other},
		{"doctor"},
		{"doctor", "--stats"},
		{"strace", self, "--duration=1s", "-o", filepath.Join(s.Dir, "out")},
	} {
		t.Run(strings.Join(args[:min(2, len(args))], " "), func(t *testing.T) {
			got := s.traced(t, []int{exitOK, exitFailure, exitUsage, exitHung}, append([]string{binary(t)}, args...)...)
			require.Greater(t, len(got.own), 20, "%d lines: nothing was traced", len(got.lines))
			require.Empty(t, strings.Join(got.complaints(points), "\n"))
		})
	}
}

// trace is what a program and its children did.
type trace struct {
	pid   int
	lines []traceLine
	// own are the calls of the program itself, by any of its threads.
	own []traceLine
}

type traceLine struct {
	tid        int
	call, args string
	ret        int
	// dir is what the program itself opened as the descriptor that comes first:
	// the tracer may look too late to say.
	dir string
}

// traced runs a program under the project's own strace from its exec on.
func (s *stage) traced(t *testing.T, codes []int, args ...string) *trace {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{wordHeld}, args...)...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p, err := s.Start(cmd)
	require.NoError(t, err)
	reader := bufio.NewReader(out)
	_, err = reader.ReadString('\n')
	require.NoError(t, err)
	name := filepath.Join(s.Dir, "trace-"+strconv.Itoa(p.PID))
	tracer := start(t, s.Sandbox, "strace", "-f", "-y", "-qqq", "-o", name, "--ready-file", name+".ready", pid(p.PID),
		"-e", "trace=%file,clone,clone3,fork,vfork,execve,process_vm_readv,process_vm_writev,ptrace,getdents64,mmap,connect")
	require.Eventually(t, func() bool { _, err := os.Stat(name + ".ready"); return err == nil }, patience, 20*time.Millisecond)
	_, err = in.Write([]byte("go\n"))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	go func() { _, _ = reader.WriteTo(&testkit.Said{}) }()
	err = p.Wait(patience)
	if !strings.HasPrefix(fmt.Sprint(err), "exit status") {
		require.NoError(t, err)
	}
	require.Contains(t, codes, cmd.ProcessState.ExitCode(), "%v", args)
	_ = tracer.Signal(os.Interrupt)
	_ = tracer.end(t)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NotContains(t, string(text), "calls lost", "the trace has holes")
	return parseTrace(t, p, string(text))
}

var lineOfTrace = regexp.MustCompile(`^(?:\[pid +)?(\d+)\]? +(\w+)\((.*)$`)

// parseTrace tells the threads of the program from its children by the calls
// that made them.
func parseTrace(t *testing.T, p *testkit.Process, text string) *trace {
	t.Helper()
	tr := &trace{pid: p.PID}
	made := make(map[int]int) // thread -> the thread that made it
	for line := range strings.Lines(text) {
		m := lineOfTrace.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		tid, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		l := traceLine{tid: tid, call: m[2], args: m[3], ret: -1}
		if r := returned.FindStringSubmatch(l.args); r != nil {
			l.ret, _ = strconv.Atoi(r[1])
		}
		tr.lines = append(tr.lines, l)
		if strings.HasPrefix(l.call, "clone") && strings.Contains(l.args, "CLONE_THREAD") {
			made[l.ret] = tid
		}
	}
	own := func(tid int) bool {
		for range len(made) + 1 {
			if tid == p.PID {
				return true
			}
			tid = made[tid]
		}
		return false
	}
	opened := make(map[string]string) // descriptor -> path
	for _, l := range tr.lines {
		if !own(l.tid) {
			continue
		}
		l.dir = opened[strings.TrimRight(l.args[:strings.IndexAny(l.args+",", "<,")], " ")]
		tr.own = append(tr.own, l)
		if names := l.paths(); strings.HasPrefix(l.call, "open") && len(names) > 0 && l.ret >= 0 {
			opened[strconv.Itoa(l.ret)] = names[0]
		}
	}
	return tr
}

var (
	quoted   = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	returned = regexp.MustCompile(`\) += (-?\d+)(?:<[^>]*>)?$`)
	// dirOf is the directory that a relative path starts from.
	dirOf = regexp.MustCompile(`^-?\w+<([^>]*)>`)
	// ofProcess are the files of /proc/PID that take its locks (FACTS of the
	// kernel: mmap_lock, exec_update_lock), and the ways into its file system.
	ofProcess = regexp.MustCompile(`^/proc/(\d+)/(?:task/\d+/)?(cmdline|environ|auxv|maps|smaps|smaps_rollup|numa_maps|pagemap|mem|map_files|stack|syscall|io|(?:root|cwd|fd/\d+)/.*)$`)
	capsFile  = regexp.MustCompile(`^/sys/kernel/debug/ceph/[^/]+/caps$`)
)

// complaints lists what the program itself must not have done.
func (tr *trace) complaints(points []string) []string {
	var bad []string
	for _, l := range tr.own {
		switch l.call {
		case "process_vm_readv", "process_vm_writev", "ptrace":
			bad = append(bad, l.call+"("+l.args)
			continue
		}
		for _, name := range l.paths() {
			m := ofProcess.FindStringSubmatch(name)
			foreign := m != nil && m[1] != strconv.Itoa(tr.pid)
			if foreign || capsFile.MatchString(name) || below(name, points) {
				bad = append(bad, name+": "+l.call+"("+l.args)
			}
		}
	}
	return bad
}

// paths are what a call names: its strings, from the directory they start from,
// and the file it maps.
func (l traceLine) paths() []string {
	var list []string
	dir := l.dir
	if m := dirOf.FindStringSubmatch(l.args); m != nil && dir == "" {
		dir = m[1]
	}
	strs := quoted.FindAllStringSubmatch(l.args, -1)
	if strings.HasPrefix(l.call, "readlink") && len(strs) > 1 {
		strs = strs[:1] // the other is what it says
	}
	for _, m := range strs {
		name := m[1]
		if !strings.HasPrefix(name, "/") && dir != "" {
			name = dir + "/" + name
		}
		list = append(list, filepath.Clean(name))
	}
	if dir != "" && len(list) == 0 { // getdents64
		list = append(list, dir)
	}
	if _, file, ok := strings.Cut(l.args, "<"); ok && l.call == "mmap" {
		name, _, _ := strings.Cut(file, ">")
		list = append(list, name)
	}
	return list
}

func below(name string, points []string) bool {
	for _, p := range points {
		if name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}
