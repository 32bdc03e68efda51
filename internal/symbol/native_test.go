package symbol

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openFile is the Opener of the tests.
func openFile(t testing.TB) Opener {
	return func(m Mapping) (io.ReaderAt, int64, error) {
		f, err := os.Open(m.Path)
		if err != nil {
			return nil, 0, err
		}
		t.Cleanup(func() { f.Close() })
		st, err := f.Stat()
		return f, st.Size(), err
	}
}

// compile builds the C program.
func compile(t testing.TB, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	exe := filepath.Join(t.TempDir(), "native")
	args := append(append([]string{"-o", exe}, flags...), filepath.Join("testdata", "native.c"), "-lpthread")
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return exe
}

func TestNative(t *testing.T) {
	for name, flags := range map[string][]string{
		"O2":       {"-O2"},
		"O0":       {"-O0", "-DTELL_FRAME"},
		"stripped": {"-O2", "-s", "-rdynamic"},
		"static":   {"-O2", "-static"},
		"no-pie":   {"-O2", "-no-pie"},
		"frames":   {"-O2", "-fno-omit-frame-pointer", "-DTELL_FRAME"},
	} {
		t.Run(name, func(t *testing.T) {
			checkNativeThreads(t, start(t, compile(t, flags...)), name == "stripped")
		})
	}
}

// checkNativeThreads looks at the threads of native.c.
func checkNativeThreads(t *testing.T, v *victim, stripped bool) {
	n := NewNative(v.maps(t), openFile(t))
	for thread, want := range map[string][]string{
		"main":   {"blocker", "middle", "outer", "main"},
		"qsort":  {"blocker", "middle", "outer", "compare", "qsort", "sorter"},
		"signal": {"blocker", "middle", "outer", "handler", "signal", "raiser", "signalled"},
	} {
		regs := v.regs(t, v.threads[thread])
		regs.BP = v.frames[thread] // C libraries keep it
		checkNative(t, thread, n.Unwind(regs, v.memory(t)), want, stripped)
	}
}

// checkNative wants the named functions in this order, others (of the C
// library) between and around them, and a chain that ends by itself.
func checkNative(t *testing.T, thread string, s Stack, want []string, stripped bool) {
	t.Helper()
	if s.End != "" {
		t.Errorf("%s: ends early: %s\n%s", thread, s.End, s.format())
	}
	var got []string
	for _, f := range s.Frames {
		got = append(got, f.Function, f.Via)
		if f.Module == "" || f.Offset == 0 || f.Function == "" && f.BuildID == "" && f.Module != "[vdso]" {
			t.Errorf("%s: frame without a place: %+v", thread, f)
		}
	}
	rest := got
	for _, w := range want {
		i := slices.Index(rest, w)
		static := w == "compare" || w == "handler" || w == "raiser" || w == "sorter" || w == "signalled"
		if i < 0 && (stripped && static || w == "raiser" || w == "signalled" || w == "qsort") {
			continue // stripped, inlined, or a tail call
		}
		if i < 0 {
			t.Fatalf("%s: %s is not in %q\n%s", thread, w, got, s.format())
		}
		rest = rest[i+1:]
	}
}

// TestFramePointer takes call frame information away.
func TestFramePointer(t *testing.T) {
	v := start(t, compile(t, "-DTELL_FRAME", "-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"))
	n := NewNative(v.maps(t), openFile(t))
	tid := v.threads["qsort"]
	s := n.Unwind(v.regs(t, tid), v.memory(t))
	if !strings.Contains(s.End, "no call frame information") || len(s.Frames) > 4 {
		t.Errorf("without the frame pointer: %s", s.format())
	}
	regs := v.regs(t, tid)
	regs.BP = v.frames["qsort"]
	s = n.Unwind(regs, v.memory(t))
	s.End = ""
	checkNative(t, "qsort", s, []string{"blocker", "middle", "frame pointer", "outer", "frame pointer", "compare"}, false)
}

// TestNativeNoFile names places in files that may not be opened.
func TestNativeNoFile(t *testing.T) {
	v := start(t, compile(t, "-O2"))
	hung := errors.New("on a hung mount")
	n := NewNative(v.maps(t), func(Mapping) (io.ReaderAt, int64, error) { return nil, 0, hung })
	s := n.Unwind(v.regs(t, v.pid), v.memory(t))
	if len(s.Frames) != 1 || s.Frames[0].Offset == 0 || !strings.Contains(s.Frames[0].Module, "libc") || !strings.Contains(s.End, "hung mount") {
		t.Errorf("%s", s.format())
	}
}

// TestNativeInGo follows a goroutine's C call with the C frames in front.
func TestNativeInGo(t *testing.T) {
	v := start(t, build(t, "", "cgoprog", []string{"CGO_ENABLED=1"}, "-ldflags=-linkmode=external"))
	table, bias := v.table(t)
	p := table.Process(v.memory(t), bias)
	p.Native = NewNative(v.maps(t), openFile(t)).ForGo(v.memory(t))
	tid := v.threads["cgoCall"]
	s := p.Thread(tid, v.regs(t, tid))
	var got []string
	for _, f := range s.Frames {
		got = append(got, f.Function)
	}
	text := fmt.Sprint(got)
	if !strings.Contains(text, "read") || !strings.Contains(text, "main.inC runtime.goexit") || s.End != "" {
		t.Errorf("%s", s.format())
	}
	t.Log(s.format())
}

func FuzzCFI(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1}, []byte{0x41, 0x0e, 0x10, 0x86, 2, 0x0a, 0x0b})
	f.Fuzz(func(t *testing.T, common, program []byte) {
		c, err := parseCIE(&cfiReader{b: common, at: 0x1000})
		if err != nil {
			return
		}
		p := &cfiProgram{cie: c, pc: 1 << 20}
		if p.run(&cfiReader{b: c.program}) {
			p.initial = p.now
			p.run(&cfiReader{b: program})
		}
	})
}

func FuzzParseMaps(f *testing.F) {
	f.Add("7f00-7f01 r-xp 00001000 fd:00 1234     /usr/bin/x (deleted)\n")
	f.Add("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range ParseMaps(text) {
			if m.End <= m.Start || len(m.Perm) != 4 {
				t.Fatalf("%+v", m)
			}
			if m.Executable() != (m.Perm[2] == 'x') {
				t.Fatalf("%+v", m)
			}
		}
	})
}
