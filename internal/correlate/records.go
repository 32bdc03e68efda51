package correlate

import (
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Records takes in what the tracer's ring brought since the last call, and the
// names of the kernel addresses in it.
func (t *Tracker) Records(r events.Records, symbols map[uint64]string) []*Event {
	if t.world == nil {
		return nil // nothing to judge by before the first snapshot
	}
	for addr, name := range symbols {
		if t.world.snap.Symbols == nil {
			t.world.snap.Symbols = make(map[uint64]string)
		}
		t.world.snap.Symbols[addr] = name
	}
	var out []*Event
	for i := range r.Blocks {
		if e := t.block(&r.Blocks[i]); e != nil {
			out = append(out, e)
		}
	}
	for i := range r.Calls {
		if e := t.returned(&r.Calls[i]); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// block takes in a sleep that ended. It ends the hangs that no call encloses;
// within a call it is kept for the call's return.
func (t *Tracker) block(b *events.Block) *Event {
	for id, w := range t.watched {
		if w.task.TID != b.TID || w.task.PID != b.PID {
			continue
		}
		switch w.hang.Reason {
		case ReasonPageFault, ReasonAfterSyscall, ReasonIOWorker, ReasonKernelThread:
			tm := &timing{durationNS: b.EndNS - b.StartNS, resolutionNS: 1}
			w.hang.Blocked.Source = sourceSwitch
			return t.end(id, w, t.world.wall(b.EndNS), tm, nil)
		}
	}
	task := blockTask(b)
	if _, inCall := t.world.call(task); inCall {
		t.blocks[b.TID] = *b
		const most = 1024 // threads that never come back to their call's end
		if len(t.blocks) > most {
			clear(t.blocks)
		}
	}
	if t.inTracedCall(task) {
		return nil
	}
	return t.slowBlock(task, b)
}

func blockTask(b *events.Block) *events.Task {
	return &events.Task{
		PID: b.PID, TID: b.TID, Comm: b.Comm, State: b.State, Flags: b.Flags, SampledNS: b.EndNS,
		HasRegs: b.HasRegs, SyscallNR: b.SyscallNR, Args: b.Args, Compat: b.Compat, Stack: b.Stack,
	}
}

// inTracedCall tells whether a sleep is part of a call whose return will be
// recorded: the call is the event then, not its sleeps.
func (t *Tracker) inTracedCall(task *events.Task) bool {
	c, ok := t.world.call(task)
	if !ok || task.Compat {
		return false
	}
	v := t.world.view(task)
	return !v.after && Traced(c, task.Args)
}

// Traced tells whether the live tracer records the returns of a call.
func Traced(c syscalls.Call, args [6]uint64) bool {
	switch c.ClassFor(args) {
	case syscalls.ClassPath, syscalls.ClassFD, syscalls.ClassSync, syscalls.ClassLock:
		return true
	}
	return false
}

// slowBlock makes an event of a sleep that no snapshot fell into.
func (t *Tracker) slowBlock(task *events.Task, b *events.Block) *Event {
	w := t.world
	if known := w.byTID[task.TID]; known != nil {
		task.MountNS, task.StartBootNS, task.ProcessComm = known.MountNS, known.StartBootNS, known.ProcessComm
	}
	h, ok := t.judgeOne(task)
	if !ok {
		return nil
	}
	h.Blocked = Blocked{ForMS: int64(b.EndNS-b.StartNS) / 1e6, Since: w.wall(b.StartNS), Source: sourceSwitch}
	e := t.event(EventSlowCall, h, w.wall(b.EndNS))
	d, res := b.EndNS-b.StartNS, uint64(1)
	e.DurationNS, e.ResolutionNS = &d, &res
	t.slow++
	t.oldestMS = max(t.oldestMS, h.Blocked.ForMS)
	return e
}

// judgeOne judges a thread that is in no snapshot's pass as if it were.
func (t *Tracker) judgeOne(task *events.Task) (*Hang, bool) {
	w := t.world
	old, had := w.byTID[task.TID]
	w.byTID[task.TID] = task
	defer restore(w.byTID, task.TID, old, had)
	if !w.suspicious(task) {
		return nil, false
	}
	threshold := w.opts.Threshold
	w.opts.Threshold = 0 // the record's own duration decides
	defer func() { w.opts.Threshold = threshold }()
	h, kind, ok := w.hang(task)
	if !ok || !w.wanted(kind, h.Mount) {
		return nil, false
	}
	h.Role = RoleRoot
	if w.view(task).kind == waitLock {
		h.Role = RoleVictim
	}
	return h, true
}

func restore[V any](m map[int]V, key int, v V, had bool) {
	if had {
		m[key] = v
	} else {
		delete(m, key)
	}
}

// returned takes in a call that came back after more than the threshold.
func (t *Tracker) returned(c *events.Call) *Event {
	at := t.world.wall(c.ReturnedNS)
	for id, w := range t.watched {
		if w.task.TID != c.TID || w.task.PID != c.PID || w.task.SyscallNR != c.SyscallNR || w.task.Args != c.Args {
			continue
		}
		if w.hang.Reason == ReasonAfterSyscall {
			continue // the call returned; the hang goes on
		}
		tm := &timing{resolutionNS: c.ResolutionNS}
		if c.EnteredNS != 0 {
			tm.durationNS = c.ReturnedNS - min(c.EnteredNS, c.ReturnedNS)
		} else {
			tm.atLeast = true
			tm.durationNS = uint64(max(at.Sub(w.hang.Blocked.Since), 0))
		}
		delete(t.blocks, c.TID)
		return t.end(id, w, at, tm, c)
	}
	return t.slowCall(c, at)
}

// slowCall makes an event of a call that no snapshot fell into. Whether it was
// a file system's fault shows in its longest sleep, or in the path's mount.
func (t *Tracker) slowCall(c *events.Call, at time.Time) *Event {
	w := t.world
	b, slept := t.blocks[c.TID]
	delete(t.blocks, c.TID)
	if !slept || c.EnteredNS == 0 || b.StartNS+c.ResolutionNS < c.EnteredNS {
		return nil // it ran, or slept in pieces shorter than the threshold
	}
	task := blockTask(&b)
	task.SyscallNR, task.Args = c.SyscallNR, c.Args
	if known := w.byTID[c.TID]; known != nil {
		task.MountNS, task.StartBootNS, task.ProcessComm = known.MountNS, known.StartBootNS, known.ProcessComm
		task.CwdDevMajor, task.CwdDevMinor, task.CwdMountID = known.CwdDevMajor, known.CwdDevMinor, known.CwdMountID
	} else {
		task.MountNS = w.namespaceOf(c.PID)
	}
	old, had := w.inFlight[c.TID]
	w.inFlight[c.TID] = c
	h, ok := t.judgeOne(task)
	restore(w.inFlight, c.TID, old, had)
	if !ok {
		return nil
	}
	d := c.ReturnedNS - min(c.EnteredNS, c.ReturnedNS)
	h.Reason = ReasonSlowSyscall
	h.Blocked = Blocked{ForMS: int64(d / 1e6), Since: w.wall(c.EnteredNS), Source: sourceEntry}
	e := t.event(EventSlowCall, h, at)
	e.DurationNS, e.ResolutionNS = &d, &c.ResolutionNS
	t.setReturn(e, c)
	t.slow++
	t.oldestMS = max(t.oldestMS, h.Blocked.ForMS)
	return e
}

// namespaceOf is the mount namespace of a process by any of its threads.
func (w *world) namespaceOf(pid int) uint32 {
	for i := range w.last {
		if w.last[i].PID == pid {
			return w.last[i].MountNS
		}
	}
	return 0
}
