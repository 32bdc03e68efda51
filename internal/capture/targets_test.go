package capture

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// TestInCgroup: a group means itself and what is below it, whichever way its
// path is given.
func TestInCgroup(t *testing.T) {
	const v2 = "0::/kubepods.slice/pod1/c1\n"
	const v1 = "5:memory:/kubepods/pod1\n1:name=systemd:/kubepods/pod1/x\n"
	for _, c := range []struct {
		text, group string
		want        bool
	}{
		{v2, "/kubepods.slice", true}, {v2, "/kubepods.slice/", true}, {v2, "/kubepods.slice/pod1/c1", true},
		{v2, "/kubepods.slice/pod", false}, {v2, "/kubepods.slice/pod1/c1/x", false}, {v2, "/sys/fs/cgroup/kubepods.slice/pod1", true},
		{v1, "/sys/fs/cgroup/memory/kubepods", true}, {v1, "/kubepods/pod1/x", true}, {v1, "/other", false}, {"", "/", false}, {"broken\n", "/", false},
	} {
		if got := inCgroup(c.text, c.group); got != c.want {
			t.Errorf("%q in %q: %v", c.group, c.text, got)
		}
	}
}

// TestCommonAncestor: a process and its forks are one; two families are not.
func TestCommonAncestor(t *testing.T) {
	p := func(pid, ppid int) facts.Process { return facts.Process{PID: pid, PPID: ppid} }
	for _, c := range []struct {
		list []facts.Process
		want int
	}{
		{[]facts.Process{p(10, 1), p(11, 10), p(12, 11)}, 10}, {[]facts.Process{p(11, 10), p(10, 1)}, 10},
		{[]facts.Process{p(10, 1), p(20, 1)}, 0}, {[]facts.Process{p(10, 11), p(11, 10)}, 0},
	} {
		if got, ok := commonAncestor(c.list); got != c.want || ok != (c.want != 0) {
			t.Errorf("%v: %d, %v", c.list, got, ok)
		}
	}
}

func TestFindTargets(t *testing.T) {
	p := proc.New("/proc")
	self := strconv.Itoa(os.Getpid())
	got, err := FindTargets(p, []string{self, self})
	if err != nil || len(got.List) != 1 || got.List[0].PID != os.Getpid() || got.All {
		t.Errorf("given twice: %+v, %v", got, err)
	}
	if got, err := FindTargets(p, nil); err != nil || !got.All || got.KernelThreads {
		t.Errorf("nothing asked for: %+v, %v", got, err)
	}
	if got, err := FindTargets(p, []string{self, "all"}); err != nil || !got.All || !got.KernelThreads {
		t.Errorf("all: %+v, %v", got, err)
	}
	for _, q := range []string{"0", "-1", "4194305", "no-such-process-name", "pod:none", "cgroup:/none"} {
		if _, err := FindTargets(p, []string{q}); !errors.Is(err, ErrNoTarget) {
			t.Errorf("%s: %v", q, err)
		}
	}
}
