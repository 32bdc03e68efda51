package loader

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/hangtrace/hangtrace/bpf"
)

// CallRow says what to do with one system call (struct call_row).
type CallRow struct {
	Traced bool
	Needs  []CallNeed
	// FDs are the arguments that are descriptors, a bit each; ReturnsFD and
	// FDPair (an argument, from 1) tell of those it makes.
	FDs       uint8
	ReturnsFD bool
	FDPair    uint8
	// Waits tells of a call that waits for several descriptors.
	Waits WaitsFor
}

// WaitsFor says where a call has the descriptors that it waits for (enum
// row_waits).
type WaitsFor uint8

// The layouts of poll(2) and select(2).
const (
	WaitsPoll   WaitsFor = 1
	WaitsSelect WaitsFor = 2
)

// CallNeed is one piece of memory to copy: package decode's Capture in the
// numbers of bpf/strace_needs.h, which are the same.
type CallNeed struct {
	Arg, When, Rule uint8
	LenArg          int // -1: none
	Size            int
	Data, AtError   bool
}

const (
	straceCalls = 512 // STRACE_CALLS
	straceNeeds = 5   // STRACE_NEEDS
	needAtEntry = 1
	needAtExit  = 2
	// Of enum slot_state.
	straceInside = 2 // INSIDE
	straceDead   = 4 // DEAD
)

// StraceOptions configures a Strace.
type StraceOptions struct {
	// Native and Compat give the rows of 64-bit and 32-bit calls by number.
	Native, Compat map[int]CallRow
	// Unknown traces calls that have no row.
	Unknown bool
	// All traces every process, FollowForks the children of targets.
	All, FollowForks bool
	// Files tells what descriptors stand for.
	Files bool
	// Stacks tells where calls are made, and where they sleep.
	Stacks bool
	// NoSignals leaves signals out.
	NoSignals bool
	// DataLimit is how much is copied of data.
	DataLimit int
	// RingSize in bytes, a power of two. This field is optional: 16 MiB.
	RingSize int
}

// Strace sends every system call of the targets.
type Strace struct {
	coll *ebpf.Collection
	// Links detach when they become unreachable: keep every one until Close.
	links  []link.Link
	ring   *ringbuf.Reader
	traced *ebpf.Memory
	record ringbuf.Record
	// degraded says what this kernel does not show.
	degraded string
}

// NewStrace loads and attaches. Nothing is traced before SetTarget is called,
// unless All is set. It needs 5.10.
func NewStrace(opts StraceOptions) (*Strace, error) {
	_ = rlimit.RemoveMemlock() // see NewSnapshotter
	coll, degraded, err := loadStrace(opts)
	if err != nil {
		return nil, fmt.Errorf("strace: %w", notSupported(err))
	}
	s := &Strace{coll: coll, degraded: degraded}
	if err := s.start(opts); err != nil {
		s.Close()
		return nil, fmt.Errorf("strace: %w", notSupported(err))
	}
	return s, nil
}

// loadStrace also says what the programs will not see.
func loadStrace(opts StraceOptions) (_ *ebpf.Collection, degraded string, err error) {
	spec, err := bpf.LoadStrace()
	if err != nil {
		return nil, "", fmt.Errorf("embedded object: %w", err)
	}
	if opts.RingSize != 0 {
		spec.Maps["ring"].MaxEntries = uint32(opts.RingSize)
	}
	cfg := bpf.StraceStraceConfig{
		All:         b2u(opts.All),
		FollowForks: b2u(opts.FollowForks),
		SlotMask:    spec.Maps["slots"].MaxEntries - 1,
		Self:        uint32(os.Getpid()),
		// One byte more tells whether it goes on, a long before it is a message's type.
		DataLimit: uint32(opts.DataLimit + 9),
		NoSignals: b2u(opts.NoSignals),
		Files:     b2u(opts.Files),
		Stacks:    b2u(opts.Stacks),
	}
	if err := spec.Variables["cfg"].Set(cfg); err != nil {
		return nil, "", fmt.Errorf("configuration: %w", err)
	}
	if !opts.Stacks {
		spec.Maps["sleeps"].MaxEntries = 1
		delete(spec.Programs, "strace_switch")
	}
	return loadCalls(spec)
}

// start attaches exits before entries, as the live tracer does.
func (s *Strace) start(opts StraceOptions) (err error) {
	if err := s.fillRows(opts); err != nil {
		return fmt.Errorf("table of calls: %w", err)
	}
	if s.traced, err = s.coll.Maps["traced"].Memory(); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	if s.ring, err = ringbuf.NewReader(s.coll.Maps["ring"]); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	s.ring.SetDeadline(time.Unix(1, 0)) // Read never waits
	order := []string{"strace_death", "strace_exec", "strace_fork", "strace_signal", "strace_ignored",
		"strace_exit", "strace_exit_perf", "strace_enter", "strace_enter_perf"}
	if opts.Stacks {
		order = append([]string{"strace_switch"}, order...)
	}
	s.links, err = attachAll(s.coll, order)
	return err
}

func (s *Strace) fillRows(opts StraceOptions) error {
	rows := s.coll.Maps["rows"]
	put := func(key int, row CallRow) error {
		r := bpf.StraceCallRow{Traced: uint8(b2u(row.Traced))}
		for i, n := range row.Needs {
			if i >= straceNeeds {
				break
			}
			fillNeed(&r, i, n)
		}
		if opts.Files {
			r.Fds, r.RetFd, r.Pair, r.Waits = row.FDs, uint8(b2u(row.ReturnsFD)), row.FDPair, uint8(row.Waits)
			r.Entry |= uint8(b2u(row.FDs != 0 || row.Waits != 0))
			r.Exit |= uint8(b2u(row.ReturnsFD || row.FDPair != 0))
		}
		return rows.Put(uint32(key), r)
	}
	for base, table := range map[int]map[int]CallRow{0: opts.Native, straceCalls: opts.Compat} {
		for nr := range straceCalls {
			row, ok := table[nr]
			if !ok {
				row.Traced = opts.Unknown
			}
			if err := put(base+nr, row); err != nil {
				return err
			}
		}
	}
	return put(2*straceCalls, CallRow{Traced: opts.Unknown})
}

func fillNeed(r *bpf.StraceCallRow, i int, n CallNeed) {
	to := &r.Needs[i]
	to.Arg, to.When, to.Rule, to.Size = n.Arg, n.When, n.Rule, uint16(min(n.Size, 4096))
	to.LenArg = 0xff
	if n.LenArg >= 0 {
		to.LenArg = uint8(n.LenArg)
	}
	if n.Data {
		to.Flags |= 1
	}
	if n.AtError {
		to.Flags |= 2
	}
	r.Count = uint8(i + 1)
	if n.When&needAtEntry != 0 {
		r.Entry = 1
	}
	if n.When&needAtExit != 0 {
		r.Exit = 1
	}
}

// Close detaches and unloads everything.
func (s *Strace) Close() error {
	err := s.Detach()
	if s.ring != nil {
		err = errors.Join(err, s.ring.Close())
	}
	s.coll.Close()
	return err
}

// Detach ends the tracing; what is in the ring can still be read.
func (s *Strace) Detach() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	return errors.Join(errs...)
}

// Degraded says what this kernel does not show; it is empty where all is shown.
func (s *Strace) Degraded() string { return s.degraded }

// SetTarget starts or ends the tracing of a process.
func (s *Strace) SetTarget(pid int, on bool) error {
	b := []byte{0}
	if on {
		b[0] = 1
	}
	if _, err := s.traced.WriteAt(b, int64(pid)); err != nil {
		return fmt.Errorf("target %d: %w", pid, err)
	}
	return nil
}

// Drain appends the records that are in the ring to buf, end to end, up to most
// bytes in all. It never waits: programs do not wake the reader, which would
// cost the target.
func (s *Strace) Drain(buf []byte, most int) ([]byte, error) {
	for len(buf) < most {
		err := s.ring.ReadInto(&s.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return buf, nil
		}
		if err != nil {
			return buf, fmt.Errorf("ring: %w", err)
		}
		buf = append(buf, s.record.RawSample...)
	}
	return buf, nil
}

// StraceCounts is what the programs counted, over all CPUs.
type StraceCounts struct {
	Calls       uint64 // traced calls begun
	LostEntries uint64 // of those, without any record
	LostExits   uint64 // returns without a record, of calls that have one
	LostOthers  uint64 // signals, births and deaths without a record
	LostStacks  uint64 // of calls that have a record, without one of their stack
	NoSlot      uint64 // calls of threads for which there was no room
	Busy        uint64 // of what was lost: because of a preempted thread
	// Skipped counts the entries and returns, of all processes, for which the
	// kernel did not run the programs (5.12).
	Skipped uint64
}

// Counts sums up the counters.
func (s *Strace) Counts() StraceCounts {
	var per []bpf.StraceStraceCount
	var sum StraceCounts
	for _, name := range []string{"strace_enter", "strace_enter_perf", "strace_exit", "strace_exit_perf"} {
		if prog := s.coll.Programs[name]; prog != nil {
			if stats, err := prog.Stats(); err == nil {
				sum.Skipped += stats.RecursionMisses
			}
		}
	}
	if s.coll.Maps["counts"].Lookup(uint32(0), &per) != nil {
		return sum
	}
	for _, c := range per {
		sum.Calls += c.Calls
		sum.LostEntries += c.LostEntries
		sum.LostExits += c.LostExits
		sum.LostOthers += c.LostOthers
		sum.LostStacks += c.LostStacks
		sum.NoSlot += c.NoSlot
		sum.Busy += c.Busy
	}
	return sum
}

// StraceThread is what the programs hold of a thread.
type StraceThread struct {
	PID, TID int
	// Seq counts its traced calls.
	Seq uint32
	// Dead tells that it died without a record; Code is as wait(2) gives it.
	Dead bool
	Code int
}

// Threads lists the threads that have made a traced call and live, or whose end
// has no record.
func (s *Strace) Threads() ([]StraceThread, error) {
	slots := s.coll.Maps["slots"]
	keys := make([]uint32, 1024)
	values := make([]bpf.StraceStraceSlot, len(keys))
	var list []StraceThread
	var cursor ebpf.MapBatchCursor
	for {
		n, err := slots.BatchLookup(&cursor, keys, values, nil)
		for _, v := range values[:n] {
			if v.Tid != 0 && v.Tid != slotFreed {
				list = append(list, StraceThread{PID: int(v.Tgid), TID: int(v.Tid), Seq: v.Seq, Dead: v.State == straceDead, Code: int(v.Code)})
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("threads: %w", err)
		}
	}
}
