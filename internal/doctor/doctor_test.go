package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/cri"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == expendable.ChildCommand {
		os.Exit(expendable.Main(os.Stdin, os.Stdout, map[expendable.Op]expendable.Handler{cri.Op: cri.Handle}))
	}
	os.Exit(m.Run())
}

func examine(t *testing.T) Report {
	p := proc.New("/proc")
	return Examine(t.Context(), Options{Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Deadline: 30 * time.Second})
}

// TestEveryCheckTellsItsLoss holds whatever this machine gives against what a
// check promises: a state, and a loss exactly where something is missing.
func TestEveryCheckTellsItsLoss(t *testing.T) {
	r := examine(t)
	seen := make(map[string]bool)
	for _, c := range r.Checks {
		key := c.Group + "/" + c.Name
		if seen[key] && c.Name != "container runtime (CRI)" {
			t.Errorf("%s stands twice", key)
		}
		seen[key] = true
		missing := c.State == No || c.State == Partly || c.State == Unknown
		if missing != (c.Lost != nil) {
			t.Errorf("%s: state %s, lost %v", key, c.State, c.Lost)
		}
		if missing && c.Detail == nil {
			t.Errorf("%s: state %s without a reason", key, c.State)
		}
	}
	for _, name := range []string{"rights/CAP_BPF", "rights/CAP_SYS_ADMIN", "rights/BPF reads kernel memory", "kernel/BTF", "kernel/task iterator", "kernel/file iterator",
		"kernel/kernel symbol names", "kernel/last_arrival", "kernel/ring buffer", "kernel/tracing: sys_enter", "kernel/tracing: sched_switch",
		"data//proc of other users", "data/first PID namespace", "data//proc/kallsyms", "data/tracefs", "data/debugfs", "data/ceph debugfs",
		"data/FUSE control", "data/kubelet", "data/mount namespaces", "data/memory of other processes"} {
		if !seen[name] {
			t.Errorf("%s was not checked", name)
		}
	}
}

func TestDeadline(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	list := within(t.Context(), Options{Deadline: 10 * time.Millisecond}, GroupData, func(e *examiner, _ context.Context) {
		e.check(GroupData, "first", nil, "", "")
		<-never
	})
	if len(list) != 2 || list[0].Name != "first" || list[1].State != Unknown || list[1].Lost == nil {
		t.Errorf("a group that does not end gives %+v", list)
	}
}

func TestJudge(t *testing.T) {
	iterator, calls := Check{Name: checkIterator, State: Yes}, Check{Name: checkCalls, State: Yes}
	enter, exit := Check{Name: checkTracing + loader.ProbeEnter, State: Yes}, Check{Name: checkTracing + loader.ProbeExit, State: Yes}
	no, late := Check{Name: "x", State: No}, Check{Name: unanswered + GroupKernel, State: Unknown}
	for _, c := range []struct {
		name   string
		checks []Check
		want   Level
		says   string
	}{
		{"all", []Check{iterator, enter, exit, calls, {Name: "y", State: Absent}}, Full, "work in full"},
		{"something", []Check{iterator, enter, exit, calls, no}, Degraded, "1 of 5 checks"},
		{"no tracer", []Check{iterator, enter, calls, no}, Degraded, "live looks at threads"},
		{"no BPF", []Check{calls, no}, Degraded, "/proc alone"},
		{"BPF but no proc", []Check{iterator, enter, exit, no}, Degraded, "report and live work"},
		{"nothing", []Check{no, {Name: checkCalls, State: No}}, Blind, "cannot be seen"},
		{"late", []Check{late}, Degraded, "not known"},
	} {
		level, verdict := judge(c.checks)
		if level != c.want || !strings.Contains(verdict, c.says) {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, level, verdict, c.want, c.says)
		}
	}
}

func TestEffective(t *testing.T) {
	caps, err := effective("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000008000200000\n")
	if err != nil || caps != 1<<39|1<<21 {
		t.Errorf("%#x, %v", caps, err)
	}
	for _, bad := range []string{"", "CapEff:\tzz\n"} {
		if _, err := effective(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestForms(t *testing.T) {
	e := &examiner{}
	e.check(GroupRights, "CAP_X", nil, "", "")
	e.check(GroupData, "thing", errors.New("refused\x1b[2J\nbecause of a reason that is much longer than a line of a terminal of one hundred columns can hold"), "", "much")
	r := Report{Schema: Schema, Level: Degraded, Verdict: "v", Checks: e.list}
	var b bytes.Buffer
	for _, form := range Forms() {
		b.Reset()
		if err := Write(&b, form, r); err != nil {
			t.Fatal(err)
		}
		switch form {
		case "text":
			for line := range strings.Lines(b.String()) {
				if len(line) > columns+1 {
					t.Errorf("%d columns: %q", len(line)-1, line)
				}
			}
			if strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "lost: much") {
				t.Errorf("text: %q", b.String())
			}
		case "json":
			var back Report
			if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Checks) != 2 {
				t.Errorf("json: %v, %+v", err, back)
			}
			if !strings.Contains(b.String(), `"lost": null`) {
				t.Errorf("json: nothing lost is not null: %s", b.String())
			}
		}
	}
	if err := Write(&b, "html", r); err == nil {
		t.Error("html: no error")
	}
}
