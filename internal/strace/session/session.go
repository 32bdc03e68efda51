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
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/loader"
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
	opts    Options
	tracer  *loader.Strace
	printer *strace.Printer
	out     *bufio.Writer
	seen    map[int]bool // threads with a record before the first lines
	buf     []byte
}

// Run traces until ctx is done, the duration is over, or every target is gone.
func Run(ctx context.Context, opts Options) (Summary, error) {
	s := &session{opts: opts, seen: make(map[int]bool), buf: make([]byte, 0, batch)}
	s.out = bufio.NewWriterSize(opts.Lines.Output, 256<<10)
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
		return s.summary(), err
	}
	err := s.loop(ctx)
	return s.summary(), errors.Join(err, s.finish())
}

func (s *session) start() error {
	o := &s.opts
	lines := o.Lines
	lines.Arch, lines.Output = native, s.out
	lines.WallOffset = wallOffset()
	lines.CacheFDs = cacheable(&o.Filter)
	lines.FDPath = s.fdPath
	s.printer = strace.New(lines)
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

// fdPath reads a link that answers at once.
func (s *session) fdPath(pid, fd int) string {
	name := "cwd"
	if fd != syscalls.ATFDCWD {
		if fd < 0 {
			return ""
		}
		name = "fd/" + strconv.Itoa(fd)
	}
	to, err := s.opts.Capture.Proc.Readlink(pid, name)
	if err != nil {
		return ""
	}
	return to
}

// records decodes and shows what is in the buffer.
func (s *session) records() error {
	var r events.Strace
	for data := s.buf; len(data) > 0; {
		var err error
		if data, err = events.NextStrace(data, &r); err != nil {
			return err
		}
		if err := s.printer.Record(&r); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	}
	return nil
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
			if err := s.printer.Idle(); err != nil {
				return err
			}
		}
		if err := s.out.Flush(); err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if now.Sub(check) > 200*time.Millisecond {
			check = now
			if err := s.printer.Tick(monotonic()); err != nil {
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

// gone tells that no target is left.
func (s *session) gone() bool {
	if s.opts.Capture.Targets.All || s.printer.Threads() > 0 {
		return false
	}
	for _, t := range s.opts.Capture.Targets.List {
		if _, err := s.opts.Capture.Proc.Process(t.PID); err == nil {
			return false
		}
	}
	return true
}

// finish shows what was still on its way, who is still inside a call, and what
// was lost.
func (s *session) finish() error {
	if err := s.tracer.Detach(); err != nil {
		return err
	}
	for {
		var err error
		if s.buf, err = s.tracer.Drain(s.buf[:0], batch); err != nil {
			return err
		}
		if len(s.buf) == 0 {
			break
		}
		if err := s.records(); err != nil {
			return err
		}
	}
	if err := s.printer.Finish(monotonic()); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

func (s *session) summary() Summary {
	c := s.tracer.Counts()
	return Summary{
		Calls: c.Calls, Lines: s.printer.Lines(), Lost: c.LostEntries,
		LostReturns: c.LostExits, LostOthers: c.LostOthers, NoRoom: c.NoSlot,
		Hung: s.printer.Hung(uint64(s.opts.Capture.Judge.Threshold), monotonic()),
	}
}
