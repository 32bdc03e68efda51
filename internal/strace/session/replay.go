package session

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// replay shows a recording.
type replay struct {
	opts    Options
	player  *player
	links   links
	stacks  map[int][][]string // by thread, in their order
	attach  attachFrame
	at      uint64
	sum     Summary
	started bool
}

// Replay shows a recording of a session as it was shown then. Of the options
// Lines, Filter, Stacks, Capture.Judge.Threshold and Messages matter.
func Replay(rd *record.Reader, opts Options) (Summary, error) {
	r := &replay{opts: opts, links: make(links)}
	for {
		f, err := rd.Next()
		if err == nil {
			err = r.frame(f)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if r.started {
			err = errors.Join(err, r.player.out.Flush())
		}
		return r.sum, err
	}
}

func (r *replay) frame(f *record.Frame) error {
	if f.Kind == record.KindRaw && f.Format == formatStart {
		return r.start(f.Data)
	}
	if !r.started {
		return fmt.Errorf("%w: %s frame before the start of the session", record.ErrDamaged, f.Kind)
	}
	switch f.Kind {
	case record.KindSnapshot:
		seen := make(map[int]bool)
		for _, tid := range r.attach.Seen {
			seen[tid] = true
		}
		return r.player.attached(f.Snapshot, seen, r.at)
	case record.KindRaw:
		return r.raw(f)
	}
	return nil
}

func (r *replay) raw(f *record.Frame) error {
	now := uint64(f.AtNS)
	switch f.Format {
	case formatAttach:
		r.attach, r.at = attachFrame{}, now
		return damaged(json.Unmarshal(f.Data, &r.attach))
	case formatLinks:
		var list []facts.Link
		if err := damaged(json.Unmarshal(f.Data, &list)); err != nil {
			return err
		}
		r.links.add(list)
	case formatStacks:
		var list []stackFrame
		if err := damaged(json.Unmarshal(f.Data, &list)); err != nil {
			return err
		}
		r.stacks = make(map[int][][]string)
		for _, s := range list {
			r.stacks[s.TID] = append(r.stacks[s.TID], s.Lines)
		}
	case formatRecords:
		return r.player.records(f.Data)
	case formatIdle:
		return r.player.printer.Idle()
	case formatTick:
		return r.player.printer.Tick(now)
	case formatRest:
		var t restFrame
		if err := damaged(json.Unmarshal(f.Data, &t)); err != nil {
			return err
		}
		return r.player.rest(t, now)
	case formatEnd:
		if err := damaged(json.Unmarshal(f.Data, &r.sum)); err != nil {
			return err
		}
		return r.player.printer.Finish(now)
	}
	return nil
}

func damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", record.ErrDamaged, err)
}

func (r *replay) start(data []byte) error {
	var s startFrame
	if err := damaged(json.Unmarshal(data, &s)); err != nil {
		return err
	}
	lines := r.opts.Lines
	lines.Arch, lines.WallOffset, lines.CacheFDs, lines.CacheDir = syscalls.Arch(s.Arch), s.WallOffset, s.CacheFDs, s.CacheDir
	if !lines.Arch.Known() {
		return fmt.Errorf("%w: architecture %q", record.ErrDamaged, s.Arch)
	}
	lines.FDPath = func(pid, fd int) string { return r.links.next(pid, linkName(fd)) }
	if r.opts.Stacks && !lines.Only {
		lines.Stack = r.stack
	}
	out := bufio.NewWriterSize(lines.Output, 256<<10)
	lines.Output = out
	r.player = &player{
		printer: strace.New(lines), out: out, messages: r.opts.Messages, arch: lines.Arch,
		filter: &r.opts.Filter, quiet: lines.Quiet, stacks: r.opts.Stacks,
	}
	r.started = true
	return nil
}

// stack gives what stood below the line of a call.
func (r *replay) stack(c *strace.CallStack) []string {
	list := r.stacks[c.TID]
	if len(list) == 0 {
		return nil
	}
	r.stacks[c.TID] = list[1:]
	return list[0]
}
