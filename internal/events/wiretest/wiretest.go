// Package wiretest makes raw capture records for tests.
//
// In: the typed events that a test wants to be seen. Out: the bytes that the
// BPF programs (bpf/hangtrace.h) would have written for them, the reverse of
// package events. It must never be imported but by tests.
package wiretest

import (
	"encoding/binary"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// record appends integers and text, little-endian.
type record []byte

func (r *record) u64(values ...uint64) {
	for _, v := range values {
		*r = binary.LittleEndian.AppendUint64(*r, v)
	}
}

func (r *record) u32(values ...uint32) {
	for _, v := range values {
		*r = binary.LittleEndian.AppendUint32(*r, v)
	}
}

func (r *record) text(s string, n int) {
	b := make([]byte, n)
	copy(b, s)
	*r = append(*r, b...)
}

// finish adds the tail, padded to 8 bytes, and writes the header.
func (r *record) finish(kind uint32, tail []byte) []byte {
	*r = append(*r, tail...)
	for len(*r)%8 != 0 {
		*r = append(*r, 0)
	}
	binary.LittleEndian.PutUint32((*r)[0:], kind)
	binary.LittleEndian.PutUint32((*r)[4:], uint32(len(*r)))
	return *r
}

func flag(on bool, bit uint32) uint32 {
	if on {
		return bit
	}
	return 0
}

// Task is a task_record, or a rest_record.
func Task(t events.Task) []byte {
	r := make(record, 8)
	if t.Resting { // a rest_record
		r.u64(t.StartBootNS)
		r.u32(uint32(t.PID), uint32(t.TID), uint32(t.PPID), t.Flags, t.MountNS, 0)
		return r.finish(7, nil)
	}
	r.u64(t.SampledNS, t.StartBootNS, t.LastArrivalNS, t.VoluntarySwitches, t.InvoluntarySwitches)
	r.u64(t.Args[:]...)
	r.u64(t.PC, t.SP, t.BP, t.LR, uint64(t.Return), uint64(t.SyscallNR))
	r.u32(uint32(t.PID), uint32(t.TID), uint32(t.PPID), t.State, t.Flags)
	r.u32(flag(t.HasRegs, 1) | flag(t.Compat, 2) | flag(t.CwdDetached, 1<<7))
	r.u32(t.MountNS, t.PIDNS, uint32(t.BlockerTID), t.CwdDevMajor<<20|t.CwdDevMinor, uint32(t.CwdMountID), uint32(len(t.Stack)))
	r.text(t.Comm, 16)
	r.text(t.ProcessComm, 16)
	r.u64(t.Stack...)
	return r.finish(1, nil)
}

// Tasks is a pass of the task iterator.
func Tasks(list ...events.Task) facts.Pass {
	p := facts.Pass{Format: facts.FormatBPFTask}
	for _, t := range list {
		p.Data = append(p.Data, Task(t)...)
	}
	return p
}

// File is a file_record.
func File(f events.File) []byte {
	r := make(record, 8)
	r.u64(f.Inode, f.Magic)
	r.u32(uint32(f.PID), uint32(f.FD), f.DevMajor<<20|f.DevMinor, f.Mode, uint32(f.MountID))
	r.u32(flag(f.Detached, 1<<5)|flag(f.Path != "", 1<<6), uint32(len(f.Path)), f.MountNS)
	r.text(f.FSType, 16)
	return r.finish(2, []byte(f.Path))
}

// Files is a pass of the file iterator.
func Files(list ...events.File) facts.Pass {
	p := facts.Pass{Format: facts.FormatBPFFile}
	for _, f := range list {
		p.Data = append(p.Data, File(f)...)
	}
	return p
}

// callFlags are those of a call: what began before the tracer has no entry.
func callFlags(c events.Call) uint32 {
	return flag(c.EnteredNS == 0, 1<<2) | flag(!c.PathKnown, 1<<3) | flag(c.PathTruncated, 1<<4)
}

func jiffies(ns uint64, c facts.Clock) uint64 {
	return c.JiffiesRef + uint64((int64(ns)-c.JiffiesMonoNS)/(1e9/c.HZ))
}

// Slots are calls in flight.
func Slots(clock facts.Clock, list ...events.Call) facts.Pass {
	p := facts.Pass{Format: facts.FormatBPFSlots}
	for _, c := range list {
		r := make(record, 8)
		r.u32(uint32(c.TID), uint32(c.PID))
		r.u64(jiffies(c.EnteredNS, clock))
		r.u64(c.Args[:]...)
		r.u32(uint32(c.SyscallNR+1), callFlags(c), uint32(len(c.Path)), 2)
		r.u64(0, 0, 0, 0, 0, 0)
		p.Data = append(p.Data, r.finish(6, []byte(c.Path))...)
	}
	return p
}

// Call is a call_record: a call that returned.
func Call(c events.Call, clock facts.Clock) []byte {
	r := make(record, 8)
	r.u64(jiffies(c.EnteredNS, clock), jiffies(c.ReturnedNS, clock), c.ReturnedNS)
	r.u64(c.Args[:]...)
	r.u64(uint64(c.Return))
	r.u32(uint32(c.SyscallNR), uint32(c.PID), uint32(c.TID), callFlags(c), uint32(len(c.Path)), 0)
	r.text(c.Comm, 16)
	return r.finish(3, []byte(c.Path))
}

// Block is a block_record: a sleep that ended.
func Block(b events.Block) []byte {
	const depth = 64
	r := make(record, 8)
	r.u64(b.StartNS, b.EndNS)
	r.u64(b.Args[:]...)
	r.u64(uint64(b.SyscallNR))
	r.u32(uint32(b.PID), uint32(b.TID), b.State, b.Flags, flag(b.HasRegs, 1)|flag(b.Compat, 2), uint32(len(b.Stack)))
	r.text(b.Comm, 16)
	r.u64(b.Stack...)
	r.u64(make([]uint64, depth-len(b.Stack))...)
	return r.finish(4, nil)
}

// Change is a target_record.
func Change(c events.TargetChange) []byte {
	r := make(record, 8)
	r.u64(c.AtNS)
	r.u32(uint32(c.PID), uint32(c.Parent), uint32(c.What), 0)
	r.text(c.Comm, 16)
	return r.finish(5, nil)
}

// Ring is a batch of ring buffer records.
func Ring(records ...[]byte) facts.Pass {
	p := facts.Pass{Format: facts.FormatBPFRing}
	for _, r := range records {
		p.Data = append(p.Data, r...)
	}
	return p
}
