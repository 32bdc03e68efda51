package userstack

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// copyOf takes what -k takes of a thread: registers and stack.
func copyOf(t *testing.T, pid int) CallParams {
	t.Helper()
	call, _, err := expendable.CallAndStack(pid, pid)
	if err != nil {
		t.Fatal(err)
	}
	th, _ := threadOf(pid, call)
	buf := make([]byte, 3*4096)
	n, _ := expendable.Memory{PID: pid}.ReadAt(buf, int64(th.SP-128))
	return CallParams{Thread: th, Stack: []Piece{{th.SP - 128, buf[:100]}, {th.SP - 28, buf[100:n]}}}
}

func askCalls(t *testing.T, c *Calls, pid int, list ...CallParams) []CallStack {
	t.Helper()
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Handlers()[OpCalls](expendable.Request{Op: OpCalls, PID: pid, Params: text}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Stacks(a, len(list))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func opened(t *testing.T, pid int, p Params) *Calls {
	t.Helper()
	c := new(Calls)
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Handlers()[OpOpen](expendable.Request{Op: OpOpen, PID: pid, Params: text}, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func functions(s facts.UserStack) (list []string) {
	for _, f := range s.Frames {
		list = append(list, f.Function)
	}
	return list
}

// TestCallsOfACopy wants the same chain from a copy of the stack as from the
// process itself, also when that is gone; and none from another's code.
func TestCallsOfACopy(t *testing.T) {
	pid, exe, now := sleeper(t)
	params := Params{Exe: exe, Known: devices(t, pid)}
	copied := copyOf(t, pid)
	th := copied.Thread
	th.Switches = now.Switches
	params.Threads = []Thread{th}
	want := ask(t, pid, params).Stacks[0]
	c := opened(t, pid, params)
	got := askCalls(t, c, pid, copied, copied)
	if len(got) != 2 || len(got[0].Frames) < 3 || !slices.Equal(functions(got[0].UserStack), functions(want)) || got[0].End != want.End {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	if !slices.IsSorted(got[0].Read) || len(got[0].Read) < len(got[0].Frames)-1 || !slices.Equal(got[0].Read, got[1].Read) {
		t.Errorf("places of the stack: %v", got[0].Read)
	}
	short := copied
	short.Stack = []Piece{{copied.SP, copied.Stack[1].Data[28:60]}}
	short.Full = true
	if s := askCalls(t, c, pid, short)[0]; s.End != "deeper than what was copied of its stack" || len(s.Frames) == 0 || len(s.Frames) >= len(want.Frames) {
		t.Errorf("cut: %+v", s)
	}
	other := copied
	other.PC += 3 // not behind an instruction that enters the kernel
	if s := askCalls(t, c, pid, other)[0]; !strings.Contains(s.End, "not there any more") {
		t.Errorf("another program's: %+v", s)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for { // a zombie has no mappings
		if text, err := expendable.ReadMaps(pid); err != nil || text == "" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if s := askCalls(t, c, pid, copied)[0]; !slices.Equal(functions(s.UserStack), functions(want)) {
		t.Errorf("when it was gone: %+v", s)
	}
}
