package symbol

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBig unwinds a thread of a program of 120,000 functions, as many as a
// kubelet has, and counts what that takes.
func TestBig(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program of 120,000 functions")
	}
	v, f, size := startBig(t)
	tid := v.threads["big"]
	table, s, allocated := unwindBig(t, v, f, size)
	if table.Functions() < 100_000 {
		t.Errorf("%d functions", table.Functions())
	}
	if s.Goroutine == nil {
		t.Fatalf("no goroutine\n%s", s.format())
	}
	if err := sameAsDump(s, v.dump[s.Goroutine.ID]); err != nil {
		t.Errorf("%v\n%s", err, s.format())
	}
	checkGoroutine(t, v, "big", s.Goroutine)
	inlined := 0
	for _, f := range s.Frames {
		if f.Inlined && strings.HasPrefix(f.Function, "big/p") {
			inlined++
		}
	}
	if inlined == 0 {
		t.Errorf("no inlined calls\n%s", s.format())
	}
	const most = 20 << 20
	if allocated > most {
		t.Errorf("%d bytes allocated, want at most %d", allocated, most)
	}
	t.Logf("thread %d: %d functions in %d MB, %d frames, %d KB allocated", tid, table.Functions(), size/1e6, len(s.Frames), allocated>>10)
}

// unwindBig does it from nothing, as the tool does once per look.
func unwindBig(t testing.TB, v *victim, f *os.File, size int64) (table *GoTable, s Stack, allocated uint64) {
	regs, mem := v.regs(t, v.threads["big"]), v.memory(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	table, err := OpenGo(f, size)
	if err != nil {
		t.Fatal(err)
	}
	s = table.Process(mem, 0).Thread(v.threads["big"], regs)
	runtime.ReadMemStats(&after)
	return table, s, after.TotalAlloc - before.TotalAlloc
}

// BenchmarkBig times it. HANGTRACE_BIG names a program that was built before.
func BenchmarkBig(b *testing.B) {
	v, f, size := startBig(b)
	regs, mem := v.regs(b, v.threads["big"]), v.memory(b)
	var functions, frames int
	b.ReportAllocs()
	for b.Loop() {
		t, err := OpenGo(f, size)
		if err != nil {
			b.Fatal(err)
		}
		s := t.Process(mem, 0).Thread(v.threads["big"], regs)
		if s.End != "" || s.Goroutine == nil {
			b.Fatal(s.format())
		}
		functions, frames = t.Functions(), len(s.Frames)
	}
	b.ReportMetric(float64(functions), "functions")
	b.ReportMetric(float64(frames), "frames")
	b.ReportMetric(float64(size)/1e6, "MB-file")
}

func startBig(t testing.TB) (v *victim, f *os.File, size int64) {
	t.Helper()
	exe := os.Getenv("HANGTRACE_BIG")
	if exe == "" {
		exe = buildBig(t)
	}
	v = start(t, exe)
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return v, f, st.Size()
}

// bigFunctions are the functions of package p: each calls some other by the
// table, and the last what blocks, through one that is inlined.
func bigFunctions(p, functions int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "package p%d\n\nvar All []func(int, func()) int\n\nfunc init() {\n\tAll = append(All", p)
	for f := range functions {
		fmt.Fprintf(&s, ", F%d", f)
	}
	s.WriteString(")\n}\n\nfunc last(n int, then func()) int {\n\tthen()\n\treturn n\n}\n")
	for f := range functions {
		fmt.Fprintf(&s, `
//go:noinline
func F%d(n int, then func()) int {
	if n > 0 {
		return All[(n*%d+%d)%%len(All)](n-1, then) + n
	}
	return last(n, then)
}
`, f, f+1, p)
	}
	return s.String()
}

// bulkFunctions are the many that the others are found among.
func bulkFunctions(n int) string {
	var s strings.Builder
	s.WriteString("#include \"textflag.h\"\n\nTEXT ·All(SB), 0, $0-0\n")
	for i := range n {
		fmt.Fprintf(&s, "\tCALL f%d<>(SB)\n", i)
	}
	s.WriteString("\tRET\n")
	for i := range n {
		fmt.Fprintf(&s, "\nTEXT f%d<>(SB), NOSPLIT, $0-0\n\tRET\n", i)
	}
	return s.String()
}

// buildBig writes and builds the program: packages of functions, all reachable.
func buildBig(t testing.TB) string {
	// The compiler takes minutes for so many functions, the assembler seconds.
	const packages, functions, bulk = 10, 500, 115_000
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var imports, calls strings.Builder
	for p := range packages {
		write(fmt.Sprintf("p%d/p.go", p), bigFunctions(p, functions))
		fmt.Fprintf(&imports, "\t\"big/p%d\"\n", p)
		fmt.Fprintf(&calls, "\tall = append(all, p%d.All...)\n", p)
	}
	write("bulk/bulk.go", "package bulk\n\n// All calls each function of bulk.s.\nfunc All()\n")
	write("bulk/bulk.s", bulkFunctions(bulk))
	write("go.mod", "module big\n\ngo 1.21\n")
	write("main.go", `package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"big/bulk"
`+imports.String()+`)

func main() {
	var all []func(int, func()) int
`+calls.String()+`
	if len(os.Args) > 1 {
		bulk.All()
	}
	var p [2]int
	syscall.Pipe(p[:])
	go func() {
		runtime.LockOSThread()
		fmt.Printf("thread big %d\n", syscall.Gettid())
		fmt.Println(all[len(all)/2](20, func() { var b [1]byte; syscall.Read(p[0], b[:]) }))
	}()
	time.Sleep(200 * time.Millisecond)
	buf := make([]byte, 1<<20)
	fmt.Printf("dump\n%s\nready\n", buf[:runtime.Stack(buf, true)])
	os.Stdin.Read(buf)
}
`)
	exe := filepath.Join(dir, "big.exe")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if keep := os.Getenv("HANGTRACE_BIG_KEEP"); keep != "" {
		if out, err := exec.Command("cp", exe, keep).CombinedOutput(); err != nil {
			t.Fatalf("keep: %v\n%s", err, out)
		}
	}
	return exe
}
