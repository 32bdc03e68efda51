package testkit

import (
	"slices"
	"sync"
)

// gate holds file system requests back. The zero value holds none.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond
	all     bool
	ops     []string
	waiting map[string]int
}

func newGate() *gate {
	g := &gate{waiting: map[string]int{}}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// freeze replaces the set of held operations; none named means all.
func (g *gate) freeze(ops []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all, g.ops = len(ops) == 0, ops
	g.changed.Broadcast()
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all, g.ops = false, nil
	g.changed.Broadcast()
}

// pass returns once op is not held. It ignores interrupts, as a daemon does
// that waits for a dead server.
func (g *gate) pass(op string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[op]++
	for g.all || slices.Contains(g.ops, op) {
		g.changed.Wait()
	}
	g.waiting[op]--
}

// held counts the requests that wait in the gate, by operation.
func (g *gate) held() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]int{}
	for op, n := range g.waiting {
		if n > 0 {
			out[op] = n
		}
	}
	return out
}
