package expendable

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// extensions is how often a deadline, or the grace of a killed child, is put off for
// one that is at work.
const extensions = 4

// bounded ends with ErrDeadline once the deadline has passed and the child does
// not get on. What the deadline is there for is a child that is blocked; on a
// node without a CPU to spare one that is not has to have its turn, too, as long
// as the caller's own context lasts.
func (r *Runner) bounded(ctx context.Context, p *process, deadline time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		timer := time.NewTimer(deadline)
		defer timer.Stop()
		for left := extensions; ; left-- {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if left == 0 || !r.works(p) {
				cancel(ErrDeadline)
				return
			}
			timer.Reset(deadline)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// works tells whether a child runs or waits for a CPU, or has said what this
// process had no time to read.
func (r *Runner) works(p *process) bool {
	return unread(p) || r.opts.Proc.Runnable(p.pid)
}

func unread(p *process) bool {
	conn, err := p.answers.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = conn.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return err == nil && n > 0
}
