package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// The bits of a call's class byte (enum call_class in bpf/hangtrace.h). The
// low three bits are the index of the path argument plus one, 0 for none.
const (
	ClassTraced = 0x08 // a file call: its entry is kept
	ClassWaits  = 0x10 // long by nature: a sleep in it means nothing

	// Classes is the number of system calls that have a class.
	Classes = 512
)

// TraceOptions configures a Tracer.
type TraceOptions struct {
	// Threshold is the duration below which a call or sleep is not reported.
	Threshold time.Duration
	// Classes says for each system call number what to do with it.
	Classes [Classes]uint8
	// HZ is the kernel's tick rate (facts.Clock).
	HZ int64
	// All traces every process. This field is optional.
	All bool
	// FollowForks makes children of targets targets. This field is optional.
	FollowForks bool
}

// Tracer follows the system calls and sleeps of the targets.
type Tracer struct {
	coll *ebpf.Collection
	// Links detach when they become unreachable: keep every one until Close.
	links  []link.Link
	ring   *ringbuf.Reader
	slots  *ebpf.Memory
	traced *ebpf.Memory
	record ringbuf.Record
	opts   TraceOptions
	// Degraded says what this kernel does not give.
	degraded []string
}

const (
	slotSize    = 128
	slotsSome   = 4096
	slotsAll    = 8192
	recordSlot  = 6          // RECORD_SLOT
	slotFreed   = 0xffffffff // SLOT_FREED
	maxPathSize = 4096       // PATH_LEN
)

// NewTracer loads and attaches the tracing programs. Nothing is traced before
// SetTarget is called, unless All is set.
func NewTracer(opts TraceOptions) (*Tracer, error) {
	_ = rlimit.RemoveMemlock() // see NewSnapshotter

	var last error
	for _, v := range traceVariants {
		if !slices.Contains(v.drop, "trace_seed") && !syscallPrograms() {
			continue
		}
		coll, skipped, err := loadTrace(opts, v.drop)
		if err != nil {
			last = err
			if errors.Is(err, unix.EPERM) || lockedDown(err) {
				break
			}
			continue
		}
		t := &Tracer{coll: coll, opts: opts}
		for _, d := range []string{v.degraded, skipped} {
			if d != "" {
				t.degraded = append(t.degraded, d)
			}
		}
		if err := t.start(); err != nil {
			t.Close()
			return nil, fmt.Errorf("tracer: %w", notSupported(err))
		}
		return t, nil
	}
	return nil, fmt.Errorf("tracer: %w", notSupported(last))
}

var traceVariants = []variant{
	{drop: []string{"trace_enter_plain", "trace_switch_old"}},
	{drop: []string{"trace_enter_plain", "trace_switch"}},
	{drop: []string{"trace_enter", "trace_enter_perf", "trace_exit_perf", "trace_switch", "trace_seed"},
		degraded: "calls already in flight: their return is not seen before 5.14"},
}

// loadTrace also says what the programs will not see.
func loadTrace(opts TraceOptions, drop []string) (_ *ebpf.Collection, degraded string, err error) {
	spec, err := bpf.LoadTrace()
	if err != nil {
		return nil, "", fmt.Errorf("embedded object: %w", err)
	}
	for _, name := range drop {
		delete(spec.Programs, name)
	}
	n := uint32(slotsSome)
	if opts.All {
		n = slotsAll
	}
	for _, name := range []string{"slots", "paths", "sleeps"} {
		spec.Maps[name].MaxEntries = n
	}
	cfg := bpf.TraceTraceConfig{
		ThresholdJiffies: uint64(opts.Threshold.Seconds() * float64(opts.HZ)),
		ThresholdNs:      uint64(opts.Threshold.Nanoseconds()),
		All:              b2u(opts.All),
		FollowForks:      b2u(opts.FollowForks),
		SlotMask:         n - 1,
		Self:             uint32(os.Getpid()),
	}
	if err := spec.Variables["cfg"].Set(cfg); err != nil {
		return nil, "", fmt.Errorf("configuration: %w", err)
	}
	if err := spec.Variables["call_class"].Set(opts.Classes); err != nil {
		return nil, "", fmt.Errorf("call classes: %w", err)
	}
	if err := spec.Variables["may_return"].Set(opts.Classes); err != nil {
		return nil, "", fmt.Errorf("call classes: %w", err)
	}
	return loadCalls(spec)
}

// start attaches exits before entries, so that no entry waits for ever for an
// exit that nobody saw.
func (t *Tracer) start() (err error) {
	if t.slots, err = t.coll.Maps["slots"].Memory(); err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	if t.traced, err = t.coll.Maps["traced"].Memory(); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	if t.ring, err = ringbuf.NewReader(t.coll.Maps["ring"]); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	order := []string{"trace_death", "trace_exec", "trace_fork", "trace_exit", "trace_exit_perf",
		"trace_enter", "trace_enter_perf", "trace_enter_plain", "trace_switch", "trace_switch_old"}
	t.links, err = attachAll(t.coll, order)
	return err
}

// Close detaches and unloads everything.
func (t *Tracer) Close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
	}
	t.coll.Close()
	return errors.Join(errs...)
}

// Degraded says what this kernel does not give.
func (t *Tracer) Degraded() []string { return t.degraded }

// SetTarget starts or ends the tracing of a process.
func (t *Tracer) SetTarget(pid int, on bool) error {
	b := []byte{0}
	if on {
		b[0] = 1
	}
	if _, err := t.traced.WriteAt(b, int64(pid)); err != nil {
		return fmt.Errorf("target %d: %w", pid, err)
	}
	return nil
}

// Seed gives a thread that is already inside a call a slot, so that its return
// is seen. Kernels before 5.14 return ErrNotSupported.
func (t *Tracer) Seed(pid, tid, nr int, args [6]uint64) error {
	prog := t.coll.Programs["trace_seed"]
	if prog == nil {
		return fmt.Errorf("seed: %w", ErrNotSupported)
	}
	in := bpf.TraceSeed{Args: args, Tid: uint32(tid), Tgid: uint32(pid), Nr: int32(nr)}
	if _, err := prog.Run(&ebpf.RunOptions{Context: &in}); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	return nil
}

// InFlight returns the traced calls that have not returned for at least age,
// as RECORD_SLOT records. A slot that changes while it is read is left out: its
// thread is not hung.
func (t *Tracer) InFlight(age time.Duration, now facts.Clock) facts.Pass {
	pass := facts.Pass{Format: facts.FormatBPFSlots, AtNS: monotonic()}
	if now.HZ == 0 {
		return pass
	}
	jiffies := now.JiffiesRef + uint64(float64(pass.AtNS-now.JiffiesMonoNS)*float64(now.HZ)/1e9)
	oldest := jiffies - uint64(age.Seconds()*float64(now.HZ))
	var s [slotSize]byte
	for i := range uint32(t.slots.Size() / slotSize) {
		if _, err := t.slots.ReadAt(s[:], int64(i)*slotSize); err != nil {
			break // cannot happen: i is within the map
		}
		tid, entered := binary.LittleEndian.Uint32(s[0:]), binary.LittleEndian.Uint64(s[8:])
		nr, flags := binary.LittleEndian.Uint32(s[64:]), binary.LittleEndian.Uint32(s[68:])
		if tid == 0 || tid == slotFreed || nr == 0 {
			continue
		}
		if flags&4 == 0 && entered > oldest { // CALL_SEEDED slots are old by definition
			continue
		}
		pass.Data = t.appendSlot(pass.Data, i, s)
	}
	return pass
}

// appendSlot adds slot i and its path, if the slot has not changed since it was
// read into s.
func (t *Tracer) appendSlot(data []byte, i uint32, s [slotSize]byte) []byte {
	n := binary.LittleEndian.Uint32(s[72:])
	generation := binary.LittleEndian.Uint32(s[76:])
	if generation%2 != 0 || n >= maxPathSize {
		return data
	}
	path, err := t.coll.Maps["paths"].LookupBytes(i)
	if err != nil {
		return data
	}
	var again [slotSize]byte
	if _, err := t.slots.ReadAt(again[:], int64(i)*slotSize); err != nil || again != s {
		return data
	}
	padded := (n + 7) &^ 7
	data = binary.LittleEndian.AppendUint32(data, recordSlot)
	data = binary.LittleEndian.AppendUint32(data, 8+slotSize+padded)
	data = append(data, s[:]...)
	return append(data, path[:padded]...)
}

// Sweep frees the slots of threads that are no more, and says how many. A thread
// frees its own as it dies, but for one that was seeded just then, or whose
// process was no target any more.
func (t *Tracer) Sweep() (freed int) {
	var s [slotSize]byte
	for i := range t.slots.Size() / slotSize {
		at := int64(i) * slotSize
		if _, err := t.slots.ReadAt(s[:], at); err != nil {
			break // cannot happen: i is within the map
		}
		tid, tgid := binary.LittleEndian.Uint32(s[0:]), binary.LittleEndian.Uint32(s[4:])
		if tid == 0 || tid == slotFreed || tgid == 0 {
			continue
		}
		// Signal 0 is none: it asks whether the thread is there.
		if !errors.Is(unix.Tgkill(int(tgid), int(tid), 0), unix.ESRCH) {
			continue
		}
		// A new thread of this number may have it by now.
		var again [slotSize]byte
		if _, err := t.slots.ReadAt(again[:], at); err != nil || again != s {
			continue
		}
		binary.LittleEndian.PutUint32(s[64:], 0) // in no call
		binary.LittleEndian.PutUint32(s[0:], slotFreed)
		_, err := t.slots.WriteAt(s[64:68], at+64)
		if _, err2 := t.slots.WriteAt(s[0:4], at); err == nil && err2 == nil {
			freed++
		}
	}
	return freed
}

// Read waits for the next record until the deadline and returns
// os.ErrDeadlineExceeded when none came. The bytes are valid until the next
// call.
func (t *Tracer) Read(deadline time.Time) ([]byte, error) {
	t.ring.SetDeadline(deadline)
	if err := t.ring.ReadInto(&t.record); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return t.record.RawSample, nil
}

// Lost returns the programs' own counters of losses and errors by site; zero
// ones are left out.
func (t *Tracer) Lost() map[string]uint64 { return readStats(t.coll) }
