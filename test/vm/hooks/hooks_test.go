package hooks

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// The file calls that take part: enough to tell what each further one costs.
var fileCalls = []string{"newfstatat", "openat", "read", "write", "close", "newfstat", "statx", "getdents64", "readlinkat",
	"unlinkat", "mkdirat", "renameat2", "fsync", "ftruncate", "pread64", "pwrite64", "fallocate", "flock", "umount", "chdir"}

// hook is one way to be told of calls.
type hook struct {
	name   string
	attach func(t *testing.T) ([]link.Link, error)
}

var hooks = []hook{
	{"untraced", func(*testing.T) ([]link.Link, error) { return nil, nil }},
	{"sys_enter and sys_exit (tp_btf)", tracepoints},
	{"perf events of sys_enter and sys_exit", perfEvents},
	{"fentry and fexit of newfstatat", func(t *testing.T) ([]link.Link, error) { return trampolines(t, fileCalls[:1]) }},
	{fmt.Sprintf("fentry and fexit of %d file calls", len(fileCalls)), func(t *testing.T) ([]link.Link, error) { return trampolines(t, fileCalls) }},
	{fmt.Sprintf("kprobe.multi and kretprobe.multi of %d file calls", len(fileCalls)), func(t *testing.T) ([]link.Link, error) { return multi(t, fileCalls) }},
}

// TestHooks prints what stat and getppid cost with each. HANGTRACE_HOOKS says that
// the machine's clock counts instructions (vmtest --icount).
func TestHooks(t *testing.T) {
	if os.Getenv("HANGTRACE_HOOKS") == "" {
		t.Skip("left out: needs a machine whose clock counts instructions (try: make hooks)")
	}
	_ = rlimit.RemoveMemlock()
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	var base [2]float64
	for i, h := range hooks {
		began := time.Now()
		links, err := h.attach(t)
		took := time.Since(began)
		if err != nil {
			t.Logf("hook: %s: refused: %v", h.name, firstLine(err))
		} else {
			got := [2]float64{perCall(unix.SYS_NEWFSTATAT), perCall(unix.SYS_GETPPID)}
			if i == 0 {
				base = got
			}
			t.Logf("hook: %-55s stat %6.0f (%.2f)  getppid %5.0f (%.2f)  attached in %4d million", h.name, got[0], got[0]/base[0], got[1], got[1]/base[1], took.Milliseconds())
		}
		began = time.Now()
		for _, l := range links {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(links) > 0 {
			t.Logf("hook: %-55s detached in %4d million", h.name, time.Since(began).Milliseconds())
		}
	}
}

// perCall is the median of what a call takes.
func perCall(nr uintptr) float64 {
	const calls, rounds = 500, 15
	var st unix.Stat_t
	path := []byte("/etc\x00")
	var list []float64
	for range rounds {
		began := time.Now()
		for range calls {
			syscall.RawSyscall6(nr, ^uintptr(99), uintptr(unsafe.Pointer(&path[0])), uintptr(unsafe.Pointer(&st)), 0, 0, 0)
		}
		list = append(list, float64(time.Since(began))/calls)
	}
	slices.Sort(list)
	return list[rounds/2]
}

func empty(spec ebpf.ProgramSpec, cache *btf.Cache) (*ebpf.Program, error) {
	spec.Name, spec.License = "empty", "GPL"
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	// A collection, as a program alone reads the kernel's types each time.
	c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"empty": &spec}}, ebpf.CollectionOptions{Cache: cache})
	if err != nil {
		return nil, err
	}
	return c.DetachProgram("empty"), nil
}

func tracepoints(*testing.T) ([]link.Link, error) {
	return bothEnds(func(name string) ebpf.ProgramSpec {
		return ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: name}
	}, func(_ string, p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	})
}

// perfEvents are what sees every call on 7.2: internal/loader/syscalls.go.
func perfEvents(*testing.T) ([]link.Link, error) {
	return bothEnds(func(string) ebpf.ProgramSpec {
		return ebpf.ProgramSpec{Type: ebpf.TracePoint}
	}, func(name string, p *ebpf.Program) (link.Link, error) {
		return link.Tracepoint("raw_syscalls", name, p, nil)
	})
}

// bothEnds attaches an empty program to the return of calls, and one to their entry.
func bothEnds(spec func(name string) ebpf.ProgramSpec, attach func(name string, p *ebpf.Program) (link.Link, error)) (links []link.Link, err error) {
	cache := btf.NewCache()
	for _, name := range []string{"sys_exit", "sys_enter"} {
		p, err := empty(spec(name), cache)
		if err != nil {
			return links, err
		}
		l, err := attach(name, p)
		if err != nil {
			return links, err
		}
		links = append(links, l)
	}
	return links, nil
}

// symbol is the kernel's function behind a call.
func symbol(call string) string {
	if runtime.GOARCH == "arm64" {
		return "__arm64_sys_" + call
	}
	return "__x64_sys_" + call
}

func trampolines(t *testing.T, calls []string) (links []link.Link, err error) {
	cache := btf.NewCache()
	if _, err := cache.Kernel(); err != nil {
		return nil, err
	}
	for _, call := range calls {
		for _, at := range []ebpf.AttachType{ebpf.AttachTraceFExit, ebpf.AttachTraceFEntry} {
			p, err := empty(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: at, AttachTo: symbol(call)}, cache)
			if errors.Is(err, btf.ErrMultipleMatches) { // flock on 6.1
				t.Logf("hook: %s: left out: %v", call, btf.ErrMultipleMatches)
				continue
			}
			if err != nil {
				return links, fmt.Errorf("%s: %w", call, err)
			}
			l, err := link.AttachTracing(link.TracingOptions{Program: p})
			if err != nil {
				return links, fmt.Errorf("%s: %w", call, err)
			}
			links = append(links, l)
		}
	}
	return links, nil
}

func multi(_ *testing.T, calls []string) (links []link.Link, err error) {
	var symbols []string
	for _, call := range calls {
		symbols = append(symbols, symbol(call))
	}
	p, err := empty(ebpf.ProgramSpec{Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti}, nil)
	if err != nil {
		return nil, err
	}
	exit, err := link.KretprobeMulti(p, link.KprobeMultiOptions{Symbols: symbols})
	if err != nil {
		return nil, err
	}
	enter, err := link.KprobeMulti(p, link.KprobeMultiOptions{Symbols: symbols})
	if err != nil {
		return nil, errors.Join(err, exit.Close())
	}
	return []link.Link{exit, enter}, nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
