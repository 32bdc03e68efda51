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
	"time"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/correlate"
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
