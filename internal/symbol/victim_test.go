package symbol

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// victim is a running test program that told where its threads block.
type victim struct {
	pid     int
	exe     string
	threads map[string]int
	frames  map[string]uint64 // frame pointers, where told
	dump    map[uint64]goDump
	in      io.Closer
	stderr  *os.File
}

// goDump is one goroutine of a dump that the program made of itself.
type goDump struct {
	Header    string
	Inner     []dumpFrame
	Elided    bool
	Outer     []dumpFrame // behind the elided ones
	CreatedBy string
}

type dumpFrame struct {
	Function, File string
	Line           int
}

// goTool builds with one toolchain; "" is the one that runs the tests.
func goTool(root string) string {
	if root == "" {
		return "go"
	}
	return filepath.Join(root, "bin", "go")
}

// build builds a program of testdata.
func build(t testing.TB, root, program string, env []string, flags ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), program)
	cmd := exec.Command(goTool(root), append(append([]string{"build", "-o", exe}, flags...), ".")...)
	cmd.Dir = filepath.Join("testdata", program)
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=", "GOTOOLCHAIN=local", "GOWORK=off")
	if root != "" {
		cmd.Env = append(cmd.Env, "GOROOT="+root, "GO111MODULE=on")
	}
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, out)
	}
	return exe
}

// start runs a program until it is ready.
func start(t testing.TB, exe string, args ...string) *victim {
	t.Helper()
	cmd := exec.Command(exe, args...)
	// A fault that userfaultfd answers is left for signals, unlike those of
	// file systems: the runtime must not send its own.
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "GODEBUG=asyncpreemptoff=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if len(args) > 0 {
		fill(t, w)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		for _, child := range children(cmd.Process.Pid) {
			unix.Kill(child, unix.SIGKILL) // one that waits in vfork would stay
		}
		cmd.Process.Kill()
		cmd.Wait()
		r.Close()
	})
	v := &victim{pid: cmd.Process.Pid, exe: exe, threads: map[string]int{}, frames: map[string]uint64{}, in: in, stderr: r}
	late := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	v.listen(t, out)
	return v
}

// children gives the processes that the threads of pid have started.
func children(pid int) (out []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// fill fills a pipe, so that the next write blocks.
func fill(t testing.TB, w *os.File) {
	t.Helper()
	fd := int(w.Fd()) // and from now on it blocks
	for _, nonblock := range []bool{true, false} {
		if err := unix.SetNonblock(fd, nonblock); err != nil {
			t.Fatal(err)
		}
		for size := 4096; nonblock && size > 0; size /= 2 {
			for {
				if _, err := unix.Write(fd, make([]byte, size)); err != nil {
					break
				}
			}
		}
	}
}

func (v *victim) listen(t testing.TB, out io.Reader) {
	t.Helper()
	var dump strings.Builder
	in := bufio.NewScanner(out)
	in.Buffer(nil, 1<<20)
	dumping := false
	for in.Scan() {
		line := in.Text()
		switch {
		case line == "ready":
			v.dump = parseDump(dump.String())
			return
		case line == "dump":
			dumping = true
		case dumping:
			dump.WriteString(line + "\n")
		case strings.HasPrefix(line, "skip "):
			t.Skip(line)
		case strings.HasPrefix(line, "thread "):
			f := strings.Fields(line)
			v.threads[f[1]], _ = strconv.Atoi(f[2])
			if len(f) > 3 {
				v.frames[f[1]], _ = strconv.ParseUint(f[3], 0, 64)
			}
		}
	}
	t.Fatalf("%s ended before it was ready: %v\n%s", v.exe, in.Err(), dump.String())
}

var dumpPosition = regexp.MustCompile(`^\t(.*):(\d+)(?: \+0x[0-9a-f]+)?$`)

// parseDump reads what runtime.Stack wrote.
func parseDump(text string) map[uint64]goDump {
	all := map[uint64]goDump{}
	for _, block := range strings.Split(text, "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		var id uint64
		if n, _ := fmt.Sscanf(lines[0], "goroutine %d ", &id); n != 1 {
			continue
		}
		d := goDump{Header: lines[0]}
		for i := 1; i < len(lines); i++ {
			if strings.HasPrefix(lines[i], "...") {
				d.Elided = true
				continue
			}
			if i+1 == len(lines) {
				break
			}
			m := dumpPosition.FindStringSubmatch(lines[i+1])
			if m == nil {
				continue
			}
			i++
			if by, ok := strings.CutPrefix(lines[i-1], "created by "); ok {
				d.CreatedBy, _, _ = strings.Cut(by, " in goroutine ")
				continue
			}
			f := dumpFrame{Function: lines[i-1][:strings.LastIndexByte(lines[i-1], '(')], File: m[1]}
			f.Line, _ = strconv.Atoi(m[2])
			if d.Elided {
				d.Outer = append(d.Outer, f)
			} else {
				d.Inner = append(d.Inner, f)
			}
		}
		all[id] = d
	}
	return all
}

// regs waits until the thread blocks and reads its registers.
func (v *victim) regs(t testing.TB, tid int) Regs {
	t.Helper()
	for range 500 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", v.pid, tid))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(b))
		if len(f) >= 3 {
			pc, _ := strconv.ParseUint(f[len(f)-1], 0, 64)
			sp, _ := strconv.ParseUint(f[len(f)-2], 0, 64)
			return Regs{PC: pc, SP: sp}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("thread %d does not block", tid)
	return Regs{}
}

// memory reads through /proc/PID/mem.
func (v *victim) memory(t testing.TB) Memory {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", v.pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(addr uint64, buf []byte) (int, error) { return f.ReadAt(buf, int64(addr)) }
}

func (v *victim) maps(t testing.TB) []Mapping {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", v.pid))
	if err != nil {
		t.Fatal(err)
	}
	return ParseMaps(string(b))
}

// table opens the program's table.
func (v *victim) table(t testing.TB) (*GoTable, uint64) {
	t.Helper()
	b, err := os.ReadFile(v.exe)
	if err != nil {
		t.Fatal(err)
	}
	g, err := OpenGo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	bias, ok := g.Bias(v.maps(t), func(m Mapping) bool { return m.Path == v.exe })
	if !ok {
		t.Fatal("no bias")
	}
	return g, bias
}

func (d goDump) lacks(function string) bool {
	for _, f := range d.Inner {
		if f.Function == function {
			return false
		}
	}
	return true
}

// shown are the frames that a dump shows.
func shown(s Stack) (out []dumpFrame) {
	for _, f := range s.Frames {
		if !f.Runtime && f.Function != "" {
			out = append(out, dumpFrame{f.Function, f.File, f.Line})
		}
	}
	return out
}

// sameAsDump compares a chain with the program's own. The dump of a goroutine
// in a system call starts where it told the runtime so: some frames up, and some
// lines before the one that is still running.
func sameAsDump(s Stack, d goDump) error {
	got := shown(s)
	if n := len(got) - 1; n > 0 && got[n].Function == "runtime.runfinq" && d.lacks("runtime.runfinq") {
		got = got[:n] // shown since Go 1.25
	}
	if len(d.Inner) > 1 && d.Inner[0].Function == "runtime.goparkunlock" {
		d.Inner = d.Inner[1:] // shown by Go 1.13, where inlined
	}
	if s.End != "" {
		return fmt.Errorf("ends early: %s", s.End)
	}
	if len(d.Inner) == 0 {
		return fmt.Errorf("no dump")
	}
	first := d.Inner[0]
	same := func(f dumpFrame) bool {
		return f == first || strings.Contains(d.Header, "[syscall") && f.Function == first.Function && f.File == first.File && f.Line > first.Line
	}
	for len(got) > 0 && !same(got[0]) {
		if !strings.Contains(got[0].Function, "syscall.") && !strings.Contains(got[0].Function, "syscall/linux.") {
			return fmt.Errorf("%v is not in the dump, which starts with %v", got[0], first)
		}
		got = got[1:]
	}
	if !d.Elided && len(d.Inner) < 100 { // up to Go 1.20 a dump may end there without a word
		if s.Elided != 0 || len(got) != len(d.Inner) {
			return fmt.Errorf("%d frames and %d left out, want %d", len(got), s.Elided, len(d.Inner))
		}
	} else if len(got) < len(d.Inner)+len(d.Outer) {
		return fmt.Errorf("%d frames, want %d and more", len(got), len(d.Inner)+len(d.Outer))
	}
	for i, want := range d.Inner[1:] {
		i++
		if got[i] != want {
			return fmt.Errorf("frame %d is %v, want %v", i, got[i], want)
		}
	}
	for i, want := range d.Outer {
		if f := got[len(got)-len(d.Outer)+i]; f != want {
			return fmt.Errorf("outer frame %d is %v, want %v", i, f, want)
		}
	}
	return nil
}

func (s Stack) format() string {
	var b strings.Builder
	for i, f := range s.Frames {
		if i > 25 && i < len(s.Frames)-5 {
			continue
		}
		if s.Elided > 0 && i == s.ElidedAt {
			fmt.Fprintf(&b, "  ... %d more\n", s.Elided)
		}
		fmt.Fprintf(&b, "  %#x %#x %s%s %s:%d runtime=%v inlined=%v %s+%#x\n", f.PC, f.SP, f.Via, f.Function, f.File, f.Line, f.Runtime, f.Inlined, f.Module, f.Offset)
	}
	return b.String() + "  end: " + s.End
}
