package session

import (
	"encoding/binary"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// Most calls come from where others came from. Which words of the stack decided
// about a chain is known, so another call whose words are the same needs no child.
const (
	// chainAge is how long that is good for: a library may have taken another's
	// place.
	chainAge = time.Second
	// mostChains bounds those of one process, mostOfPlace of one place in it.
	mostChains  = 4096
	mostOfPlace = 8
)

// place is what a chain starts from.
type place struct{ pc, sp, bp, lr uint64 }

func placeOf(r *events.Strace) place { return place{r.PC, r.SP, r.BP, r.LR} }

// chain is one that is known.
type chain struct {
	at    []int64 // from the stack pointer
	words []uint64
	lines []string
	asOf  time.Time
}

// chains are those of one process.
type chains map[place][]chain

// find gives the lines of a call that are known already.
func (c chains) find(r *events.Strace, segments []events.Segment, now time.Time) ([]string, bool) {
	for _, k := range c[placeOf(r)] {
		if now.Sub(k.asOf) < chainAge && k.fits(r.SP, segments) {
			return k.lines, true
		}
	}
	return nil, false
}

func (k *chain) fits(sp uint64, segments []events.Segment) bool {
	for i, at := range k.at {
		if w, ok := wordOf(segments, sp+uint64(at)); !ok || w != k.words[i] {
			return false
		}
	}
	return true
}

// learn keeps the chain of a call.
func (c chains) learn(r *events.Strace, segments []events.Segment, s *userstack.CallStack, lines []string, now time.Time) {
	k := chain{at: s.Read, lines: lines, asOf: now}
	for _, at := range s.Read {
		w, ok := wordOf(segments, r.SP+uint64(at))
		if !ok {
			return // it was cut there
		}
		k.words = append(k.words, w)
	}
	if len(c) >= mostChains {
		clear(c)
	}
	p := placeOf(r)
	list := c[p]
	if len(list) >= mostOfPlace {
		list = list[1:]
	}
	c[p] = append(list, k)
}

// wordOf reads a word of a stack.
func wordOf(segments []events.Segment, addr uint64) (uint64, bool) {
	for _, s := range segments {
		if addr >= s.Addr && addr-s.Addr+8 <= uint64(len(s.Data)) {
			return binary.LittleEndian.Uint64(s.Data[addr-s.Addr:]), true
		}
	}
	return 0, false
}
