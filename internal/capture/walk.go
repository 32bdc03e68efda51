package capture

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// walk reads who waits for whom from the kernel's own structures. It is loaded
// at the first suspect and never before: a node on which nothing hangs pays
// nothing.
func (s *Session) walk(snap *facts.Snapshot, suspects []correlate.Suspect) {
	if s.backend.name() != facts.BackendBPF || s.noWalker != nil {
		if s.noWalker != nil {
			snap.Degraded = append(snap.Degraded, s.noWalker.Error())
		}
		return
	}
	if s.walker == nil {
		w, err := loader.NewWalker()
		if err != nil {
			s.noWalker = fmt.Errorf("who waits for whom is known by stacks only: %w", err)
			snap.Degraded = append(snap.Degraded, s.noWalker.Error())
			return
		}
		s.walker = w
	}
	opts := loader.WalkOptions{}
	for _, p := range suspects {
		opts.Inodes = opts.Inodes || p.Lock
	}
	if !s.walks(snap, opts) {
		return
	}
	if !opts.Inodes && correlate.NeedsInodes(snap, suspects, s.opts.Judge.Decoded) {
		opts.Inodes = true
		if !s.walks(snap, opts) {
			return
		}
	}
	snap.Degraded = append(snap.Degraded, s.walker.Degraded()...)
}

// walks replaces the snapshot's walks by two new ones: only what both see is
// believed.
func (s *Session) walks(snap *facts.Snapshot, opts loader.WalkOptions) bool {
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
	if s.walker == nil {
		return nil
	}
	return s.walker.Close()
}
