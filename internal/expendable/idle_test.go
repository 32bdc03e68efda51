package expendable

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func askSelf(t *testing.T, r *Runner, key string) self {
	t.Helper()
	answers, err := r.Do(t.Context(), key, []Request{{Op: opSelf}}, long)
	must(t, err)
	var s self
	if err := json.Unmarshal(answers[0].Result, &s); err != nil {
		t.Fatalf("%+v: %v", answers[0], err)
	}
	if s.Comm != childName(key) {
		t.Errorf("asked about %s it calls itself %q", key, s.Comm)
	}
	return s
}

func nameOf(pid int) string {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(text))
}

func gone(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func TestReuse(t *testing.T) {
	r := NewRunner(Options{Reuse: true, Grace: long})
	first := askSelf(t, r, "one")
	if name := nameOf(first.PID); name != idleName {
		t.Errorf("an idle child calls itself %q", name)
	}
	if again := askSelf(t, r, "two"); again.PID != first.PID {
		t.Error("another child for the second key")
	}
	// What hangs takes its child along, and keeps its key.
	_, err := r.Do(t.Context(), "three", []Request{cmdline(1), {Op: opHang, Path: fifo(t)}}, time.Second)
	if !errors.Is(err, ErrDeadline) || !strings.Contains(err.Error(), "test-hang") {
		t.Errorf("error %v", err)
	}
	if !gone(first.PID) {
		t.Error("the child that hung is still there")
	}
	next := askSelf(t, r, "three")
	must(t, unix.Kill(next.PID, unix.SIGKILL))
	for !strings.Contains(stateOf(next.PID), "Z") {
		time.Sleep(time.Millisecond)
	}
	last := askSelf(t, r, "four") // a child that died idle is replaced
	r.Release()
	for until := time.Now().Add(10 * time.Second); !gone(last.PID) && time.Now().Before(until); {
		time.Sleep(time.Millisecond) // a busy machine takes longer to kill than Release waits
		r.Abandoned()
	}
	if !gone(last.PID) || len(r.Abandoned()) != 0 {
		t.Errorf("after Release: child gone %v, abandoned %+v", gone(last.PID), r.Abandoned())
	}
	other := NewRunner(Options{Grace: long})
	if once, twice := askSelf(t, other, "one"), askSelf(t, other, "one"); once.PID == twice.PID {
		t.Error("reused without being asked to")
	}
}

// TestReleaseLeavesNoZombie: a child that has not died when Release gives it up is
// reaped by the next look.
func TestReleaseLeavesNoZombie(t *testing.T) {
	r := NewRunner(Options{Reuse: true, Grace: time.Nanosecond})
	var pids []int
	for range 20 {
		pids = append(pids, askSelf(t, r, "one").PID)
		r.Release()
	}
	left := func() (n int) {
		for _, pid := range pids {
			if !gone(pid) {
				n++
			}
		}
		return n
	}
	for until := time.Now().Add(10 * time.Second); left() > 0 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
		r.Abandoned()
	}
	if n := left(); n != 0 || len(r.Abandoned()) != 0 {
		t.Errorf("%d of 20 children are left, abandoned %+v", n, r.Abandoned())
	}
}

func stateOf(pid int) string {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:min(1, len(rest))]
}

// What a handler says too late must not pass for an answer of the next turn.
func TestReuseTellsTurnsApart(t *testing.T) {
	r := NewRunner(Options{Reuse: true, Grace: long})
	late := fifo(t)
	answers, err := r.Do(t.Context(), "one", []Request{{Op: opLate, Path: late}}, long)
	must(t, err)
	if answers[0].Code != 0 {
		t.Fatalf("answered %+v", answers[0])
	}
	r.mu.Lock()
	pid := r.idle[0].pid
	r.mu.Unlock()
	fd, err := unix.Open(string(late), unix.O_WRONLY, 0)
	must(t, err)
	defer unix.Close(fd)
	answers, err = r.Do(t.Context(), "two", []Request{{Op: opHang, Path: fifo(t)}}, 2*time.Second)
	if err == nil || answers[0].Code != 0 || answers[0].Err == "" {
		t.Errorf("child %d: a late word became an answer: %+v, %v", pid, answers[0], err)
	}
}

func TestWarm(t *testing.T) {
	r := NewRunner(Options{Reuse: true, Grace: long})
	r.Warm()
	idle := func() (pid int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.idle) > 0 {
			pid = r.idle[0].pid
		}
		return pid
	}
	for idle() == 0 {
		time.Sleep(time.Millisecond)
	}
	warm := idle()
	if s := askSelf(t, r, "one"); s.PID != warm {
		t.Errorf("child %d was warm, %d was asked", warm, s.PID)
	}
	r.Release()
}

func BenchmarkReuse(b *testing.B) {
	r := NewRunner(Options{Reuse: true, Grace: long})
	defer r.Release()
	for b.Loop() {
		if _, err := r.Do(b.Context(), "k", []Request{cmdline(1)}, long); err != nil {
			b.Fatal(err)
		}
	}
}
