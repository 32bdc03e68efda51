package symbol

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAlone looks at threads whose program stands still, or cannot dump them:
// on the system stack, in a page fault, in a signal handler. The chain up to
// the scene's own function must equal the dump from the same line.
func TestAlone(t *testing.T) {
	for _, tc := range toolchains(t) {
		for _, v := range tc.variants() {
			if v.name == "static-cgo" || v.name == "noopt" || tc.name != "" && v.name == "external" {
				continue
			}
			t.Run(tc.label(v), func(t *testing.T) {
				t.Parallel()
				exe := build(t, tc.root, "goprog", v.env, v.flags...)
				for scene, at := range alone {
					t.Run(scene, func(t *testing.T) { checkAlone(t, exe, scene, at) })
				}
			})
		}
	}
}

// alone are the scenes, and the frame above which those of the dump follow.
var alone = map[string]string{
	"systemstack": "runtime/debug.WriteHeapDump", "fault": "main.touch", "vfork": "syscall.ForkExec", "signal": "syscall.Read",
}

// checkAlone wants via (how the last stack was left) and at, the frame above
// which the dump's frames must follow.
func checkAlone(t *testing.T, exe, scene, at string) {
	v := start(t, exe, scene)
	tid := v.threads["alone"]
	table, bias := v.table(t)
	if scene == "vfork" && table.minor == 13 && table.img.machine == elf.EM_AARCH64 {
		t.Skip("Go 1.13 forks on arm64")
	}
	if scene == "signal" {
		v.regs(t, tid) // it must block first
		time.Sleep(50 * time.Millisecond)
		if err := syscall.Tgkill(v.pid, tid, syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	p := table.Process(v.memory(t), bias)
	s := p.Thread(tid, v.regs(t, tid))
	if s.End != "" {
		t.Fatalf("ends early: %s\n%s", s.End, s.format())
	}
	want := wantAlone(v)
	got := shown(s)
	for len(got) > 0 && got[0].Function != at {
		got = got[1:]
	}
	if at != want[0].Function && len(got) > 0 {
		got = got[1:]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("chain behind %s is\n%v\nwant\n%v\n%s", at, got, want, s.format())
	}
	via := map[string]bool{}
	for _, f := range s.Frames {
		via[f.Via] = true
	}
	if (scene == "signal" || scene == "systemstack") && !via[scene] {
		t.Errorf("no frame was reached via %s\n%s", scene, s.format())
	}
	if s.Goroutine == nil || s.Goroutine.ID != 1 {
		t.Errorf("goroutine %+v, want 1 (%v)", s.Goroutine, p.runError)
	}
}

// wantAlone is the dump without the function that made it.
func wantAlone(v *victim) []dumpFrame {
	frames := v.dump[1].Inner
	for frames[0].Function == "runtime.Stack" || frames[0].Function == "main.snap" {
		frames = frames[1:]
	}
	return frames
}

// TestCgo looks at threads in C, and in Go code that C called.
func TestCgo(t *testing.T) {
	for _, tc := range toolchains(t) {
		for _, v := range tc.variants() {
			if v.env[0] == "CGO_ENABLED=0" && v.name != "stripped" && v.name != "pie" || tc.name != "" && v.name == "external" {
				continue
			}
			env := []string{"CGO_ENABLED=1"}
			t.Run(tc.label(v), func(t *testing.T) {
				t.Parallel()
				checkCgo(t, start(t, build(t, tc.root, "cgoprog", env, v.flags...)))
			})
		}
	}
}

func checkCgo(t *testing.T, v *victim) {
	table, bias := v.table(t)
	p := table.Process(v.memory(t), bias)
	for _, name := range []string{"cgoCall", "cgoBack", "cgoTwice", "cgoThread"} {
		s := p.Thread(v.threads[name], v.regs(t, v.threads[name]))
		if s.Goroutine == nil {
			t.Errorf("%s: no goroutine\n%s", name, s.format())
			continue
		}
		d := v.dump[s.Goroutine.ID]
		err := sameAsDump(s, d)
		if name == "cgoThread" && strings.HasPrefix(s.End, "caller") {
			s.End = "" // C code called Go on a thread of its own: nothing is behind
			err = sameAsDump(s, d)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s\n%v", name, err, s.format(), d)
		}
		if name == "cgoCall" && (s.Frames[0].Function != "" || s.Frames[1].Via != "cgo call") {
			t.Errorf("cgo call is not marked\n%s", s.format())
		}
	}
}

// TestPrebuilt looks at programs that were built elsewhere, as for a virtual
// machine of another architecture: HANGTRACE_PREBUILT is a folder of files
// named goprog-ANYTHING, cgoprog-ANYTHING and nativeprog-ANYTHING (native.c).
func TestPrebuilt(t *testing.T) {
	dir := os.Getenv("HANGTRACE_PREBUILT")
	if dir == "" {
		t.Skip("HANGTRACE_PREBUILT is not set")
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*prog-*"))
	if len(paths) == 0 {
		t.Fatal("nothing there")
	}
	for _, exe := range paths {
		name := filepath.Base(exe)
		if strings.HasPrefix(name, "nativeprog") {
			t.Run(name, func(t *testing.T) { checkNativeThreads(t, start(t, exe), false) })
			continue
		}
		if strings.HasPrefix(name, "cgo") {
			t.Run(name, func(t *testing.T) { checkCgo(t, start(t, exe)) })
			continue
		}
		t.Run(name+"/threads", func(t *testing.T) { checkAll(t, start(t, exe)) })
		for scene, at := range alone {
			t.Run(name+"/"+scene, func(t *testing.T) { checkAlone(t, exe, scene, at) })
		}
	}
}
