package expendable

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Kept is a child that lives for many requests, one after the other: to start
// one takes longer than most answers. It is for one goroutine. Once a request
// fails in it, it is ended, and every further one fails as that did.
type Kept struct {
	runner *Runner
	p      *process
	in     *bufio.Reader
	index  int
	err    error
}

// ErrLong says that an answer is longer than any may be.
var ErrLong = errors.New("answer too long")

// Keep starts a child. The key is as for Do.
func (r *Runner) Keep(key string) (*Kept, error) {
	p, err := r.begin(key, key)
	if err != nil {
		return nil, err
	}
	k := &Kept{runner: r, p: p, in: bufio.NewReaderSize(p.answers, 64<<10), index: p.first}
	if err := k.send(hello{Name: childName(key), Proc: r.opts.Proc.Root(), First: p.first}); err != nil {
		k.end(err)
		return nil, k.err
	}
	return k, nil
}

// Ask has the child do one request. What the child says of it, and not why the
// child failed, is in the answer's Err.
func (k *Kept) Ask(ctx context.Context, req Request, deadline time.Duration) (Answer, error) {
	if k.err != nil {
		return Answer{}, k.err
	}
	k.runner.mu.Lock()
	k.p.doing = req.String()
	k.runner.mu.Unlock()
	until := time.Now().Add(deadline)
	_ = k.p.requests.SetDeadline(until) // pipes have deadlines
	_ = k.p.answers.SetDeadline(until)
	stop := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = k.p.requests.SetDeadline(past)
		_ = k.p.answers.SetDeadline(past)
	})
	defer stop()
	a, err := k.ask(req)
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrDeadline
	}
	k.end(fmt.Errorf("%s: %w", req, err))
	return Answer{}, k.err
}

func (k *Kept) ask(req Request) (a Answer, err error) {
	if err := k.send(req); err != nil {
		return a, err
	}
	for {
		line, err := k.line()
		if err != nil {
			return a, err
		}
		var part Answer
		if err := json.Unmarshal(line, &part); err != nil || part.Index != k.index {
			return a, fmt.Errorf("child %d says %.200q", k.p.pid, line)
		}
		a.add(part)
		if !part.Partial {
			k.index++
			return a, nil
		}
	}
}

// line reads one line of at most lineLimit.
func (k *Kept) line() ([]byte, error) {
	var long []byte
	for {
		part, err := k.in.ReadSlice('\n')
		if err == nil && long == nil {
			return part, nil
		}
		long = append(long, part...)
		switch {
		case len(long) > lineLimit:
			return nil, ErrLong
		case err == nil:
			return long, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("child %d ended early", k.p.pid)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (k *Kept) send(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = k.p.requests.Write(append(text, '\n'))
	return err
}

func (k *Kept) end(why error) {
	if k.err != nil {
		return
	}
	k.err = why
	k.p.hangUp()
	k.runner.end(k.p)
}

// Close ends the child; one that does not die is among Runner.Abandoned.
func (k *Kept) Close() { k.end(os.ErrClosed) }
