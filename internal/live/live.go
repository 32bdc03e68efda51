// Package live watches the targets over time.
//
// In: a capture session, a tracer where the kernel gives one, and a correlate
// tracker. Out: the tracker's events, in order, to a sink. It is the loop that
// drives them: ticks, records, targets that come and go. It must never judge,
// and never wait for a target.
package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Options configures Run.
type Options struct {
	Capture capture.Options
	// Queries are the targets as the user named them: a name is followed to
	// its new process.
	Queries []string
	// Mode is how to watch. This field is optional: ModeAuto.
	Mode Mode
	// Duration ends the session; 0 means until ctx is done.
	Duration time.Duration
	// Ready is called once everything is attached. This field is optional.
	Ready func() error
	// Sink takes the events.
	Sink func(*correlate.Event) error
	// Recorder writes a recording. This field is optional.
	Recorder *record.Writer
}

// Mode is how hangs are noticed between two looks at the threads.
type Mode string

// The modes. ModeAuto is ModeTrace for the targets somebody names, and
// ModeSample for all processes: hooks would cost each of them at every call.
const (
	ModeAuto   Mode = "auto"
	ModeSample Mode = "sample"
	ModeTrace  Mode = "trace"
)

// samples tells whether the looks are all there is.
func (m Mode) samples(targets capture.Targets) bool {
	return m == ModeSample || m == ModeAuto && targets.All
}

// tickOf is how often the threads are looked at: often enough that a hang is
// announced soon after its threshold, seldom enough to cost nothing.
func tickOf(threshold time.Duration) time.Duration {
	return min(max(threshold/2, 20*time.Millisecond), time.Second)
}

// longest is how long a look may take: what it asks children for ends then.
func longest(threshold time.Duration) time.Duration { return max(4*tickOf(threshold), time.Second) }

// session is one run.
type session struct {
	opts    Options
	capture *capture.Session
	tracer  *loader.Tracer
	tracker *correlate.Tracker
	clock   facts.Clock
	targets capture.Targets
	records chan []byte
	seeded  map[int]uint64 // tid -> start time
	swept   time.Time
	looked  time.Time // when the last look began
	late    uint64    // looks that could not be made in time
}

// Run watches until ctx is done or the duration is over. It returns how many
// hangs were seen.
func Run(ctx context.Context, opts Options) (int, error) {
	s, err := start(ctx, opts)
	if err != nil {
		return 0, err
	}
	defer s.close()
	if opts.Ready != nil {
		if err := opts.Ready(); err != nil {
			return 0, err
		}
	}
	if opts.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Duration)
		defer cancel()
	}
	if err := s.first(ctx); err != nil {
		return s.tracker.Hung(), err
	}
	if err := s.loop(ctx); err != nil {
		return s.tracker.Hung(), err
	}
	return s.tracker.Hung(), s.finish()
}

func start(ctx context.Context, opts Options) (*session, error) {
	s := &session{opts: opts, targets: opts.Capture.Targets, records: make(chan []byte, 256), seeded: make(map[int]uint64)}
	s.tracker = correlate.NewTracker(opts.Capture.Judge)
	opts.Capture.Judge = s.tracker.Options()
	if opts.Mode == "" {
		opts.Mode = ModeAuto
	}
	sample := opts.Mode.samples(s.targets)
	opts.Capture.Children, opts.Capture.Again = sample, true
	var err error
	if s.capture, err = capture.New(ctx, opts.Capture); err != nil {
		return nil, err
	}
	s.capture.Prepare()
	s.clock = s.capture.Clock()
	if s.capture.Backend() != facts.BackendBPF {
		return s, nil
	}
	if sample {
		return s, s.notice("mode sample: looking every %s, with no hook on any call; what is shorter than two looks is not seen",
			tickOf(opts.Capture.Judge.Threshold))
	}
	s.tracer, err = loader.NewTracer(loader.TraceOptions{
		Threshold: opts.Capture.Judge.Threshold, Classes: classes(), HZ: s.clock.HZ, All: s.targets.All, FollowForks: true,
	})
	if err != nil && opts.Capture.Backend == capture.BackendBPF {
		s.capture.Close()
		return nil, err
	}
	if err != nil {
		return s, s.notice("no tracer, hangs are found by looking every %s: %v", tickOf(opts.Capture.Judge.Threshold), err)
	}
	for _, t := range s.targets.List {
		if err := s.tracer.SetTarget(t.PID, true); err != nil {
			s.close()
			return nil, err
		}
	}
	age := opts.Capture.Judge.Threshold
	s.capture.SetInFlight(func(c facts.Clock) facts.Pass { return s.tracer.InFlight(age/2, c) })
	return s, nil
}

func (s *session) close() {
	if s.tracer != nil {
		s.tracer.Close()
	}
	s.capture.Close()
}

// classes tells the tracer what to do with each call: keep the entry of those
// that touch files, and take sleeps in the others for what they are.
func classes() [loader.Classes]uint8 {
	var table [loader.Classes]uint8
	for _, c := range syscalls.All(native) {
		if c.NR < 0 || c.NR >= loader.Classes {
			continue
		}
		switch {
		case correlate.Traced(c, [6]uint64{}):
			table[c.NR] = loader.ClassTraced
		case c.Class == syscalls.ClassWait:
			table[c.NR] = loader.ClassWaits
			continue
		default:
			continue
		}
		if paths := c.PathArgs([6]uint64{}); len(paths) > 0 {
			table[c.NR] |= uint8(paths[0].Arg + 1)
		}
	}
	return table
}

// first says what hangs already.
func (s *session) first(ctx context.Context) error {
	if s.tracer != nil {
		go s.read(ctx)
		for _, d := range s.tracer.Degraded() {
			if err := s.notice("%s", d); err != nil {
				return err
			}
		}
	}
	for _, t := range s.targets.List {
		if t.Matched != "" {
			if err := s.notice("%s (pid %d)", t.Matched, t.PID); err != nil {
				return err
			}
		}
	}
	snap, err := s.capture.Snapshot(ctx)
	if errors.Is(err, capture.ErrNoTarget) {
		return nil // it ended meanwhile: the first tick says so
	}
	if err != nil {
		return err
	}
	for _, d := range snap.Degraded {
		if err := s.notice("%s", d); err != nil {
			return err
		}
	}
	return s.observe(snap)
}

// read hands the ring's records to the loop. The ring is read with a deadline
// so that the end of the session is noticed.
func (s *session) read(ctx context.Context) {
	defer close(s.records)
	for ctx.Err() == nil {
		rec, err := s.tracer.Read(time.Now().Add(100 * time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return // closed
		}
		s.records <- append([]byte(nil), rec...)
	}
}

func (s *session) loop(ctx context.Context) error {
	tick := time.NewTicker(tickOf(s.opts.Capture.Judge.Threshold))
	defer tick.Stop()
	records := s.records
	if s.tracer == nil {
		records = nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case rec, ok := <-records:
			if !ok {
				records = nil
				continue
			}
			if err := s.ring(s.batch(rec)); err != nil {
				return err
			}
		case <-tick.C:
			// What ended tells more than that it is missing: where a look takes
			// longer than a tick, select would let looks overtake records.
			if err := s.waiting(records); err != nil {
				return err
			}
			if err := s.tick(ctx); err != nil {
				return err
			}
			if s.over() {
				return nil
			}
		}
	}
}

// waiting takes in the records that have arrived.
func (s *session) waiting(records <-chan []byte) error {
	select {
	case rec, ok := <-records:
		if ok {
			return s.ring(s.batch(rec))
		}
	default:
	}
	return nil
}

// batch takes what else has arrived.
func (s *session) batch(rec []byte) []byte {
	const most = 1 << 20
	for len(rec) < most {
		select {
		case more, ok := <-s.records:
			if !ok {
				return rec
			}
			rec = append(rec, more...)
		default:
			return rec
		}
	}
	return rec
}

// ring judges a batch of records.
func (s *session) ring(data []byte) error {
	pass := facts.Pass{Format: facts.FormatBPFRing, AtNS: s.clock.MonoNS, Data: data}
	r, err := events.DecodeRing(pass, s.clock)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, c := range r.Changes {
		if err := s.change(c); err != nil {
			return err
		}
	}
	var addrs []uint64
	for i := range r.Blocks {
		addrs = append(addrs, r.Blocks[i].Stack...)
	}
	names := s.capture.Names(addrs)
	if err := s.recordRaw(pass, addrs, names); err != nil {
		return err
	}
	return s.emit(s.tracker.Records(r, names)...)
}

// recordRaw records what a replay needs to judge a batch as it is judged here.
// It comes after the notices that the batch gave rise to, as in the output.
func (s *session) recordRaw(pass facts.Pass, addrs []uint64, names map[uint64]string) error {
	if s.opts.Recorder == nil {
		return nil
	}
	used := make(map[uint64]string)
	for _, a := range addrs {
		if name := names[a]; name != "" {
			used[a] = name
		}
	}
	if len(used) > 0 {
		if err := s.opts.Recorder.Symbols(used); err != nil {
			return err
		}
	}
	return s.opts.Recorder.Raw(pass.Format, pass.AtNS, pass.Data)
}

// tick looks at the threads once more.
func (s *session) tick(ctx context.Context) error {
	if err := s.follow(); err != nil {
		return err
	}
	s.punctual(time.Now())
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest(s.opts.Capture.Judge.Threshold))
	defer cancel()
	snap, err := s.capture.Tick(bounded)
	if errors.Is(err, capture.ErrNoTarget) {
		return nil // the targets are gone; follow looks for new ones
	}
	if err != nil {
		return err
	}
	return s.observe(snap)
}

// punctual counts the looks that were due since the last one, where that is
// longer ago than a look may take: the machine gave the session no CPU, or
// nobody took its output. Looks are all there is where nothing is hooked.
func (s *session) punctual(now time.Time) {
	threshold := s.opts.Capture.Judge.Threshold
	if ago := now.Sub(s.looked); !s.looked.IsZero() && ago > longest(threshold)+tickOf(threshold) {
		s.late += uint64(ago/tickOf(threshold)) - 1
	}
	s.looked = now
}

// lost counts what was missed so far, by place.
func (s *session) lost() map[string]uint64 {
	switch {
	case s.tracer != nil:
		return s.tracer.Lost()
	case s.late > 0:
		return map[string]uint64{"looks": s.late}
	}
	return nil
}

func (s *session) observe(snap *facts.Snapshot) error {
	s.clock = snap.Clock
	if s.opts.Recorder != nil {
		if err := s.opts.Recorder.Snapshot(snap); err != nil {
			return err
		}
	}
	list, err := s.tracker.Observe(snap)
	if err != nil {
		return err
	}
	s.seed()
	s.sweep()
	if err := s.sampled(); err != nil {
		return err
	}
	lost := s.lost()
	if e := s.tracker.Lost(snap.TakenAt, lost); e != nil {
		list = append(list, e)
		if err := s.recordLost(snap.TakenAt, lost); err != nil {
			return err
		}
	}
	return s.emit(list...)
}

// seed makes the tracer notice the return of calls that began before it.
func (s *session) seed() {
	if s.tracer == nil {
		return
	}
	seeded := make(map[int]uint64)
	for _, t := range s.tracker.Watched() {
		if t.SyscallNR < 0 || !t.HasRegs || t.Compat {
			continue
		}
		seeded[t.TID] = t.StartBootNS
		if s.seeded[t.TID] == t.StartBootNS {
			continue
		}
		// Without it the end is still seen, only not its return value.
		_ = s.tracer.Seed(t.PID, t.TID, t.SyscallNR, t.Args)
	}
	s.seeded = seeded
}

// sweepEvery is how often the tracer's slots are looked through for those of the
// dead.
const sweepEvery = 10 * time.Second

func (s *session) sweep() {
	if s.tracer != nil && time.Since(s.swept) > sweepEvery {
		s.tracer.Sweep()
		s.swept = time.Now()
	}
}

func (s *session) recordLost(at time.Time, counts map[string]uint64) error {
	if s.opts.Recorder == nil {
		return nil
	}
	return s.opts.Recorder.Lost(at.UnixNano(), counts)
}

// notice tells and records a sentence.
func (s *session) notice(format string, args ...any) error {
	at := time.Now()
	e := s.tracker.Notice(at, format, args...)
	if s.opts.Recorder != nil {
		if err := s.opts.Recorder.Notice(at.UnixNano(), e.Notice); err != nil {
			return err
		}
	}
	return s.emit(e)
}

func (s *session) emit(list ...*correlate.Event) error {
	for _, e := range list {
		if e == nil {
			continue
		}
		if err := s.opts.Sink(e); err != nil {
			return err
		}
	}
	return nil
}

// finish takes in what is left and closes with a summary.
func (s *session) finish() error {
	if s.tracer != nil {
		s.drain()
	}
	// The last counts, grown or not, mark the end in a recording.
	at := time.Now()
	s.punctual(at)
	lost := s.lost()
	if err := s.recordLost(at, lost); err != nil {
		return err
	}
	return s.emit(s.tracker.Lost(at, lost), s.tracker.Summary(at))
}

// drain takes what the reader has handed over already; it ends by itself.
func (s *session) drain() {
	timeout := time.After(time.Second)
	for {
		select {
		case rec, ok := <-s.records:
			if !ok {
				return
			}
			if err := s.ring(rec); err != nil {
				return
			}
		case <-timeout:
			return
		}
	}
}
