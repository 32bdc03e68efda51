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

// BenchmarkBig opens a program of more than 100,000 functions and unwinds one
// thread, from nothing, as the tool does once per look. It generates and builds
// the program first (minutes), or takes the one in HANGTRACE_BIG.
func BenchmarkBig(b *testing.B) {
	exe := os.Getenv("HANGTRACE_BIG")
	if exe == "" {
		exe = buildBig(b)
	}
	v := start(b, exe)
	regs := v.regs(b, v.threads["big"])
	mem := v.memory(b)
	f, err := os.Open(exe)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	var functions, frames int
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		t, err := OpenGo(f, st.Size())
		if err != nil {
			b.Fatal(err)
		}
		s := t.Process(mem, 0).Thread(v.threads["big"], regs)
		if s.End != "" || s.Goroutine == nil || !strings.HasPrefix(shown(s)[6].Function, "big/p") {
			b.Fatal(s.format())
		}
		functions, frames = t.Functions(), len(s.Frames)
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(functions), "functions")
	b.ReportMetric(float64(frames), "frames")
	b.ReportMetric(float64(st.Size())/1e6, "MB-file")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/(1<<20), "MiB-allocated/op")
}

// buildBig writes and builds the program: packages of functions that call each
// other, all reachable.
func buildBig(b *testing.B) string {
	const packages, functions = 240, 450
	dir := b.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	var imports, calls strings.Builder
	for p := range packages {
		var s strings.Builder
		fmt.Fprintf(&s, "package p%d\n\nimport \"fmt\"\n\nvar All []func(int, func()) string\n\nfunc init() {\n\tAll = append(All", p)
		for f := range functions {
			fmt.Fprintf(&s, ", F%d", f)
		}
		s.WriteString(")\n}\n")
		for f := range functions {
			fmt.Fprintf(&s, "\n//go:noinline\nfunc F%d(n int, then func()) string {\n\tif n > 0 {\n\t\treturn All[(n*%d+%d)%%len(All)](n-1, then) + fmt.Sprint(n)\n\t}\n\tthen()\n\treturn fmt.Sprintf(\"%%d %%s\", n+%d, \"x\")\n}\n", f, f+1, p, f)
		}
		write(fmt.Sprintf("p%d/p.go", p), s.String())
		fmt.Fprintf(&imports, "\t\"big/p%d\"\n", p)
		fmt.Fprintf(&calls, "\tfor _, f := range p%d.All {\n\t\tall = append(all, f)\n\t}\n", p)
	}
	write("go.mod", "module big\n\ngo 1.21\n")
	write("main.go", `package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

`+imports.String()+`)

func main() {
	var all []func(int, func()) string
`+calls.String()+`
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
		b.Fatalf("build: %v\n%s", err, out)
	}
	if keep := os.Getenv("HANGTRACE_BIG_KEEP"); keep != "" {
		if out, err := exec.Command("cp", exe, keep).CombinedOutput(); err != nil {
			b.Fatalf("keep: %v\n%s", err, out)
		}
	}
	return exe
}
