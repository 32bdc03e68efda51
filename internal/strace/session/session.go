package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
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
	// Stacks shows the kernel stacks of calls in flight at the attach (-k).
	Stacks bool
	// Duration ends the session; 0 means until ctx is done.
	Duration time.Duration
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
	Lost, LostReturns, LostOthers, NoRoom uint64
	// Hung is how many threads stayed inside a file call for longer than the
	// threshold until the end.
	Hung int
}

const (
	batch = 1 << 20
	pause = time.Millisecond
	// tail is how long a call may be the only news before its line is begun.
	tail = 20 * time.Millisecond
)

type session struct {
	opts   Options
	tracer *loader.Strace
	player *player
	tape   tape
	buf    []byte
}

// Run traces until ctx is done, the duration is over, or every target is gone.
func Run(ctx context.Context, opts Options) (Summary, error) {
	s := &session{opts: opts, tape: tape{w: opts.Recorder}, buf: make([]byte, 0, batch)}
	if err := s.start(); err != nil {
		return Summary{}, err
	}
	defer s.tracer.Close()
	if opts.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.Duration)
		defer cancel()
	}
	if err := s.first(ctx); err != nil {
		return s.summary(monotonic()), err
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
	lines.CacheFDs = cacheable(&o.Filter)
	lines.FDPath = s.fdPath
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
		RingSize: o.RingSize, Files: lines.FDPaths || len(lines.Paths) > 0,
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

// records shows what is in the buffer, and writes it down.
func (s *session) records() error {
	if len(s.buf) == 0 {
		return nil
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

// gone tells that no target and none of their children is left. A death may
// have been lost, so /proc has the last word.
func (s *session) gone() bool {
	if s.opts.Capture.Targets.All {
		return false
	}
	for _, t := range s.opts.Capture.Targets.List {
		if s.lives(t.PID) {
			return false
		}
	}
	return !slices.ContainsFunc(s.player.printer.Processes(), s.lives)
}

func (s *session) lives(pid int) bool {
	_, err := s.opts.Capture.Proc.Process(pid)
	return err == nil
}

// rest asks the programs for what no record told: calls that were the last
// before a loss, and deaths.
func (s *session) rest(now uint64) error {
	list, err := s.tracer.Threads()
	if err != nil {
		return err
	}
	for _, t := range list {
		r := restFrame(t)
		if err := s.tape.json(formatRest, now, r); err != nil {
			return err
		}
		if err := s.player.rest(r, now); err != nil {
			return err
		}
	}
	return nil
}

// finish shows what was still on its way, who is still inside a call, and what
// was lost.
func (s *session) finish() (Summary, error) {
	if err := s.tracer.Detach(); err != nil {
		return s.summary(monotonic()), err
	}
	for {
		var err error
		if s.buf, err = s.tracer.Drain(s.buf[:0], batch); err == nil {
			err = s.records()
		}
		if err != nil {
			return s.summary(monotonic()), err
		}
		if len(s.buf) == 0 {
			break
		}
	}
	now := monotonic()
	if err := s.rest(now); err != nil {
		return s.summary(now), err
	}
	sum := s.summary(now)
	if err := s.player.printer.Finish(now); err != nil {
		return sum, fmt.Errorf("output: %w", err)
	}
	if err := s.player.out.Flush(); err != nil {
		return sum, fmt.Errorf("output: %w", err)
	}
	if err := s.tape.answers(now); err != nil {
		return sum, err
	}
	return sum, s.tape.json(formatEnd, now, sum)
}

func (s *session) summary(now uint64) Summary {
	c := s.tracer.Counts()
	return Summary{
		Calls: c.Calls, Lines: s.player.printer.Lines(), Lost: c.LostEntries,
		LostReturns: c.LostExits, LostOthers: c.LostOthers, NoRoom: c.NoSlot,
		Hung: s.player.printer.Hung(uint64(s.opts.Capture.Judge.Threshold), now),
	}
}
