package events

import (
	"encoding/binary"
	"fmt"
)

// StraceKind says what a record of the strace unit tells.
type StraceKind uint32

// The kinds (enum strace_kind of bpf/strace.h).
const (
	StraceEnter  StraceKind = 32 // a call began
	StraceExit   StraceKind = 33 // it returned
	StraceSignal StraceKind = 34 // a signal was delivered
	StraceFork   StraceKind = 35 // a thread was born
	StraceExec   StraceKind = 36 // a thread executed a program
	StraceDeath  StraceKind = 37 // a thread died
	StraceStack  StraceKind = 38 // where in the program the call was made
	StraceSlept  StraceKind = 39 // where in the kernel it slept for longest
)

const (
	straceEnterSize  = 88
	straceExitSize   = 40
	straceSignalSize = 80
	straceLifeSize   = 104
	straceStackSize  = 64
	straceSleptSize  = 296
	straceDepth      = 32
	straceSegment    = 16

	straceCompat  = 1 << 0
	straceLate    = 1 << 1
	straceLeader  = 1 << 2
	straceIgnored = 1 << 3
)

// Strace is one record of the strace unit. It points into the bytes it was
// decoded from.
type Strace struct {
	Kind     StraceKind
	NS       uint64 // CLOCK_MONOTONIC
	PID, TID int
	// Seq counts the calls of a thread: a gap is a loss. Of a death the number
	// of the last call.
	Seq uint32
	// NR and Args are set for StraceEnter, and for StraceDeath from the
	// registers, -1 if the thread was in no call.
	NR   int
	Args [6]uint64
	// Compat tells of a 32-bit call. Late of an entry that was not seen, NS is
	// then not that of the entry. Leader of the death of the first thread.
	// Ignored of a signal that the target ignores.
	Compat, Late, Leader, Ignored bool
	Return                        int64
	// Other is the parent's thread for StraceFork, the thread ID before for
	// StraceExec, and the exit code as wait(2) gives it for StraceDeath.
	Other int
	Comm  string
	// Memory is what was copied, Info the head of a siginfo.
	Memory []byte
	Info   []byte
	// PC, SP, BP and LR are the caller's registers for StraceStack, whose Memory
	// is its stack.
	PC, SP, BP, LR uint64
	// Kernel are addresses, innermost first, and SleptNS for how long it slept
	// there, for StraceSlept.
	Kernel  []uint64
	SleptNS uint64
}

// NextStrace decodes the first record of data into r and returns what follows.
func NextStrace(data []byte, r *Strace) ([]byte, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("strace record: %w: %d bytes left", ErrMalformed, len(data))
	}
	kind := StraceKind(binary.LittleEndian.Uint32(data))
	least := straceSize(kind)
	if least == 0 {
		return nil, fmt.Errorf("strace record: %w: kind %d", ErrMalformed, kind)
	}
	rec, err := nextRecord(data, uint32(kind), least)
	if err != nil {
		return nil, fmt.Errorf("strace record: %w", err)
	}
	*r = Strace{Kind: kind, NR: NoSyscall}
	f := fields{b: rec, at: headerSize}
	r.NS, r.PID, r.TID = f.u64(), int(f.u32()), int(f.u32())
	switch kind {
	case StraceEnter:
		r.Seq, r.NR = f.u32(), int(int32(f.u32()))
		r.setFlags(f.u32())
		f.u32()
		r.setArgs(&f)
		r.Memory = rec[f.at:]
	case StraceExit:
		r.Seq = f.u32()
		r.setFlags(f.u32())
		r.Return = int64(f.u64())
		r.Memory = rec[f.at:]
	case StraceSignal:
		r.setFlags(f.u32())
		f.u32()
		r.Info = rec[f.at:straceSignalSize]
	case StraceStack:
		r.Seq = f.u32()
		r.setFlags(f.u32())
		r.PC, r.SP, r.BP, r.LR = f.u64(), f.u64(), f.u64(), f.u64()
		r.Memory = rec[f.at:]
	case StraceSlept:
		r.Seq = f.u32()
		depth := min(f.u32(), straceDepth)
		r.SleptNS = f.u64()
		r.Kernel = decodeStack(rec[f.at : f.at+8*int(depth)])
	default:
		r.Other = int(f.u32())
		r.setFlags(f.u32())
		r.Seq, r.NR = f.u32(), int(int32(f.u32()))
		r.setArgs(&f)
		r.Comm = f.text(16)
	}
	return data[len(rec):], nil
}

func straceSize(k StraceKind) int {
	switch k {
	case StraceEnter:
		return straceEnterSize
	case StraceExit:
		return straceExitSize
	case StraceSignal:
		return straceSignalSize
	case StraceFork, StraceExec, StraceDeath:
		return straceLifeSize
	case StraceStack:
		return straceStackSize
	case StraceSlept:
		return straceSleptSize
	}
	return 0
}

func (r *Strace) setFlags(flags uint32) {
	r.Compat, r.Late = flags&straceCompat != 0, flags&straceLate != 0
	r.Leader, r.Ignored = flags&straceLeader != 0, flags&straceIgnored != 0
}

func (r *Strace) setArgs(f *fields) {
	for i := range r.Args {
		r.Args[i] = f.u64()
	}
}

// Segment is memory of the caller.
type Segment struct {
	Addr uint64
	Data []byte
	// Entry tells that it is as it was at the call's entry.
	Entry bool
	// File tells that Addr is a descriptor and Data what it stands for
	// (DecodeStraceFile).
	File bool
}

// AppendSegments decodes the memory of a record. What is malformed ends it.
func AppendSegments(list []Segment, memory []byte) []Segment {
	for len(memory) >= straceSegment {
		n := binary.LittleEndian.Uint32(memory[8:])
		padded := (uint64(n) + 7) &^ 7
		if uint64(len(memory)-straceSegment) < padded {
			break
		}
		list = append(list, Segment{
			Addr:  binary.LittleEndian.Uint64(memory),
			Data:  memory[straceSegment : straceSegment+n],
			Entry: memory[12]&1 != 0,
			File:  memory[12]&2 != 0,
		})
		memory = memory[straceSegment+padded:]
	}
	return list
}
