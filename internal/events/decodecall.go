package events

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const (
	kindSlot   = 6
	callSize   = 128
	blockSize  = 120 // without the stack
	targetSize = 48
	slotSize   = headerSize + 128
)

// TargetChange tells that a target was born, executed another program, or
// exited.
type TargetChange struct {
	PID, Parent int
	Comm        string
	AtNS        uint64 // CLOCK_MONOTONIC
	What        TargetChangeKind
}

// TargetChangeKind says what happened to a target.
type TargetChangeKind uint32

// What happens to targets.
const (
	TargetExited   TargetChangeKind = 0
	TargetForked   TargetChangeKind = 1
	TargetExecuted TargetChangeKind = 2
)

// Records are the decoded records of a ring buffer, each kind in order.
type Records struct {
	Calls   []Call
	Blocks  []Block
	Changes []TargetChange
}

// DecodeRing decodes ring buffer records laid end to end.
func DecodeRing(p facts.Pass, clock facts.Clock) (Records, error) {
	var r Records
	for data := p.Data; len(data) > 0; {
		if len(data) < headerSize {
			return r, fmt.Errorf("ring: %w: %d bytes left", ErrMalformed, len(data))
		}
		kind := binary.LittleEndian.Uint32(data)
		least := map[uint32]int{kindCall: callSize, kindBlock: blockSize, kindTarget: targetSize}[kind]
		if least == 0 {
			return r, fmt.Errorf("ring: %w: kind %d", ErrMalformed, kind)
		}
		rec, err := nextRecord(data, kind, least)
		if err != nil {
			return r, fmt.Errorf("ring: %w", err)
		}
		data = data[len(rec):]
		switch kind {
		case kindCall:
			c, err := decodeCall(rec, clock)
			if err != nil {
				return r, err
			}
			r.Calls = append(r.Calls, c)
		case kindBlock:
			b, err := decodeBlock(rec)
			if err != nil {
				return r, err
			}
			r.Blocks = append(r.Blocks, b)
		case kindTarget:
			r.Changes = append(r.Changes, decodeTarget(rec))
		}
	}
	return r, nil
}

// jiffiesToMono turns a jiffies_64 value into CLOCK_MONOTONIC; 0 if the tick
// rate is unknown.
func jiffiesToMono(jiffies uint64, c facts.Clock) uint64 {
	if c.HZ <= 0 {
		return 0
	}
	ns := c.JiffiesMonoNS + int64(jiffies-c.JiffiesRef)*(1e9/c.HZ)
	return uint64(max(ns, 1))
}

func (c *Call) setFlags(flags uint32, clock facts.Clock) {
	if clock.HZ > 0 {
		c.ResolutionNS = uint64(1e9 / clock.HZ)
	}
	if flags&flagSeeded != 0 {
		c.EnteredNS = 0
	}
	c.PathKnown = flags&flagPathFailed == 0
	c.PathTruncated = flags&flagPathTruncated != 0
}

func (c *Call) setPath(rec []byte, at, n int) error {
	if n > maxPath || at+n > len(rec) {
		return fmt.Errorf("call record: %w: path of %d bytes in %d", ErrMalformed, n, len(rec))
	}
	path := rec[at : at+n]
	if i := bytes.IndexByte(path, 0); i >= 0 {
		path = path[:i]
	}
	c.Path = string(path)
	return nil
}

func decodeCall(rec []byte, clock facts.Clock) (Call, error) {
	f := fields{b: rec, at: headerSize}
	c := Call{Phase: PhaseReturned}
	c.EnteredNS = jiffiesToMono(f.u64(), clock)
	f.u64() // returned_jiffies: returned_ns is finer
	c.ReturnedNS = f.u64()
	for i := range c.Args {
		c.Args[i] = f.u64()
	}
	c.Return = int64(f.u64())
	c.SyscallNR = int(int32(f.u32()))
	c.PID, c.TID = int(f.u32()), int(f.u32())
	flags, n := f.u32(), int(f.u32())
	f.u32()
	c.Comm = f.text(16)
	c.setFlags(flags, clock)
	return c, c.setPath(rec, f.at, n)
}

// DecodeSlots decodes the calls in flight.
func DecodeSlots(p facts.Pass, clock facts.Clock) ([]Call, error) {
	if p.Format != facts.FormatBPFSlots {
		return nil, fmt.Errorf("slots: %w: unknown format %q", ErrMalformed, p.Format)
	}
	var calls []Call
	for at := 0; at < len(p.Data); {
		rec, err := nextRecord(p.Data[at:], kindSlot, slotSize)
		if err != nil {
			return calls, fmt.Errorf("slot at byte %d: %w", at, err)
		}
		at += len(rec)
		f := fields{b: rec, at: headerSize}
		c := Call{Phase: PhaseInFlight, TID: int(f.u32()), PID: int(f.u32())}
		c.EnteredNS = jiffiesToMono(f.u64(), clock)
		for i := range c.Args {
			c.Args[i] = f.u64()
		}
		c.SyscallNR = int(int32(f.u32())) - 1
		flags, n := f.u32(), int(f.u32())
		c.setFlags(flags, clock)
		if err := c.setPath(rec, slotSize, n); err != nil {
			return calls, err
		}
		calls = append(calls, c)
	}
	return calls, nil
}

func decodeBlock(rec []byte) (Block, error) {
	f := fields{b: rec, at: headerSize}
	b := Block{StartNS: f.u64(), EndNS: f.u64()}
	for i := range b.Args {
		b.Args[i] = f.u64()
	}
	b.SyscallNR = int(int64(f.u64()))
	b.PID, b.TID = int(f.u32()), int(f.u32())
	b.State, b.Flags = f.u32(), f.u32()
	flags, n := f.u32(), int(f.u32())
	b.HasRegs = flags&flagHasRegs != 0
	b.Compat = flags&flagCompat != 0
	b.Comm = f.text(16)
	if n > maxStack || f.at+8*n > len(rec) {
		return b, fmt.Errorf("block record: %w: stack of %d frames in %d bytes", ErrMalformed, n, len(rec))
	}
	for range n {
		b.Stack = append(b.Stack, f.u64())
	}
	return b, nil
}

func decodeTarget(rec []byte) TargetChange {
	f := fields{b: rec, at: headerSize}
	t := TargetChange{AtNS: f.u64(), PID: int(f.u32()), Parent: int(f.u32()), What: TargetChangeKind(f.u32())}
	f.u32()
	t.Comm = f.text(16)
	return t
}
