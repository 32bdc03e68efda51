package userstack

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/symbol"
)

// sleeper starts a program that sleeps.
func sleeper(t *testing.T) (pid int, exe string, now expendable.ThreadNow) {
	t.Helper()
	exe, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(exe, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pid = cmd.Process.Pid
	for range 1000 {
		if call, _, err := expendable.CallAndStack(pid, pid); err != nil {
			t.Skip(err) // not without rights
		} else if th, ok := threadOf(pid, call); ok && th.PC != 0 {
			if now, err = expendable.LookAt(pid, pid); err == nil && now.State == "S" {
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if exe, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
		t.Fatal(err)
	}
	return pid, exe, now
}

func ask(t *testing.T, pid int, p Params) *Result {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Handle(expendable.Request{Op: Op, PID: pid, Params: text}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(a.Result, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// devices gives a list for Params.Known under which all may be opened.
func devices(t *testing.T, pid int) (known []string) {
	t.Helper()
	text, err := expendable.ReadMaps(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range symbol.ParseMaps(text) {
		var major, minor uint32
		if _, err := fmt.Sscanf(m.Device, "%x:%x", &major, &minor); err != nil {
			t.Fatal(err)
		}
		known = append(known, fmt.Sprintf("%d:%d", major, minor))
	}
	return known
}

// TestMoved wants no chain of a thread that ran since its registers were taken,
// and a new one where that is asked for.
func TestMoved(t *testing.T) {
	pid, exe, now := sleeper(t)
	call, _, err := expendable.CallAndStack(pid, pid)
	if err != nil {
		t.Fatal(err)
	}
	th, _ := threadOf(pid, call)
	p := Params{Exe: exe, Known: devices(t, pid)}
	for _, still := range []bool{true, false} {
		th.Switches = now.Switches
		if !still {
			th.Switches++
		}
		p.Threads = []Thread{th}
		r := ask(t, pid, p)
		if len(r.Stacks) != 1 || r.ProgramErr != "" || len(r.Fresh) != 0 {
			t.Fatalf("%+v", r)
		}
		if s := r.Stacks[0]; (s.End == ran) == still || (len(s.Frames) > 0) != still {
			t.Errorf("still %v: %+v", still, s)
		}
	}
	for name, p := range map[string]Params{
		"moved":   {Exe: exe, Known: p.Known, Again: true, Threads: p.Threads},
		"running": {Exe: exe, Known: p.Known, Again: true, Running: []int{pid}},
	} {
		r := ask(t, pid, p)
		if len(r.Stacks) != 1 || len(r.Stacks[0].Frames) == 0 || r.Stacks[0].End == ran {
			t.Errorf("%s: %+v", name, r)
		}
		f := r.Fresh[pid]
		if f.State != "S" || !strings.Contains(strings.Join(f.Kernel, " "), "nanosleep") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if r := ask(t, pid, Params{Exe: exe, Known: p.Known, Again: true, Running: []int{1 << 30}}); len(r.Stacks) != 0 {
		t.Errorf("a thread that ended: %+v", r)
	}
}

// TestMayOpen keeps away from programs that lie on what may hang, or nobody
// knows on what.
func TestMayOpen(t *testing.T) {
	pid, exe, now := sleeper(t)
	call, _, err := expendable.CallAndStack(pid, pid)
	if err != nil {
		t.Fatal(err)
	}
	th, _ := threadOf(pid, call)
	th.Switches = now.Switches
	r := ask(t, pid, Params{Exe: exe, Avoid: devices(t, pid), Threads: []Thread{th}})
	if !strings.Contains(r.ProgramErr, "lies on a mount that may hang") {
		t.Errorf("program: %+v", r)
	}
	if s := r.Stacks[0]; len(s.Frames) != 1 || s.Frames[0].Function != "" || s.Frames[0].Module == "" || !strings.Contains(s.End, "may hang") {
		t.Errorf("its stack: %+v", s)
	}
	r = ask(t, pid, Params{Exe: "/elsewhere", Known: devices(t, pid), Threads: []Thread{th}})
	if !strings.Contains(r.ProgramErr, "not mapped") {
		t.Errorf("a program that is not mapped: %+v", r)
	}

	p := process{params: Params{Avoid: []string{"252:0", "0:53"}, Known: []string{"0:25"}}}
	for device, want := range map[string]string{
		"fc:00": "may hang (device 252:0)", "00:35": "may hang (device 0:53)", "00:19": "", "fd:01": "",
		"00:36": "in no mount table", "": "unknown device", "x:y": "unknown device",
	} {
		err := p.mayOpen(symbol.Mapping{Device: device, Path: "/x"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", device, err, want)
		}
	}
	if err := p.mayOpen(symbol.Mapping{Device: "00:01", Path: "/memfd:runc_cloned", Deleted: true}); err != nil {
		t.Errorf("a program in memory: %v", err)
	}
}
