package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/capture"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// native is the table of the machine that is traced: this one.
const native = syscalls.Arch(runtime.GOARCH)

// MaxString is the most that is copied of data.
const MaxString = 4095

// Options configures Run.
type Options struct {
	Capture capture.Options
	Lines   strace.Options
	Filter  strace.Filter
	// Follow makes children of the targets targets.
	Follow bool
	// Stacks shows where calls are made, and where they sleep (-k).
	Stacks bool
	// Duration ends the session; 0 means until ctx is done.
	Duration time.Duration
	// FirstLook is how long the first lines may be waited for, those of calls in
	// flight. This field is optional: 5 s.
	FirstLook time.Duration
	// Ready is called once everything is attached. This field is optional.
	Ready func() error
	// Messages takes what the tool itself has to say.
	Messages io.Writer
	// Recorder writes the session down. This field is optional.
	Recorder *record.Writer
	// RingSize of the tracer's records in bytes. This field is optional.
	RingSize int
}

// Summary is what a session saw.
type Summary struct {
	Calls, Lines uint64
	// Lost calls have no line, LostReturns a line without a return value.
	Lost, LostReturns, LostOthers, LostStacks, NoRoom uint64
	// Busy of these were lost because of a thread that was preempted while it
	// wrote, not because the buffer was full.
	Busy uint64
	// Skipped counts the entries and returns that the kernel did not show the
	// programs, of whatever process: which lines they would have been is unknown.
	Skipped uint64
	// Degraded says why this kernel does so often; it may be empty.
	Degraded string
	// Hung is how many threads stayed inside a file call for longer than the
	// threshold until the end.
	Hung int
}

const (
	batch = 1 << 20
	pause = time.Millisecond
	// stackRing is the tracer's buffer with -k: stacks are large.
	stackRing = 64 << 20
	// tail is how long a call may be the only news before its line is begun.
	tail = 20 * time.Millisecond
)

type session struct {
	opts   Options
	tracer *loader.Strace
	player *player
	tape   tape
	buf    []byte
	stacks *stacks // nil without -k
}

// Run traces until ctx is done, the duration is over, or every target is gone.
func Run(ctx context.Context, opts Options) (Summary, error) {
	s := &session{opts: opts, tape: tape{w: opts.Recorder}, buf: make([]byte, 0, batch)}
	if err := s.start(); err != nil {
		return Summary{}, err
	}
	defer s.tracer.Close()
	defer s.closeStacks()
	if err := s.first(ctx); err != nil {
		return s.summary(monotonic()), err
	}
	if opts.Duration > 0 { // of lines: what comes before them takes as long as the machine lets it
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Duration)
		defer cancel()
	}
	err := s.loop(ctx)
	sum, failed := s.finish()
	return sum, errors.Join(err, failed)
}

func (s *session) start() error {
	o := &s.opts
	lines := o.Lines
	out := bufio.NewWriterSize(lines.Output, 256<<10)
	lines.Arch, lines.Output = native, out
	lines.WallOffset = wallOffset()
	lines.CacheFDs, lines.CacheDir = cacheable(&o.Filter, moving), cacheable(&o.Filter, leaving)
	lines.FDPath = s.fdPath
	if o.Stacks && !lines.Only {
		if o.RingSize == 0 {
			o.RingSize = stackRing
		}
		s.stacks = newStacks(o.Capture.Runner)
		lines.Stack, lines.Forget = s.stack, s.stacks.forget
	}
	s.player = &player{
		printer: strace.New(lines), out: out, messages: o.Messages, arch: native,
		filter: &o.Filter, quiet: lines.Quiet, stacks: o.Stacks,
	}
	if err := s.tape.start(&lines, monotonic()); err != nil {
		return err
	}
	memory := !lines.Only || len(lines.Paths) > 0
	limit := lines.StringLimit
	if limit == 0 {
		limit = 32
	}
	var err error
	s.tracer, err = loader.NewStrace(loader.StraceOptions{
		Native: rows(native, &o.Filter, memory), Compat: rows(native.Compat(), &o.Filter, memory),
		Unknown: o.Filter.Match("syscall_0x200"), All: o.Capture.Targets.All, FollowForks: o.Follow,
		DataLimit: min(limit, MaxString), NoSignals: lines.Only,
		RingSize: o.RingSize, Files: lines.FDPaths || len(lines.Paths) > 0, Stacks: s.stacks != nil,
	})
	if err != nil {
		return err
	}
	for _, t := range o.Capture.Targets.List {
		if err := s.tracer.SetTarget(t.PID, true); err != nil {
			s.tracer.Close()
			return err
		}
	}
	return nil
}

func wallOffset() int64 { return time.Now().UnixNano() - int64(monotonic()) }

func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: the clock exists and ts is ours
	}
	return uint64(ts.Nano())
}

// linkName is the link of a descriptor or of the working directory.
func linkName(fd int) string {
	if fd == syscalls.ATFDCWD {
		return "cwd"
	}
	return "fd/" + strconv.Itoa(fd)
}

// fdPath reads a link that answers at once.
func (s *session) fdPath(pid, fd int) string {
	if fd < 0 && fd != syscalls.ATFDCWD {
		return ""
	}
	name := linkName(fd)
	to, err := s.opts.Capture.Proc.Readlink(pid, name)
	if err != nil {
		to = ""
	}
	s.tape.lookup(pid, name, to)
	return to
}

// stack is strace.Options.Stack.
func (s *session) stack(c *strace.CallStack) []string {
	if s.stacks.capture == nil { // no first look, so nothing to name anything with
		return nil
	}
	list := s.stacks.lines(c)
	s.tape.stack(c, list)
	return list
}

// openStacks looks into the targets' programs before they may end.
func (s *session) openStacks() {
	if s.stacks == nil || s.stacks.capture == nil {
		return
	}
	for i, t := range s.opts.Capture.Targets.List {
		if i < mostStackChildren {
			s.stacks.child(t.PID)
		}
	}
}

func (s *session) closeStacks() {
	if s.stacks == nil {
		return
	}
	s.stacks.close()
	if s.stacks.capture != nil {
		s.stacks.capture.Close()
	}
}

// records shows what is in the buffer, and writes it down.
func (s *session) records() error {
	if len(s.buf) == 0 {
		return nil
	}
	if s.stacks != nil && s.stacks.capture != nil && !s.opts.Lines.Selects() {
		s.stacks.prepare(s.buf)
	}
	if err := s.player.records(s.buf); err != nil {
		return err
	}
	return s.tape.batch(formatRecords, s.buf, monotonic())
}

// loop drains until the ring is empty and then sleeps: records come without
// waking anybody.
func (s *session) loop(ctx context.Context) error {
	news, check := time.Now(), time.Now()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for ctx.Err() == nil {
		var err error
		if s.buf, err = s.tracer.Drain(s.buf[:0], batch); err != nil {
			return err
		}
		if err := s.records(); err != nil {
			return err
		}
		if len(s.buf) >= batch {
			continue
		}
		now := time.Now()
		if len(s.buf) > 0 {
			news = now
		} else if now.Sub(news) > tail {
			if err := s.idle(); err != nil {
				return err
			}
		}
		if err := s.player.out.Flush(); err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if now.Sub(check) > 200*time.Millisecond {
			check = now
			if err := s.tick(monotonic()); err != nil {
				return err
			}
			if s.gone() {
				return nil
			}
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// idle begins the line of the call in flight.
func (s *session) idle() error {
	if !s.player.printer.Waiting() {
		return nil
	}
	if err := s.player.printer.Idle(); err != nil {
		return err
	}
	return s.tape.batch(formatIdle, nil, monotonic())
}

// tick shows the rings of calls that have passed the threshold.
func (s *session) tick(now uint64) error {
	if s.opts.Lines.Ring == 0 {
		return nil
	}
	if err := s.player.printer.Tick(now); err != nil {
		return err
	}
	return s.tape.batch(formatTick, nil, now)
}
