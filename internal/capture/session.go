package capture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// Options configures a Session.
type Options struct {
	Proc *proc.FS
	// Sys is where sysfs is mounted: "/sys".
	Sys string
	// Runner starts the expendable children.
	Runner *expendable.Runner
	// Backend is BackendAuto, BackendBPF or BackendProc.
	Backend string
	Targets Targets
	// KubeletRoot overrides what the running kubelet says. This field is
	// optional.
	KubeletRoot string
	// Gap is the time between the two passes of a Snapshot. This field is
	// optional: 20 ms, or the threshold with the proc backend, which knows no
	// other way to tell how long a thread is blocked.
	Gap time.Duration
	// Threshold and Kinds are those of the judgement: they decide what is
	// worth reading.
	Judge correlate.Options
	// Children looks at the children of targets, too: the caller makes them
	// targets. This field is optional, and of the bpf backend only.
	Children bool
	// Again tells that many looks will follow: then threads that keep waiting
	// for no file system are not looked into again and again. This field is
	// optional.
	Again bool
	// InFlight gives the live tracer's calls in flight. This field is
	// optional.
	InFlight func(facts.Clock) facts.Pass
	// CRISockets are the container runtimes to ask for pods. This field is
	// optional: the known places.
	CRISockets []string
	// KubeletPods is the URL of the kubelet's list of pods, or NoKubeletPods.
	// This field is optional: the read-only port, where this process is in the
	// node's network namespace.
	KubeletPods string
	// ProbeNetwork allows connections with the servers that threads wait for.
	ProbeNetwork bool
	// KernelLog is where the kernel's log is read. This field is optional:
	// /dev/kmsg.
	KernelLog string

	newSnapshotter func(loader.SnapshotOptions) (*loader.Snapshotter, error) // of a test
}

func (o *Options) kernelLogFile() string {
	if o.KernelLog != "" {
		return o.KernelLog
	}
	return "/dev/kmsg"
}

// Session looks at the targets, once or again and again.
type Session struct {
	opts    Options
	backend backend
	cache   cache
	last    *facts.Pass

	walker    *loader.Walker
	loading   <-chan loaded[*loader.Walker] // while it is loaded
	newWalker func(*loader.Types) (*loader.Walker, error)
	types     *loader.Types // nil: read anew
	noWalker  error         // why there is none

	log    *storage.KernelLog
	noLog  error
	logged <-chan logRead // while it is read
}

// New chooses the backend and loads it. Where ctx has a deadline, programs that
// are not loaded in half of the time are done without.
func New(ctx context.Context, opts Options) (*Session, error) {
	s := &Session{opts: opts, cache: newCache(), newWalker: loader.NewWalker}
	opts.Runner.Warm()
	if !opts.Again { // what is found now may be long dead when a hang comes
		s.findKubelet()
	}
	if opts.Backend != BackendProc {
		s.types = loader.NewTypes()
	}
	b, err := newBackend(ctx, &s.opts, s.types, s.ask)
	if err != nil {
		return nil, err
	}
	if opts.Again { // no hang may come for days
		s.types = nil
	}
	s.backend = b
	return s, nil
}

// Close frees what New loaded.
func (s *Session) Close() error {
	var err error
	if s.logged != nil {
		<-s.logged // which takes no longer than the log is long
	}
	if s.log != nil {
		err = s.log.Close()
	}
	s.opts.Runner.Release()
	return errors.Join(err, s.closeWalker(), s.backend.close())
}

// Backend is the name of the backend in use.
func (s *Session) Backend() string { return s.backend.name() }

// SetTargets replaces the processes to look at; only possible if the session
// was not started for all.
func (s *Session) SetTargets(t Targets) error {
	s.opts.Targets = t
	return s.backend.setTargets(t)
}

// SetInFlight says where calls in flight come from, from the next tick on.
func (s *Session) SetInFlight(f func(facts.Clock) facts.Pass) { s.opts.InFlight = f }

// Names names kernel addresses.
func (s *Session) Names(addrs []uint64) map[uint64]string {
	var unknown []uint64
	for _, a := range addrs {
		if _, ok := s.cache.symbols[a]; !ok {
			unknown = append(unknown, a)
		}
	}
	if len(unknown) > 0 {
		if names, err := s.backend.symbols(unknown); err == nil {
			maps.Copy(s.cache.symbols, names)
		}
	}
	return s.cache.symbols
}

// Prepare does what the first hang would else have to wait for: kernels before
// 5.14 name no addresses, and their table of symbols takes a while to read.
func (s *Session) Prepare() {
	_, _ = s.backend.symbols([]uint64{1}) // whoever needs names says what is missing
}

// Clock reads the clocks, calibrated where the backend can.
func (s *Session) Clock() facts.Clock {
	c, _ := s.opts.Proc.Clock()
	_ = s.backend.clock(&c) // without it "since" is a weaker bound, and says so
	return c
}

// calibrated is how long the scheduler's clock is taken to keep its distance
// from CLOCK_MONOTONIC, which is steered by parts per million.
const calibrated = 10 * time.Second

// calibrate fills in the scheduler's clock.
func (s *Session) calibrate(c *facts.Clock) error {
	if known := &s.cache.clock; known.SchedCalibrated && c.MonoNS-known.MonoNS < int64(calibrated) {
		c.SchedToMonoNS, c.SchedErrorNS, c.SchedCalibrated = known.SchedToMonoNS, known.SchedErrorNS, true
		c.HZ, c.JiffiesRef, c.JiffiesMonoNS = known.HZ, known.JiffiesRef, known.JiffiesMonoNS
		return nil
	}
	err := s.backend.clock(c)
	if err == nil {
		s.cache.clock = *c
	}
	return err
}

// gap is the time between two passes of one snapshot.
func (s *Session) gap() time.Duration {
	switch {
	case s.opts.Gap > 0:
		return s.opts.Gap
	case s.backend.name() == facts.BackendProc:
		return max(s.opts.Judge.Threshold, 50*time.Millisecond)
	}
	return 20 * time.Millisecond
}

// Snapshot makes two passes and reads what the suspects need; where the first
// shows no thread in question, a second could not make one a hang. It returns
// what it has when ctx ends, naming what is missing; an error means that not
// even one pass was possible.
func (s *Session) Snapshot(ctx context.Context) (*facts.Snapshot, error) {
	begin := time.Now()
	first, err := s.backend.pass(ctx)
	if err != nil {
		return nil, err
	}
	var snap *facts.Snapshot
	if s.quiet(first) {
		snap = s.look(ctx, begin, first)
	} else {
		s.startWalker()
		s.opts.Runner.Warm() // pods and paths are asked for at once
		if snap, err = s.second(ctx, first); err != nil {
			return nil, err
		}
	}
	if !s.opts.Targets.All && len(s.last.Data) == 0 {
		return nil, s.ended()
	}
	snap.TookMS = time.Since(begin).Milliseconds()
	return snap, nil
}

// second makes a pass some time after the first.
func (s *Session) second(ctx context.Context, first facts.Pass) (*facts.Snapshot, error) {
	gap := s.gap()
	until, bounded := ctx.Deadline()
	short := bounded && time.Until(until) < 2*gap
	if short {
		gap = time.Until(until) / 2
	}
	select {
	case <-time.After(gap):
	case <-ctx.Done():
	}
	s.last = &first
	snap, err := s.Tick(ctx)
	if err == nil && short {
		snap.Degraded = append(snap.Degraded, fmt.Sprintf("the deadline left %s between the two passes", gap.Round(time.Millisecond)))
	}
	return snap, err
}

// ended says of targets that were found, and show no thread, why.
func (s *Session) ended() error {
	var names []string
	for _, t := range s.opts.Targets.List {
		if _, err := s.opts.Proc.Process(t.PID); err == nil && s.backend.name() == facts.BackendBPF {
			return fmt.Errorf("%s (pid %d): the kernel's task iterator does not show it; try: --backend proc", t.Query, t.PID)
		}
		names = append(names, fmt.Sprintf("%s (pid %d)", t.Query, t.PID))
	}
	return fmt.Errorf("%s ended while hangtrace looked at it: %w", strings.Join(names, ", "), ErrNoTarget)
}

// quiet tells that a pass shows no thread that may hang.
func (s *Session) quiet(pass facts.Pass) bool {
	snap := &facts.Snapshot{Backend: s.backend.name(), Node: s.cache.node(s.opts.Proc), Passes: []facts.Pass{pass}}
	s.symbols(snap, func(string, error) {}) // said of the next look
	hangs, err := correlate.MayHang(snap, s.opts.Judge.Decoded)
	return err == nil && !hangs
}

// Tick makes one more pass and compares it with the one before.
func (s *Session) Tick(ctx context.Context) (*facts.Snapshot, error) {
	begin := time.Now()
	pass, err := s.backend.pass(ctx)
	if err != nil {
		return nil, err
	}
	return s.look(ctx, begin, pass), nil
}

// look makes a snapshot of the last pass and the one before.
func (s *Session) look(ctx context.Context, begin time.Time, pass facts.Pass) *facts.Snapshot {
	snap := &facts.Snapshot{Backend: s.backend.name(), Node: s.cache.node(s.opts.Proc)}
	snap.Clock, snap.TakenAt = s.opts.Proc.Clock()
	snap.Targets, snap.AllProcesses, snap.KernelThreads = s.opts.Targets.List, s.opts.Targets.All, s.opts.Targets.KernelThreads
	snap.OwnMountNS, _ = s.opts.Proc.Namespace(os.Getpid(), "mnt")
	if err := s.calibrate(&snap.Clock); err != nil && s.backend.name() == facts.BackendBPF {
		snap.Degraded = append(snap.Degraded, "blocked since when is known only as far as hangtrace watched: "+err.Error())
	}
	if s.last != nil {
		snap.Passes = append(snap.Passes, *s.last)
	}
	snap.Passes = append(snap.Passes, pass)
	s.last = &pass
	if s.opts.InFlight != nil {
		snap.InFlight = append(snap.InFlight, s.opts.InFlight(snap.Clock))
	}
	snap.Degraded = append(snap.Degraded, s.backend.degraded()...)
	s.gather(ctx, snap)
	if s.opts.Again {
		s.rest(snap)
	}
	s.cache.turn()
	if s.opts.Again {
		s.opts.Runner.Release()
	}
	for _, c := range s.opts.Runner.Abandoned() {
		snap.Skipped = append(snap.Skipped, c.Skipped())
	}
	snap.TookMS = time.Since(begin).Milliseconds()
	return snap
}
