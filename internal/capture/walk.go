package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// startWalker begins to load what reads the kernel's own structures, at the
// first suspect and never before: a node on which nothing hangs pays nothing.
// The kernel checks its programs for a second, and on a busy node for ten times
// that, so it is loaded beside everything else.
func (s *Session) startWalker() {
	if !s.walks() || s.walker != nil || s.loading != nil {
		return
	}
	load, types := s.newWalker, s.types
	s.types = nil
	s.loading = background(func() (*loader.Walker, error) { return load(types) })
}

// walks tells whether this session may have a walker.
func (s *Session) walks() bool { return s.backend.name() == facts.BackendBPF && s.noWalker == nil }

// walk reads who waits for whom from the kernel's own structures.
func (s *Session) walk(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) {
	if !s.walks() {
		if s.noWalker != nil {
			snap.Degraded = append(snap.Degraded, s.noWalker.Error())
		}
		return
	}
	if err := s.awaitWalker(ctx); err != nil {
		snap.Degraded = append(snap.Degraded, err.Error())
		return
	}
	opts := loader.WalkOptions{}
	for _, p := range suspects {
		opts.Inodes = opts.Inodes || p.Lock
	}
	if !s.walkTwice(snap, opts) {
		return
	}
	if !opts.Inodes && correlate.NeedsInodes(snap, suspects, s.opts.Judge.Decoded) {
		opts.Inodes = true
		if !s.walkTwice(snap, opts) {
			return
		}
	}
	snap.Degraded = append(snap.Degraded, s.walker.Degraded()...)
}

// awaitWalker waits until it is loaded. What that needs beyond its share of the
// time that is left is a later tick's gain.
func (s *Session) awaitWalker(ctx context.Context) error {
	const whoIsUnknown = "who waits for whom is known by stacks only: "
	if s.walker != nil {
		return nil
	}
	s.startWalker()
	if until, ok := ctx.Deadline(); ok {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Until(until)*3/5)
		defer cancel()
	}
	select {
	case l := <-s.loading:
		s.loading = nil
		if l.err != nil {
			s.noWalker = fmt.Errorf(whoIsUnknown+"%w", l.err)
			return s.noWalker
		}
		s.walker = l.value
		return nil
	case <-ctx.Done():
		return errors.New(whoIsUnknown + "the deadline is too near to load what reads the kernel's lists; try: a longer --deadline")
	}
}

// walkTwice replaces the snapshot's walks by two new ones: only what both see is
// believed.
func (s *Session) walkTwice(snap *facts.Snapshot, opts loader.WalkOptions) bool {
	snap.Walks = nil
	for range 2 {
		pass, err := s.walker.Walk(opts)
		if err != nil {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: "requests and locks in the kernel", Why: err.Error()})
			snap.Walks = nil
			return false
		}
		snap.Walks = append(snap.Walks, pass)
	}
	return true
}

// closeWalker frees what walk loaded.
func (s *Session) closeWalker() error {
	if s.loading != nil {
		forgo(s.loading)
		s.loading = nil
	}
	if s.walker == nil {
		return nil
	}
	return s.walker.Close()
}
