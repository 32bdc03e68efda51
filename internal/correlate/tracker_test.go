package correlate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
)

// at moves the scene to so many seconds later; threads stay as they are.
func (s *scene) at(seconds int) *scene {
	d := time.Duration(seconds) * time.Second
	s.snap.TakenAt = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC).Add(d)
	s.snap.Clock.MonoNS = nowNS + int64(d)
	for i := range s.tasks {
		s.tasks[i].SampledNS = nowNS + uint64(d)
	}
	return s
}

// hung is a scene with one thread that hangs since the second 0.
func hung() *scene {
	s := newScene()
	k := s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat)
	k.State, k.LastArrivalNS = stateD, nowNS
	s.thread(9, nrEpoll, []uint64{3}, "ep_poll"+inCall)
	return s
}

// kinds sums events up: "hang_seen 1s".
func kinds(list []*Event) string {
	var out []string
	for _, e := range list {
		text := string(e.Kind)
		if e.Hang != nil {
			text += " " + (time.Duration(e.Hang.Blocked.ForMS) * time.Millisecond).String()
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func observe(t *testing.T, tr *Tracker, s *scene, want string) []*Event {
	t.Helper()
	list, err := tr.Observe(s.snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(list); got != want {
		t.Errorf("at %s: %q, want %q", s.snap.TakenAt.Format("05"), got, want)
	}
	return list
}

// TestDoubling: announced at the threshold, then each time its age doubles.
func TestDoubling(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	observe(t, tr, s.at(0), "")
	var got []string
	for second := 1; second <= 20; second++ {
		list, err := tr.Observe(s.at(second).snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			got = append(got, fmt.Sprintf("%d: %s", second, kinds(list)))
		}
	}
	want := "1: hang_seen 1s; 2: hang_update 2s; 4: hang_update 4s; 8: hang_update 8s; 16: hang_update 16s"
	if strings.Join(got, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), want)
	}
	// What was old when first seen does not announce all it missed.
	tr, s = NewTracker(options(t)), hung()
	observe(t, tr, s.at(100), "hang_seen 1m40s")
	observe(t, tr, s.at(101), "")
	observe(t, tr, s.at(128), "hang_update 2m8s")
}

// TestMoreIsKnown: on a busy node the path, and with it the volume, may come with
// a later look than the hang. What was known once is no news.
func TestMoreIsKnown(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	strings := s.snap.Strings
	s.snap.Strings = nil
	if e := observe(t, tr, s.at(4), "hang_seen 4s")[0]; e.Path.Value != "" || e.Volume != nil {
		t.Fatalf("%+v", e.Hang)
	}
	observe(t, tr, s.at(5), "")
	s.snap.Strings = strings
	if e := observe(t, tr, s.at(6), "hang_update 6s")[0]; !e.Located || e.Path.Value != cephVol+"/d" || e.Volume == nil {
		t.Errorf("%+v", e.Hang)
	}
	s.snap.Strings = nil
	observe(t, tr, s.at(7), "")
	s.snap.Strings = strings
	if e := observe(t, tr, s.at(8), "hang_update 8s")[0]; e.Located {
		t.Errorf("told twice: %+v", e.Hang)
	}
}

// TestEndByReturn: the return of the call ends the hang, with its result.
func TestEndByReturn(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	observe(t, tr, s.at(5), "hang_seen 5s")
	call := events.Call{
		Phase: events.PhaseReturned, PID: 1000, TID: 1, SyscallNR: nrStat, Args: s.tasks[0].Args,
		EnteredNS: nowNS, ReturnedNS: nowNS + 6_500_000_000, ResolutionNS: 4_000_000, Return: -5,
	}
	other := call
	other.Args[0]++ // another call of the thread
	if list := tr.Records(events.Records{Calls: []events.Call{other}}, nil); len(list) != 0 {
		t.Errorf("another call ended it: %s", kinds(list))
	}
	list := tr.Records(events.Records{Calls: []events.Call{call}}, nil)
	if kinds(list) != "hang_ended 6.5s" {
		t.Fatal(kinds(list))
	}
	if e := list[0]; *e.DurationNS != 6_500_000_000 || *e.ResolutionNS != 4_000_000 || *e.Ret != -5 || !strings.Contains(e.RetText, "EIO") || e.Blocked.AtLeast {
		t.Errorf("%+v", e)
	}
	if sum := tr.Summary(s.snap.TakenAt).Summary; sum.Seen != 1 || sum.Ended != 1 || sum.StillHung != 0 || sum.OldestMS != 6500 {
		t.Errorf("%+v", sum)
	}
	// Once only.
	if list := tr.Records(events.Records{Calls: []events.Call{call}}, nil); len(list) != 0 && list[0].Kind == EventHangEnded {
		t.Errorf("ended twice: %s", kinds(list))
	}
}

// TestEntryIsKept: a call may return between the look at calls in flight and that
// at threads, which then still shows it.
func TestEntryIsKept(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	call := events.Call{PID: 1000, TID: 1, SyscallNR: nrStat, Args: s.tasks[0].Args, EnteredNS: nowNS - 1_000_000_000}
	s.flight = []events.Call{call}
	observe(t, tr, s.at(1), "hang_seen 2s")
	s.flight = nil
	observe(t, tr, s.at(3), "hang_update 4s")
	call.Phase, call.ReturnedNS = events.PhaseReturned, nowNS+3_500_000_000
	list := tr.Records(events.Records{Calls: []events.Call{call}}, nil)
	if kinds(list) != "hang_ended 4.5s" {
		t.Fatal(kinds(list))
	}
	if e := list[0]; e.Reason != ReasonSlowSyscall || e.Blocked.Source != sourceEntry || e.Blocked.AtLeast {
		t.Errorf("%s %+v", e.Reason, e.Blocked)
	}
}

// TestEndByBlock: what no call encloses ends with its sleep, exactly timed.
func TestEndByBlock(t *testing.T) {
	s := newScene()
	k := s.thread(1, -1, nil, fuseFault)
	k.State, k.LastArrivalNS = stateD, nowNS
	tr := NewTracker(options(t))
	observe(t, tr, s.at(3), "hang_seen 3s")
	list := tr.Records(events.Records{Blocks: []events.Block{{PID: 1000, TID: 1, State: stateD, StartNS: nowNS, EndNS: nowNS + 3_141_592_653, SyscallNR: -1, HasRegs: true}}}, nil)
	if kinds(list) != "hang_ended 3.141s" || *list[0].DurationNS != 3_141_592_653 || list[0].Ret != nil || list[0].Blocked.Source != "sched_switch" {
		t.Errorf("%s", kinds(list))
	}
}

// TestEndByDisappearance: without any record, two snapshots without it.
func TestEndByDisappearance(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	observe(t, tr, s.at(4), "hang_seen 4s")
	s.tasks = s.tasks[1:]
	observe(t, tr, s.at(5), "")
	list := observe(t, tr, s.at(6), "hang_ended 4s")
	if len(list) == 1 && (list[0].Ret != nil || !list[0].Blocked.AtLeast) {
		t.Errorf("%+v", list[0])
	}
	// Seen again after one snapshot that missed it: no end.
	tr, s = NewTracker(options(t)), hung()
	observe(t, tr, s.at(4), "hang_seen 4s")
	s.moved[1] = true
	observe(t, tr, s.at(5), "")
	s.moved[1] = false
	observe(t, tr, s.at(6), "")
}

// TestPIDReuse: another thread of the same number is another hang.
func TestPIDReuse(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	observe(t, tr, s.at(4), "hang_seen 4s")
	s.tasks[0].StartBootNS += 3_000_000_000
	s.tasks[0].LastArrivalNS = nowNS + 4_000_000_000
	observe(t, tr, s.at(6), "hang_seen 2s")
	observe(t, tr, s.at(7), "hang_ended 4s")
}

// TestSlowCall: a call that came and went between two snapshots.
func TestSlowCall(t *testing.T) {
	tr, s := NewTracker(options(t)), newScene()
	s.thread(1, nrEpoll, []uint64{3}, "ep_poll"+inCall)
	observe(t, tr, s.at(0), "")
	var stack []uint64
	for _, f := range stackFrames(cephStat) {
		stack = append(stack, s.addr(f))
	}
	block := events.Block{
		PID: 1000, TID: 1, Comm: "kubelet", State: stateKillable, StartNS: nowNS + 1e9, EndNS: nowNS + 3e9, HasRegs: true, SyscallNR: nrStat, Args: [6]uint64{7}, Stack: stack,
	}
	call := events.Call{
		Phase: events.PhaseReturned, PID: 1000, TID: 1, SyscallNR: nrStat, Args: [6]uint64{7}, EnteredNS: nowNS + 1e9, ReturnedNS: nowNS + 3e9,
		ResolutionNS: 4e6, PathKnown: true, Path: cephVol + "/short",
	}
	list := tr.Records(events.Records{Blocks: []events.Block{block}, Calls: []events.Call{call}}, s.snap.Symbols)
	if kinds(list) != "slow_call 2s" {
		t.Fatalf("%q", kinds(list))
	}
	if e := list[0]; string(e.Path.Value) != cephVol+"/short" || e.Reason != ReasonSlowSyscall || *e.Ret != 0 || e.Mount.Kind != "cephfs" {
		t.Errorf("%s", line(e.Hang))
	}
	// An idle sleep of the same length is none.
	idle := block
	idle.SyscallNR, idle.Stack = nrEpoll, []uint64{s.addr("ep_poll+0x1")}
	if list := tr.Records(events.Records{Blocks: []events.Block{idle}}, s.snap.Symbols); len(list) != 0 {
		t.Errorf("epoll: %s", kinds(list))
	}
	if tr.Hung() != 1 {
		t.Errorf("%d hangs", tr.Hung())
	}
}

// TestRemembersMounts: a volume unmounted under a blocked call keeps its name.
func TestRemembersMounts(t *testing.T) {
	tr, s := NewTracker(options(t)), hung()
	s.tasks[0].LastArrivalNS = nowNS + 4_500_000_000
	observe(t, tr, s.at(5), "")
	s.mounts[hostNS] = hostMounts[:2]
	list := observe(t, tr, s.at(6), "hang_seen 1.5s")
	if len(list) == 1 {
		h := list[0].Hang
		if h.Volume == nil || h.Volume.Pod == nil || string(h.Volume.Pod.UID) != podA || string(h.Mount.Point) != cephVol || *h.Mount.Attached || h.Mount.From != "remembered" {
			t.Errorf("%s %+v", line(h), h.Mount)
		}
	}
}

// TestLost: counted and said when they grow, and only then.
func TestLost(t *testing.T) {
	tr := NewTracker(options(t))
	now := time.Unix(0, 0)
	if e := tr.Lost(now, map[string]uint64{}); e != nil {
		t.Error("nothing was lost")
	}
	if e := tr.Lost(now, map[string]uint64{"ring": 3}); e == nil || e.Lost["ring"] != 3 {
		t.Errorf("%+v", e)
	}
	if e := tr.Lost(now, map[string]uint64{"ring": 3}); e != nil {
		t.Error("said twice")
	}
	if e := tr.Lost(now, map[string]uint64{"ring": 3, "slots": 1}); e == nil {
		t.Error("growth elsewhere is not said")
	}
	if sum := tr.Summary(now).Summary; sum.Lost["slots"] != 1 || sum.Verdict != "nothing hung on "+options(t).Kinds.String() {
		t.Errorf("%+v", sum)
	}
}

// TestRecordsBeforeAnySnapshot: nothing to judge by, nothing said.
func TestRecordsBeforeAnySnapshot(t *testing.T) {
	tr := NewTracker(options(t))
	if list := tr.Records(events.Records{Calls: []events.Call{{TID: 1}}}, nil); list != nil {
		t.Errorf("%s", kinds(list))
	}
}
