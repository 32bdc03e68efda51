package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// risky are the files that may block on a hung process (mmap_lock or
// exec_update_lock).
var risky = []string{
	"cmdline", "environ", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "mem",
	"map_files", "io", "syscall", "stack", "auxv", "clear_refs",
}

const (
	fakeStat   = "%d (%s) S 1 7 7 0 -1 %d 1 2 3 4 5 6 7 8 20 0 %d 0 12345 1000 20 18446744073709551615 0 0 0 0\n"
	fakeStatus = "Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t17\t18\t19\t20\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n"
)

type fakeProcess struct {
	pid  int
	comm string
	exe  string
	flag int
	tids []int
}

// fakeProc builds a /proc whose risky files are FIFOs without a writer: who
// opens one hangs, as on the real thing.
func fakeProc(t *testing.T, processes ...fakeProcess) *FS {
	t.Helper()
	root := t.TempDir()
	for _, p := range processes {
		dir := filepath.Join(root, strconv.Itoa(p.pid))
		dirs := []string{dir}
		for _, tid := range p.tids {
			dirs = append(dirs, filepath.Join(dir, "task", strconv.Itoa(tid)))
		}
		for _, d := range dirs {
			must(t, os.MkdirAll(filepath.Join(d, "ns"), 0o755))
			write(t, d, "stat", fmt.Sprintf(fakeStat, p.pid, p.comm, p.flag, len(p.tids)))
			write(t, d, "status", fakeStatus)
			write(t, d, "comm", p.comm+"\n")
			write(t, d, "wchan", "ceph_mdsc_wait_request")
			write(t, d, "cgroup", "0::/kubepods/podX\n")
			write(t, d, "mountinfo", "1 0 0:1 / / rw - ext4 /dev/x rw\n")
			write(t, d, "limits", "Limit\n")
			must(t, os.Symlink("mnt:[4026531841]", filepath.Join(d, "ns", "mnt")))
			must(t, os.Symlink("pid:[4026531836]", filepath.Join(d, "ns", "pid")))
			must(t, os.Symlink("/nowhere/at all", filepath.Join(d, "cwd")))
			if p.exe != "" {
				must(t, os.Symlink(p.exe, filepath.Join(d, "exe")))
			}
			for _, name := range risky {
				must(t, unix.Mkfifo(filepath.Join(d, name), 0o600))
			}
		}
	}
	return New(root)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

// within fails the test if f does not come back: that is what an open of a
// risky file looks like.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<16)
		t.Fatalf("blocked on a file that must not be opened\n%s", buf[:runtime.Stack(buf, true)])
	}
}

func TestProcess(t *testing.T) {
	fs := fakeProc(t, fakeProcess{pid: 7, comm: "a) S (b", exe: "/usr/bin/kubelet", tids: []int{7, 9}})
	within(t, func() {
		got, err := fs.Process(7)
		if err != nil {
			t.Fatal(err)
		}
		if got.StartedAt.IsZero() {
			t.Error("no start time")
		}
		got.StartedAt = time.Time{}
		want := facts.Process{
			PID: 7, PPID: 1, Comm: "a) S (b", Exe: "/usr/bin/kubelet", StartBootNS: 123450000000,
			Threads: 2, MountNS: 4026531841, PIDNS: 4026531836, Cgroup: "0::/kubepods/podX\n", UID: 17,
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestByName(t *testing.T) {
	fs := fakeProc(t,
		fakeProcess{pid: 1, comm: "systemd", exe: "/lib/systemd/systemd", tids: []int{1}},
		fakeProcess{pid: 2, comm: "kubelet", flag: flagKThread, tids: []int{2}},
		fakeProcess{pid: 10, comm: "kubelet", exe: "/usr/bin/kubelet", tids: []int{10}},
		fakeProcess{pid: 11, comm: "other", exe: "/opt/kubelet (deleted)", tids: []int{11}},
		fakeProcess{pid: 12, comm: "kube", exe: "/usr/bin/kube", tids: []int{12}},
		fakeProcess{pid: 13, comm: "a-very-long-nam", tids: []int{13}},
	)
	for _, tt := range []struct {
		name string
		want []int
	}{
		{"kubelet", []int{2, 10, 11}},
		{"kube", []int{12}},
		{"a-very-long-name-indeed", []int{13}},
		{"a-very-long-nam", []int{13}},
		{"a-very-long", nil},
		{"", nil},
	} {
		within(t, func() {
			found, err := fs.ByName(tt.name)
			if err != nil {
				t.Error(err)
			}
			var got []int
			for _, p := range found {
				got = append(got, p.PID)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q: got %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

func TestProcThreads(t *testing.T) {
	fs := fakeProc(t,
		fakeProcess{pid: 2, comm: "kthreadd", flag: flagKThread, tids: []int{2}},
		fakeProcess{pid: 10, comm: "kubelet", tids: []int{10, 31, 11}},
	)
	for _, tt := range []struct {
		pids   []int
		kernel bool
		want   []int
	}{
		{nil, false, []int{10, 11, 31}},
		{nil, true, []int{2, 10, 11, 31}},
		{[]int{10}, true, []int{10, 11, 31}},
		{[]int{2, 4711}, false, nil},
		{[]int{}, true, nil},
	} {
		within(t, func() {
			threads, skipped := fs.ProcThreads(tt.pids, tt.kernel)
			var got []int
			for _, th := range threads {
				got = append(got, th.TID)
				if th.Wchan != "ceph_mdsc_wait_request" || th.MountNS != 4026531841 || th.AtNS == 0 ||
					!strings.Contains(th.Status, "voluntary_ctxt_switches:\t5\n") || strings.HasSuffix(th.Stat, "\n") {
					t.Errorf("thread %+v", th)
				}
			}
			if !slices.Equal(got, tt.want) || len(skipped) != 0 {
				t.Errorf("pids %v kernel %v: got %v, skipped %v, want %v", tt.pids, tt.kernel, got, skipped, tt.want)
			}
		})
	}
}

func TestProcThreadsTellsWhatItCouldNotRead(t *testing.T) {
	fs := fakeProc(t, fakeProcess{pid: 10, comm: "x", tids: []int{10}})
	write(t, filepath.Join(fs.root, "10/task/10"), "stat", "garbage")
	threads, skipped := fs.ProcThreads(nil, false)
	if len(threads) != 0 || len(skipped) != 1 || skipped[0].What != "threads of process 10" {
		t.Errorf("got %v, skipped %v", threads, skipped)
	}
	_, skipped = New(filepath.Join(fs.root, "none")).ProcThreads(nil, false)
	if len(skipped) != 1 {
		t.Errorf("without /proc: skipped %v", skipped)
	}
}

func TestTextReads(t *testing.T) {
	fs := fakeProc(t, fakeProcess{pid: 7, comm: "kubelet", tids: []int{7, 9}})
	within(t, func() {
		for name, read := range map[string]func() (string, error){
			"kubelet":                func() (string, error) { return fs.Comm(7) },
			"kubelet ":               func() (string, error) { s, err := fs.ThreadComm(7, 9); return s + " ", err },
			"ceph_mdsc_wait_request": func() (string, error) { return fs.Wchan(7, 9) },
			"Limit\n":                func() (string, error) { return fs.Limits(7) },
			"/nowhere/at all":        func() (string, error) { return fs.ThreadReadlink(7, 9, "cwd") },
			"1 0 0:1 / / rw - ext4 /dev/x rw\n": func() (string, error) {
				b, err := fs.Mountinfo(7)
				return string(b), err
			},
		} {
			if got, err := read(); err != nil || got != name {
				t.Errorf("got %q, %v; want %q", got, err, name)
			}
		}
	})
}

func TestGone(t *testing.T) {
	fs := New("/proc")
	const nobody = 1<<22 + 1 // above PID_MAX_LIMIT
	for name, read := range map[string]func() error{
		"comm":    func() error { _, err := fs.Comm(nobody); return err },
		"threads": func() error { _, err := fs.Threads(nobody); return err },
		"fds":     func() error { _, err := fs.FDs(nobody); return err },
		"link":    func() error { _, err := fs.Readlink(nobody, "cwd"); return err },
		"process": func() error { _, err := fs.Process(nobody); return err },
		"fdinfo":  func() error { _, err := fs.FDInfo(os.Getpid(), 1<<20); return err },
	} {
		err := read()
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v is not ErrGone", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "/proc/") {
			t.Errorf("%s: %v does not name the file", name, err)
		}
	}
}

func TestReadlinkRefuses(t *testing.T) {
	fs := New("/proc")
	for _, name := range []string{
		"map_files/1-2", "fd", "fd/", "fd/0/x", "fd/../mem", "fd/+1", "ns/", "ns/../exe", "ns/mnt/..", "cwd/x", "../1/exe", "", "mem", "exe/",
	} {
		if to, err := fs.Readlink(os.Getpid(), name); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%q: got %q, %v; want a refusal", name, to, err)
		}
	}
	for _, name := range []string{"kernel/../../1/mem", "../1/mem", "kernel", "/etc", "kernel//x"} {
		if text, err := fs.Sysctl(name); err == nil || !strings.Contains(err.Error(), "not the name") {
			t.Errorf("setting %q: got %q, %v; want a refusal", name, text, err)
		}
	}
}

func TestReadLimit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "big", strings.Repeat("x", 100_000))
	if _, err := readFile(filepath.Join(dir, "big"), 50_000); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("got %v, want an error on a file above the limit", err)
	}
	text, err := readFile(filepath.Join(dir, "big"), 1<<20)
	if err != nil || len(text) != 100_000 {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}

func TestSelf(t *testing.T) {
	fs, pid := New("/proc"), os.Getpid()
	p, err := fs.Process(pid)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	if p.Exe != exe || p.UID != os.Getuid() || p.PPID != os.Getppid() || p.MountNS == 0 || p.Threads < 2 {
		t.Errorf("process %+v", p)
	}
	if age := time.Since(p.StartedAt); age < -time.Second || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	if !fs.Alive(pid, p.StartBootNS) || fs.Alive(pid, p.StartBootNS+tickNS) {
		t.Error("Alive: wrong about this process")
	}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	fds, err := fs.FDs(pid)
	must(t, err)
	if !slices.Contains(fds, int(r.Fd())) || !slices.IsSorted(fds) {
		t.Errorf("descriptors %v without %d", fds, r.Fd())
	}
	to, err := fs.Readlink(pid, fmt.Sprintf("fd/%d", r.Fd()))
	if err != nil || !strings.HasPrefix(to, "pipe:[") {
		t.Errorf("link of a pipe: %q, %v", to, err)
	}
	info, err := fs.FDInfo(pid, int(r.Fd()))
	if err != nil || !strings.Contains(info, "mnt_id:") {
		t.Errorf("fdinfo %q, %v", info, err)
	}
	threads, skipped := fs.ProcThreads([]int{pid}, false)
	if len(threads) < 2 || len(skipped) != 0 || !strings.Contains(threads[0].Status, "nonvoluntary_ctxt_switches") {
		t.Errorf("threads %v, skipped %v", threads, skipped)
	}
}

// TestAliveZombie: a zombie without further threads is dead though /proc shows
// it.
func TestAliveZombie(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	must(t, cmd.Start())
	fs, pid := New("/proc"), cmd.Process.Pid
	p, err := fs.Process(pid)
	must(t, err)
	for range 400 {
		if !fs.Alive(pid, p.StartBootNS) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s, err := fs.stat(pid); err != nil || s.state != 'Z' || fs.Alive(pid, p.StartBootNS) {
		t.Errorf("state %c, alive %v, %v; want a dead zombie", s.state, fs.Alive(pid, p.StartBootNS), err)
	}
	must(t, cmd.Wait())
}

func TestNode(t *testing.T) {
	fs := New("/proc")
	node := fs.Node()
	var uts unix.Utsname
	must(t, unix.Uname(&uts))
	if node.Kernel != unix.ByteSliceToString(uts.Release[:]) || node.Hostname == "" ||
		len(node.BootID) != 36 || node.PageSize != os.Getpagesize() || node.UptimeS <= 0 {
		t.Errorf("node %+v", node)
	}
	clock, wall := fs.Clock()
	if clock.MonoNS <= 0 || clock.BootNS < clock.MonoNS || time.Since(wall) > time.Minute {
		t.Errorf("clock %+v at %v", clock, wall)
	}
	if _, err := fs.InitialPIDNamespace(); err != nil {
		t.Error(err)
	}
}

func TestKallsyms(t *testing.T) {
	r, err := New("/proc").Kallsyms()
	if errors.Is(err, ErrGone) {
		t.Skip("kernel without kallsyms")
	}
	must(t, err)
	defer r.Close()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || len(strings.Fields(line)) < 3 {
		t.Errorf("first line %q, %v", line, err)
	}
}

func TestParseNamespace(t *testing.T) {
	for text, want := range map[string]uint32{
		"mnt:[4026531841]": 4026531841, "mnt:[]": 0, "mnt:[1": 0, "4026531841": 0, "mnt:[4294967296]": 0, "": 0,
	} {
		got, err := parseNamespace(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(fakeStat, 1, "a b)", 4, 3)))
	f.Add([]byte("1 (x) S"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStat(text)
		if err == nil && !strings.Contains(string(text), "("+s.comm+")") {
			t.Errorf("%q: name %q", text, s.comm)
		}
		_, _ = parseUID(text)
		_, _ = parseNamespace(string(text))
	})
}

func BenchmarkProcThreads(b *testing.B) {
	fs := New("/proc")
	var n int
	for b.Loop() {
		threads, _ := fs.ProcThreads(nil, true)
		n = len(threads)
	}
	b.ReportMetric(float64(n), "threads")
}
