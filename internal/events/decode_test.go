package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/events/wiretest"
	"github.com/hangtrace/hangtrace/internal/facts"
)

var clock = facts.Clock{HZ: 250, JiffiesRef: 4294892296, JiffiesMonoNS: 1_000_000_000}

func aTask() events.Task {
	return events.Task{
		PID: 100, TID: 101, PPID: 1, Comm: "thread", ProcessComm: "kubelet", StartBootNS: 5e9, State: events.StateInterruptible,
		Flags: 0x40, VoluntarySwitches: 7, InvoluntarySwitches: 3, LastArrivalNS: 9e9, SampledNS: 11e9, HasRegs: true, SyscallNR: 262,
		Args: [6]uint64{0xffffffffffffff9c, 2, 3, 4, 5, 6}, Return: -38, PC: 0x401000, SP: 0x7ffe0000, BP: 0x7ffe0010, LR: 4, MountNS: 4026531841,
		PIDNS: 4026531836, CwdDevMajor: 253, CwdDevMinor: 1, CwdMountID: 29, BlockerTID: 55, Stack: []uint64{0xffffffff81000001, 0xffffffff81000002},
	}
}

func aCall() events.Call {
	return events.Call{
		Phase: events.PhaseReturned, PID: 100, TID: 101, Comm: "thread", SyscallNR: 262, Args: [6]uint64{1, 2, 3, 4, 5, 6}, EnteredNS: 3_000_000_000,
		ReturnedNS: 5_000_000_000, ResolutionNS: 4_000_000, Return: -5, Path: "/a/b", PathKnown: true,
	}
}

// TestRoundTrip: what the programs wrote is what comes out.
func TestRoundTrip(t *testing.T) {
	noRegs := events.Task{PID: 1, TID: 1, SyscallNR: events.NoSyscall, CwdDetached: true}
	tasks := []events.Task{aTask(), noRegs, {TID: 2, Compat: true}}
	got, err := events.DecodeTasks(wiretest.Tasks(tasks...))
	same(t, "tasks", err, tasks, got)

	files := []events.File{
		{PID: 1, FD: 3, Path: "/a \n\xff/b", DevMinor: 53, Inode: 7, Magic: 0x65735546, FSType: "fuse", MountID: 51, MountNS: 9, Mode: 0o40755},
		{PID: 1, FD: 4, Detached: true, Path: strings.Repeat("/x", 2000)}, {PID: 1, FD: 5},
	}
	gotFiles, err := events.DecodeFiles(wiretest.Files(files...))
	same(t, "files", err, files, gotFiles)

	seeded := aCall()
	seeded.EnteredNS, seeded.Path, seeded.PathKnown = 0, "", false
	flight := aCall()
	flight.Phase, flight.Comm, flight.ReturnedNS, flight.Return = events.PhaseInFlight, "", 0, 0
	flight.Path, flight.PathTruncated = strings.Repeat("p", 4095), true
	gotCalls, err := events.DecodeSlots(wiretest.Slots(clock, flight), clock)
	same(t, "slots", err, []events.Call{flight}, gotCalls)

	block := events.Block{
		PID: 1, TID: 2, Comm: "x", State: events.StateUninterruptible | events.StateWakekill, StartNS: 1, EndNS: 2, HasRegs: true, SyscallNR: -1,
		Args: [6]uint64{9}, Stack: []uint64{1, 2, 3},
	}
	change := events.TargetChange{PID: 9, Parent: 8, Comm: "c", AtNS: 4, What: events.TargetForked}
	ring, err := events.DecodeRing(wiretest.Ring(wiretest.Change(change), wiretest.Call(aCall(), clock), wiretest.Block(block), wiretest.Call(seeded, clock)), clock)
	same(t, "ring", err, events.Records{Calls: []events.Call{aCall(), seeded}, Blocks: []events.Block{block}, Changes: []events.TargetChange{change}}, ring)
}

func same(t *testing.T, what string, err error, want, got any) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestTornRecords cuts and bends records: an error and what came before, never
// a panic, and never a record that is not there.
func TestTornRecords(t *testing.T) {
	whole := wiretest.Tasks(aTask(), aTask())
	for n := range len(whole.Data) {
		p := whole
		p.Data = whole.Data[:n]
		got, err := events.DecodeTasks(p)
		first := n - n%(len(whole.Data)/2)
		if wantErr := n != first; (err != nil) != wantErr || err != nil && !errors.Is(err, events.ErrMalformed) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if want := n / (len(whole.Data) / 2); len(got) != want {
			t.Fatalf("cut at %d: %d tasks, want %d", n, len(got), want)
		}
	}
	tooDeep := append([]byte(nil), whole.Data...)
	tooDeep[8+5*8+6*8+6*8+11*4] = 65 // stack_len
	if _, err := events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: tooDeep}); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("65 frames: %v", err)
	}
	for _, format := range []string{"", "bpf-iter/task/v2", facts.FormatBPFFile} {
		if _, err := events.DecodeTasks(facts.Pass{Format: format}); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("format %q: %v", format, err)
		}
	}
	long := wiretest.File(events.File{Path: "/p"})
	long[8+16+6*4] = 0xff // path_len
	if _, err := events.DecodeFiles(facts.Pass{Format: facts.FormatBPFFile, Data: long}); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("path beyond the record: %v", err)
	}
}

// TestProcThread pins the grammar of the files of /proc/PID/task/TID.
func TestProcThread(t *testing.T) {
	const tail = " 1 100 100 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 12 0 123456 0 0"
	base := facts.ProcThread{
		PID: 100, TID: 101, AtNS: 7, MountNS: 9, Stat: "101 (a) b (c)) S" + tail,
		Status:  "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n",
		Syscall: "262 0xffffff9c 0xc000 0x7 0x0 0x0 0x0 0x7ffe0 0x401000",
		Wchan:   "request_wait_answer\n",
		Stack:   "[<0>] request_wait_answer+0x1e/0x130 [fuse]\n[<0>] do_syscall_64+0x5c/0x90\n",
	}
	want := events.Task{
		PID: 100, TID: 101, PPID: 1, Comm: "a) b (c)", StartBootNS: 1_234_560_000_000, State: events.StateInterruptible, Flags: 4194560,
		VoluntarySwitches: 12, InvoluntarySwitches: 3, SampledNS: 7, MountNS: 9, HasRegs: true, SyscallNR: 262,
		Args: [6]uint64{0xffffff9c, 0xc000, 7}, SP: 0x7ffe0, PC: 0x401000, Wchan: "request_wait_answer",
		StackNames: []string{"request_wait_answer+0x1e [fuse]", "do_syscall_64+0x5c"},
	}
	got, err := events.DecodeProcThread(base)
	same(t, "whole", err, want, got)

	for _, c := range []struct {
		syscall string
		regs    bool
		nr      int
	}{
		{"-1 0x7ffe0 0x401000", true, -1}, {"running", false, -1}, {"", false, -1}, {"x 1 2 3 4 5 6 7 8", false, -1}, {"0 0x0", false, -1},
	} {
		pt := base
		pt.Syscall = c.syscall
		if got, err := events.DecodeProcThread(pt); err != nil || got.HasRegs != c.regs || got.SyscallNR != c.nr {
			t.Errorf("syscall %q: %v %+v", c.syscall, err, got)
		}
	}
	for letter, want := range map[string]uint32{"S": 1, "D": 2, "I": 2 | 0x400, "T": 4, "t": 8, "X": 0x10, "Z": 0x20, "P": 0x40, "R": 0} {
		pt := base
		pt.Stat = "101 (x) " + letter + tail
		got, err := events.DecodeProcThread(pt)
		if err != nil || got.State != want || got.Letter() != letter {
			t.Errorf("state %s: %#x, letter %s, %v", letter, got.State, got.Letter(), err)
		}
		if sleeping := letter == "S" || letter == "D"; got.Sleeping() != sleeping {
			t.Errorf("state %s sleeps: %v", letter, got.Sleeping())
		}
	}
	for _, stat := range []string{"", "1 x S", "1 (x", "1 (x) S 1 2", "101 (x) S 1 100 100 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 12 0 late 0 0"} {
		pt := base
		pt.Stat = stat
		if _, err := events.DecodeProcThread(pt); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("stat %q: %v", stat, err)
		}
	}
}

// TestStates: bits are masked, never compared (FACTS: 0x2001 is idle and
// freezable, 0x102 killable).
func TestStates(t *testing.T) {
	for _, c := range []struct {
		state              uint32
		sleeping, killable bool
		letter             string
	}{
		{0x2001, true, true, "S"}, {0x1, true, true, "S"}, {0x102, true, true, "D"}, {0x2, true, false, "D"}, {0x2002, true, false, "D"},
		{0x402, false, false, "I"}, {0, false, false, "R"}, {0x4, false, false, "T"}, {0x108, false, true, "t"}, {0x20, false, false, "Z"},
	} {
		task := events.Task{State: c.state}
		if task.Sleeping() != c.sleeping || task.Killable() != c.killable || task.Letter() != c.letter {
			t.Errorf("%#x: sleeping %v, killable %v, %s", c.state, task.Sleeping(), task.Killable(), task.Letter())
		}
	}
}

func FuzzDecodeTasks(f *testing.F) {
	f.Add(wiretest.Tasks(aTask()).Data)
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := events.DecodeTasks(facts.Pass{Format: facts.FormatBPFTask, Data: data})
		if err == nil && len(data) > 0 && len(list) == 0 {
			t.Error("bytes that are neither tasks nor an error")
		}
	})
}

func FuzzDecodeFiles(f *testing.F) {
	f.Add(wiretest.Files(events.File{Path: "/p", FSType: "fuse"}).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := events.DecodeFiles(facts.Pass{Format: facts.FormatBPFFile, Data: data})
		if err == nil && len(data) > 0 && len(list) == 0 {
			t.Error("bytes that are neither files nor an error")
		}
	})
}

func FuzzDecodeSlots(f *testing.F) {
	f.Add(wiretest.Slots(clock, aCall()).Data, int64(250))
	f.Fuzz(func(_ *testing.T, data []byte, hz int64) {
		c := clock
		c.HZ = hz
		_, _ = events.DecodeSlots(facts.Pass{Format: facts.FormatBPFSlots, Data: data}, c)
	})
}

func FuzzDecodeRing(f *testing.F) {
	f.Add(wiretest.Ring(wiretest.Call(aCall(), clock), wiretest.Block(events.Block{Stack: []uint64{1}}), wiretest.Change(events.TargetChange{PID: 1})).Data, int64(250))
	f.Fuzz(func(_ *testing.T, data []byte, hz int64) {
		c := clock
		c.HZ = hz
		_, _ = events.DecodeRing(facts.Pass{Format: facts.FormatBPFRing, Data: data}, c)
	})
}

func FuzzDecodeProcThread(f *testing.F) {
	f.Add("1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", "voluntary_ctxt_switches:\t1\n", "262 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8",
		"futex_wait", "[<0>] a+0x1/0x2 [m]\n")
	f.Add("1 ()) D", "::\n", "-1 0 0", "0", "] ]\n[<0>]")
	f.Fuzz(func(t *testing.T, stat, status, syscall, wchan, stack string) {
		task, err := events.DecodeProcThread(facts.ProcThread{Stat: stat, Status: status, Syscall: syscall, Wchan: wchan, Stack: stack})
		if err == nil && len(task.StackNames) > 64 {
			t.Errorf("%d frames", len(task.StackNames))
		}
	})
}

func FuzzDecodeProcPass(f *testing.F) {
	line, _ := json.Marshal(facts.ProcThread{PID: 1, TID: 1, Stat: "1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0"})
	f.Add(line)
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = events.DecodeTasks(facts.Pass{Format: facts.FormatProcTask, Data: data})
	})
}

func BenchmarkDecodeTasks(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		task := aTask()
		task.Stack = make([]uint64, 20)
		list := make([]events.Task, n)
		for i := range list {
			list[i] = task
		}
		p := wiretest.Tasks(list...)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(p.Data)))
			for b.Loop() {
				if _, err := events.DecodeTasks(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
