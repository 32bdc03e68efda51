package strace

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// play shows records made by hand.
type play struct {
	t   *testing.T
	p   *Printer
	out strings.Builder
	ns  uint64
	seq map[int]uint32
}

const ms = uint64(time.Millisecond)

func newPlay(t *testing.T, o Options) *play {
	t.Helper()
	pl := &play{t: t, ns: 10_000 * ms, seq: make(map[int]uint32)}
	o.Arch, o.Output, o.Location = syscalls.AMD64, &pl.out, time.UTC
	pl.p = New(o)
	return pl
}

func (pl *play) record(r events.Strace) {
	pl.t.Helper()
	pl.ns += ms
	r.NS = pl.ns
	if r.PID == 0 {
		r.PID = 10
	}
	if err := pl.p.Record(&r); err != nil {
		pl.t.Fatal(err)
	}
}

func (pl *play) enter(tid int, name string, memory []byte, args ...uint64) {
	pl.t.Helper()
	c, ok := syscalls.ByName(syscalls.AMD64, name)
	if !ok {
		pl.t.Fatal(name)
	}
	pl.seq[tid]++
	r := events.Strace{Kind: events.StraceEnter, TID: tid, NR: c.NR, Seq: pl.seq[tid], Memory: memory}
	copy(r.Args[:], args)
	pl.record(r)
}

func (pl *play) exit(tid int, ret int64, memory []byte) {
	pl.t.Helper()
	pl.record(events.Strace{Kind: events.StraceExit, TID: tid, Seq: pl.seq[tid], NR: -1, Return: ret, Memory: memory})
}

func (pl *play) call(tid int, name string, ret int64, args ...uint64) {
	pl.t.Helper()
	pl.enter(tid, name, nil, args...)
	pl.exit(tid, ret, nil)
}

func (pl *play) death(pid, tid, status int) {
	pl.t.Helper()
	pl.record(events.Strace{Kind: events.StraceDeath, PID: pid, TID: tid, NR: -1, Seq: pl.seq[tid], Other: status, Leader: pid == tid})
}

func (pl *play) want(lines ...string) {
	pl.t.Helper()
	got := strings.Split(strings.TrimSuffix(pl.out.String(), "\n"), "\n")
	if diff := cmp.Diff(lines, got); diff != "" {
		pl.t.Errorf("lines differ (-want +got):\n%s", diff)
	}
}

func TestCallsInterleave(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1})
	pl.enter(10, "read", nil, 3, 0x1000, 5)
	pl.enter(11, "close", nil, 4)
	pl.exit(11, 0, nil)
	pl.exit(10, 2, segment(nil, 0x1000, []byte("ab"), false))
	pl.enter(11, "pause", nil)
	pl.call(10, "getpid", 10)
	pl.exit(11, -514, nil)
	pl.want(
		`10    read(3,  <unfinished ...>`,
		`11    close(4) = 0`,
		`10    <... read resumed>"ab", 5) = 2`,
		`11    pause( <unfinished ...>`,
		`10    getpid() = 10`,
		`11    <... pause resumed>) = ? ERESTARTNOHAND (To be restarted if no handler)`,
	)
}

// TestLossIsTold wants each gap in its place, and returns that never came.
func TestLossIsTold(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1})
	pl.call(10, "getpid", 10)
	pl.seq[10] += 3
	pl.call(10, "close", -9, 7)
	pl.enter(10, "close", nil, 8)
	pl.call(10, "close", 0, 9)
	pl.enter(10, "close", nil, 10)
	pl.seq[10] += 2
	pl.death(10, 10, 0)
	if err := pl.p.Rest(10, 11, 5, true, 1<<8, pl.ns); err != nil {
		t.Fatal(err)
	}
	pl.want(
		`10    getpid() = 10`,
		`10    <3 calls lost>`,
		`10    close(7) = -1 EBADF (Bad file descriptor)`,
		`10    close(8 <return lost>) = ?`,
		`10    close(9) = 0`,
		`10    close(10 <return lost>) = ?`,
		`10    <2 calls lost>`,
		`10    +++ exited with 0 +++`,
		`11    <5 calls lost>`,
		`11    +++ exited with 1 +++`,
	)
	if pl.p.Lost() != 10 || pl.p.Lines() != 5 {
		t.Errorf("%d lost, %d lines", pl.p.Lost(), pl.p.Lines())
	}
}

// TestAnIDIsUsedAgain must not take the new thread for the old one.
func TestAnIDIsUsedAgain(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1})
	pl.call(20, "getpid", 20)
	pl.enter(20, "exit_group", nil, 0)
	pl.record(events.Strace{Kind: events.StraceDeath, PID: 20, TID: 20, NR: -1, Seq: pl.seq[20], Leader: true})
	pl.seq[20] = 0
	pl.record(events.Strace{Kind: events.StraceFork, PID: 20, TID: 20, Other: 10})
	pl.call(20, "getpid", 20)
	pl.want(
		`20    getpid() = 20`,
		`20    exit_group(0) = ?`,
		`20    +++ exited with 0 +++`,
		`hangtrace: Process 20 attached`,
		`20    getpid() = 20`,
	)
}

func TestAThreadExecutes(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1})
	pl.enter(10, "pause", nil)
	pl.enter(11, "execve", segment(nil, 0x1000, []byte("/x\x00"), true), 0x1000, 0, 0)
	pl.exit(10, -514, nil)
	pl.death(10, 10, 0)
	pl.seq[10] = pl.seq[11]
	pl.record(events.Strace{Kind: events.StraceExec, TID: 10, Other: 11})
	pl.exit(10, 0, nil)
	pl.want(
		`10    pause( <unfinished ...>`,
		`11    execve("/x", NULL, NULL <unfinished ...>`,
		`10    <... pause resumed>) = ? ERESTARTNOHAND (To be restarted if no handler)`,
		`10    +++ superseded by execve in pid 11 +++`,
		`10    <... execve resumed>) = 0`,
	)
}

// TestTheFirstThreadEndsLast though it died first.
func TestTheFirstThreadEndsLast(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1})
	pl.call(10, "getpid", 10)
	pl.call(11, "gettid", 11)
	pl.death(10, 10, 0)
	pl.call(11, "gettid", 11)
	pl.death(10, 11, 3<<8)
	pl.want(
		`10    getpid() = 10`,
		`11    gettid() = 11`,
		`11    gettid() = 11`,
		`11    +++ exited with 3 +++`,
		`10    +++ exited with 0 +++`,
	)
	if list := pl.p.Processes(); len(list) != 0 {
		t.Errorf("%v are left", list)
	}
}

// fileSegment is a descriptor with a path of one name.
func fileSegment(to []byte, fd int, name string, entry bool) []byte {
	data := make([]byte, 80)
	binary.LittleEndian.PutUint64(data, 5)
	data = append(data, name+"\x00"...)
	at := len(to)
	if name == "" {
		data = nil
	}
	to = segment(to, uint64(uint32(fd)), data, entry)
	to[at+12] |= 2
	return to
}

// TestDescriptorsAreThoseOfTheCall, whatever another thread makes of the number
// before the line is shown.
func TestDescriptorsAreThoseOfTheCall(t *testing.T) {
	stale := func(int, int) string { return "/stale" }
	pl := newPlay(t, Options{Prefix: true, Column: 1, FDPaths: true, CacheFDs: true, FDPath: stale})
	pl.enter(10, "read", fileSegment(nil, 3, "old", true), 3, 0x1000, 5)
	pl.enter(11, "close", fileSegment(nil, 3, "old", true), 3)
	pl.exit(11, 0, nil)
	pl.enter(11, "dup2", fileSegment(fileSegment(nil, 4, "new", true), 3, "", true), 4, 3)
	pl.exit(11, 3, fileSegment(nil, 3, "new", false))
	pl.exit(10, 0, nil)
	pl.call(11, "fsync", 0, 3)
	pl.want(
		`10    read(3</old>,  <unfinished ...>`,
		`11    close(3</old>) = 0`,
		`11    dup2(4</new>, 3) = 3</new>`,
		`10    <... read resumed>"", 5) = 0`,
		`11    fsync(3</new>) = 0`,
	)
}

func TestFirstAndLastLines(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1, Summary: true})
	c, _ := syscalls.ByName(syscalls.AMD64, "newfstatat")
	list := []Early{
		{PID: 10, TID: 11, NR: c.NR, Args: [6]uint64{cwd, 0x1000, 0x2000}, Strings: map[uint64]string{0x1000: "/mnt/a"}, SinceNS: pl.ns - 2500*ms, Stack: []string{"f+0x1"}},
		{PID: 10, TID: 12, NR: c.NR, Args: [6]uint64{cwd, 0x1000, 0x2000}, Strings: map[uint64]string{0x1000: "/mnt/a"}},
	}
	if err := pl.p.Attach(list, pl.ns); err != nil {
		t.Fatal(err)
	}
	pl.enter(10, "statfs", segment(nil, 0x1000, []byte("/mnt\x00"), true), 0x1000, 0x2000)
	if err := pl.p.Finish(pl.ns + 500*ms); err != nil {
		t.Fatal(err)
	}
	pl.want(
		`12    newfstatat(AT_FDCWD, "/mnt/a",  <unfinished ...> <for unknown>`,
		`11    newfstatat(AT_FDCWD, "/mnt/a",  <unfinished ...> <for at least 2.500000>`,
		` > f+0x1`,
		`10    statfs("/mnt",  <unfinished ...>`,
		`12    newfstatat(AT_FDCWD, "/mnt/a",  <unfinished ...> <for unknown>`,
		`11    newfstatat(AT_FDCWD, "/mnt/a",  <unfinished ...> <for at least 3.001000>`,
		`10    statfs("/mnt",  <unfinished ...> <for 0.500000>`,
		`% time     seconds  usecs/call     calls    errors unreturned   so far (s) syscall`,
		`------ ----------- ----------- --------- --------- ---------- ------------ ----------------`,
		`  0.00    0.000000           0         0                    2      >=3.001 newfstatat`,
		`  0.00    0.000000           0         0                    1        0.500 statfs`,
		`------ ----------- ----------- --------- --------- ---------- ------------ ----------------`,
		`  0.00    0.000000           0         0                    3      >=3.501 total`,
	)
	if n := pl.p.Hung(1000*ms, pl.ns+500*ms); n != 1 {
		t.Errorf("%d hung", n)
	}
}

// TestStatusDecidesAtTheReturn shows whole lines only.
func TestStatusDecidesAtTheReturn(t *testing.T) {
	pl := newPlay(t, Options{Prefix: true, Column: 1, Status: Failed})
	pl.enter(10, "close", nil, 3)
	pl.call(11, "close", -9, 4)
	pl.exit(10, 0, nil)
	pl.call(10, "close", -9, 5)
	pl.want(`11    close(4) = -1 EBADF (Bad file descriptor)`, `10    close(5) = -1 EBADF (Bad file descriptor)`)
}

// FuzzPrinter takes whatever bytes for records: it must not fail, and every
// line it shows ends.
func FuzzPrinter(f *testing.F) {
	enter := make([]byte, 88)
	binary.LittleEndian.PutUint32(enter, uint32(events.StraceEnter))
	binary.LittleEndian.PutUint32(enter[4:], 88)
	exit := make([]byte, 40)
	binary.LittleEndian.PutUint32(exit, uint32(events.StraceExit))
	binary.LittleEndian.PutUint32(exit[4:], 40)
	f.Add(append(enter, exit...), uint8(0))
	stack := make([]byte, 64)
	binary.LittleEndian.PutUint32(stack, uint32(events.StraceStack))
	binary.LittleEndian.PutUint32(stack[4:], 64)
	slept := make([]byte, 296)
	binary.LittleEndian.PutUint32(slept, uint32(events.StraceSlept))
	binary.LittleEndian.PutUint32(slept[4:], 296)
	f.Add(slices.Concat(enter, stack, slept, exit), uint8(64))
	f.Fuzz(func(t *testing.T, data []byte, letters uint8) {
		var out strings.Builder
		o := Options{Arch: syscalls.AMD64, Output: &out, FDPaths: letters&1 != 0, FDDetails: letters&2 != 0, Summary: letters&4 != 0, Prefix: letters&8 != 0}
		if letters&16 != 0 {
			o.Ring = 3
		}
		if letters&32 != 0 {
			o.Paths = []string{"/a"}
		}
		if letters&64 != 0 {
			o.Stack = func(c *CallStack) []string { return make([]string, len(c.Kernel)) }
		}
		p := New(o)
		var r events.Strace
		for len(data) > 0 {
			var err error
			if data, err = events.NextStrace(data, &r); err != nil {
				break
			}
			if err := p.Record(&r); err != nil {
				t.Fatal(err)
			}
			if err := p.Tick(r.NS); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Finish(1 << 62); err != nil {
			t.Fatal(err)
		}
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			t.Fatalf("open line at the end: %q", s)
		}
	})
}
