package expendable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/proc"
)

const long = time.Minute // a deadline that must not pass

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fifo(t *testing.T) Raw {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(name, 0o600))
	return Raw(name)
}

func cmdline(pid int) Request { return Request{Op: OpCmdline, PID: pid} }

func TestAnswersBeforeAHangAreKept(t *testing.T) {
	r := NewRunner(Options{Grace: long})
	reqs := []Request{
		cmdline(os.Getpid()), cmdline(1 << 30), {Op: opHang, Path: fifo(t), Len: 5}, cmdline(os.Getpid()),
	}
	start := time.Now()
	answers, err := r.Do(t.Context(), "k", reqs, 2*time.Second)
	if !errors.Is(err, ErrDeadline) || !strings.Contains(err.Error(), "test-hang") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took < 2*time.Second || took > 40*time.Second {
		t.Errorf("took %v", took)
	}
	if len(answers) != 4 {
		t.Fatalf("%d answers", len(answers))
	}
	if a := answers[0]; a.Err != "" || !slices.Equal(a.Args, args()) {
		t.Errorf("first answer %+v", a)
	}
	if a := answers[1]; !strings.Contains(a.Err, "no such file") || a.Index != 1 {
		t.Errorf("answer about nobody %+v", a)
	}
	if a := answers[2]; !strings.Contains(a.Err, "deadline passed") || len(a.Data) != 5 || !a.Partial {
		t.Errorf("answer that hung %+v", a)
	}
	if a := answers[3]; !strings.HasPrefix(a.Err, "not reached: test-hang") || a.Index != 3 {
		t.Errorf("answer after the hang %+v", a)
	}
	// The FIFO can be killed: nobody is left.
	if left := r.Abandoned(); len(left) != 0 {
		t.Errorf("abandoned %+v", left)
	}
	if _, err := r.Do(t.Context(), "k", reqs[:1], long); err != nil {
		t.Errorf("the same key again: %v", err)
	}
}

func args() []Raw {
	var out []Raw
	for _, a := range os.Args {
		out = append(out, Raw(a))
	}
	return out
}

func TestContextEndsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	r := NewRunner(Options{Grace: long})
	_, err := r.Do(ctx, "k", []Request{{Op: opHang, Path: fifo(t)}}, long)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	answers, err := r.Do(ctx, "k", []Request{cmdline(1)}, long)
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(answers[0].Err, "not asked") {
		t.Errorf("after the end: %+v, %v", answers, err)
	}
}

func TestChildFailures(t *testing.T) {
	r := NewRunner(Options{Grace: long})
	for _, tt := range []struct {
		op   Op
		want string // in the answer
		err  string // "" = the next request is answered
	}{
		{opPanic, "panic: the handler", ""},
		{"nonsense", `operation "nonsense": unknown`, ""},
		{opExit, "ended early with status 3", "with status 3"},
		{opCrash, "panic: another goroutine", "ended early, saying"},
		{opJunk, "not expected", "answer to request 7"},
	} {
		answers, err := r.Do(t.Context(), "k", []Request{{Op: tt.op}, cmdline(os.Getpid())}, long)
		if !strings.Contains(answers[0].Err, tt.want) {
			t.Errorf("%s: answer %q, want %q", tt.op, answers[0].Err, tt.want)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q", tt.op, err, tt.err)
		}
		if err == nil && len(answers[1].Args) == 0 {
			t.Errorf("%s: the next request got %+v", tt.op, answers[1])
		}
	}
}

func TestNoProgram(t *testing.T) {
	r := NewRunner(Options{Exe: "/nonexistent/program"})
	for range 2 { // the key is free again
		_, err := r.Do(t.Context(), "k", []Request{cmdline(1)}, long)
		if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "/nonexistent/program") {
			t.Errorf("error %v", err)
		}
	}
}

func TestChildHoldsNothing(t *testing.T) {
	// An inherited descriptor as a shell leaves it, and a secret.
	p := make([]int, 2)
	must(t, unix.Pipe2(p, 0))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	t.Setenv("TOKEN", "secret")
	answers, err := NewRunner(Options{Grace: long}).Do(t.Context(), "the key", []Request{{Op: opSelf}}, long)
	must(t, err)
	var s self
	must(t, json.Unmarshal(answers[0].Result, &s))
	if s.Comm != childName("the key") || len(s.Comm) != 15 {
		t.Errorf("the child's name is %q", s.Comm)
	}
	if s.Cwd != "/" || s.Session != 0 {
		t.Errorf("the child runs in %q, session leader %v", s.Cwd, s.Session == 0)
	}
	if !slices.Equal(s.FDs, []int{0, 1, 2}) {
		t.Errorf("the child inherited descriptors %v", s.FDs)
	}
	for _, e := range s.Env {
		if !strings.HasPrefix(e, "GO") {
			t.Errorf("the child's environment has %q", e)
		}
	}
}

// hanging starts a Do that hangs until the test ends, and waits for its child.
func hanging(t *testing.T, r *Runner, key string) (pid int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _, _ = r.Do(ctx, key, []Request{{Op: opHang, Path: fifo(t)}}, long) })
	t.Cleanup(func() { cancel(); done.Wait() })
	fs := proc.New("/proc")
	for range 600 {
		pids, err := fs.PIDs()
		must(t, err)
		for _, pid := range pids {
			if comm, _ := fs.Comm(pid); comm == childName(key) {
				return pid
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("no child came")
	return 0
}

func TestOneChildForAKey(t *testing.T) {
	r := NewRunner(Options{Grace: long})
	key := fmt.Sprintf("one child for a key %d", os.Getpid())
	pid := hanging(t, r, key)
	if left := r.Abandoned(); len(left) != 0 {
		t.Errorf("a child that is still waited for counts as abandoned: %+v", left)
	}
	for name, other := range map[string]*Runner{"the same runner": r, "a later run": NewRunner(Options{Grace: long})} {
		answers, err := other.Do(t.Context(), key, []Request{cmdline(1)}, long)
		var out *OutstandingError
		if !errors.As(err, &out) || out.PID != pid || out.Key != key {
			t.Errorf("%s: error %v, want child %d outstanding", name, err, pid)
		}
		if len(answers) != 1 || !strings.HasPrefix(answers[0].Err, "not asked") {
			t.Errorf("%s: answers %+v", name, answers)
		}
		if _, err := other.Do(t.Context(), key+" another", []Request{cmdline(1)}, long); err != nil {
			t.Errorf("%s: another key: %v", name, err)
		}
	}
}

func TestKeysInParallel(t *testing.T) {
	r := NewRunner(Options{Grace: 30 * time.Second}) // a busy machine takes its time to end a child
	var done sync.WaitGroup
	for i := range 6 {
		done.Go(func() {
			for range 3 {
				answers, err := r.Do(t.Context(), fmt.Sprintf("key %d of %d", i, os.Getpid()), []Request{cmdline(os.Getpid())}, long)
				if err != nil || !slices.Equal(answers[0].Args, args()) {
					t.Errorf("key %d: %+v, %v", i, answers, err)
				}
				r.Abandoned()
			}
		})
	}
	done.Wait()
}

func TestManyRequestsFillNoPipe(t *testing.T) {
	// More than the pipes hold, both ways, with a child that hangs at first.
	reqs := []Request{{Op: opHang, Path: fifo(t)}}
	for range 5000 {
		reqs = append(reqs, Request{Op: OpReadfile, Root: "/", Path: Raw(strings.Repeat("x", 100))})
	}
	r := NewRunner(Options{Grace: long})
	answers, err := r.Do(t.Context(), "k", reqs, time.Second)
	if !errors.Is(err, ErrDeadline) || len(answers) != len(reqs) {
		t.Errorf("%d answers, %v", len(answers), err)
	}
	answers, err = r.Do(t.Context(), "k", reqs[1:], long)
	if err != nil || !strings.Contains(answers[4999].Err, "no such file") {
		t.Errorf("last answer %+v, %v", answers[4999], err)
	}
}

func TestMainByHand(t *testing.T) {
	var out strings.Builder
	if code := Main(strings.NewReader(""), &out, nil); code != 2 || !strings.Contains(out.String(), ChildCommand) {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

func BenchmarkDo(b *testing.B) {
	r := NewRunner(Options{Grace: long})
	for b.Loop() {
		if _, err := r.Do(b.Context(), "k", []Request{cmdline(os.Getpid())}, long); err != nil {
			b.Fatal(err)
		}
	}
}
