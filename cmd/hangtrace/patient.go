package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errGivenUp says that the reader of the output took nothing any more when it
// was time to end.
var errGivenUp = errors.New("output given up: nobody reads it")

// endGrace is how long the end waits for a reader, in all.
const endGrace = time.Second

// outputError says of an output that could not be written what to try; of a
// reader that left ("| head -1") nothing need be said.
func outputError(err error) error {
	if err == nil || errors.Is(err, errGivenUp) || errors.Is(err, syscall.EPIPE) {
		return err
	}
	return fmt.Errorf("output: %w; try: --out with a file elsewhere", err)
}

// patient waits for a slow reader, as a stopped terminal or a pager is one, for
// as long as it takes, but not once it is time to end: a signal or the end of
// --duration must end a program that has hooks in the kernel. What there is to say
// at the end may take its time to be made; only the waits for the reader count.
type patient struct {
	w    io.Writer
	over chan struct{}
	once sync.Once
	left atomic.Int64 // of endGrace, ns
}

// patiently wraps what may keep a writer waiting: anything but a regular file.
func patiently(ctx context.Context, w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return w
		}
	}
	p := &patient{w: w, over: make(chan struct{})}
	p.left.Store(int64(endGrace))
	context.AfterFunc(ctx, func() { endAfter(p, 0) })
	return p
}

// endAfter tells a writer that it is time to end once d is over.
func endAfter(w io.Writer, d time.Duration) {
	if p, ok := w.(*patient); ok {
		time.AfterFunc(d, func() { p.once.Do(func() { close(p.over) }) })
	}
}

func (p *patient) Write(b []byte) (int, error) {
	if p.left.Load() <= 0 {
		return 0, errGivenUp
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	own := append([]byte(nil), b...) // it may be written when b is not ours any more
	go func() {
		n, err := p.w.Write(own)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-p.over:
	}
	began := time.Now()
	defer func() { p.left.Add(-int64(time.Since(began))) }()
	limit := time.NewTimer(time.Duration(p.left.Load()))
	defer limit.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-limit.C:
		return 0, errGivenUp
	}
}
