package correlate

import (
	"path"
	"slices"

	"github.com/hangtrace/hangtrace/internal/events"
)

// blockedBy adds the threads that wait for a lock whose holder hangs. Nothing
// of a file system need be on their stacks: a reader of /proc behind a jammed
// memory map is one of them.
func (w *world) blockedBy(waiting []*events.Task, hangs []*Hang) []*Hang {
	hung := make(map[int]*Hang, len(hangs))
	for _, h := range hangs {
		hung[h.Task.TID] = h
	}
	var found []*Hang
	for _, t := range waiting {
		root := w.rootOf(t, hung)
		if root == nil {
			continue
		}
		blocked := w.blocked(t)
		if blocked.ForMS < w.opts.Threshold.Milliseconds() {
			continue
		}
		v := w.view(t)
		found = append(found, &Hang{
			ID: w.id(t), Reason: w.reason(t, v), Task: w.task(t), Syscall: w.syscall(t), Blocked: blocked,
			Path: Path{Source: pathNone}, Mount: root.Mount, Volume: root.Volume, KernelStack: w.frames(t),
			Role: RoleVictim, WaitsBehind: Text(root.ID), WaitingOn: lockOf(root, t.BlockerTID, v),
		})
	}
	return found
}

// rootOf follows the holders of locks from a thread to one that hangs for
// another reason than a lock; nil if the chain ends elsewhere or in a circle.
func (w *world) rootOf(t *events.Task, hung map[int]*Hang) *Hang {
	const deepest = 64
	for range deepest {
		if t.BlockerTID == 0 {
			return w.faultBefore(t, hung)
		}
		if t.BlockerTID == t.TID {
			return nil
		}
		next := w.byTID[t.BlockerTID]
		if next == nil {
			return nil
		}
		if h := hung[next.TID]; h != nil && w.view(next).kind != waitLock {
			return h
		}
		t = next
	}
	return nil
}

// faultBefore is the page fault that keeps a thread from changing its own
// process's memory map: a fault holds the map, or its part of it, for reading,
// and no kernel names such holders. With several faults the oldest stands for
// them; nil if there is none.
func (w *world) faultBefore(t *events.Task, hung map[int]*Hang) *Hang {
	if w.view(t).kind != waitLock || !slices.ContainsFunc(w.frames(t), w.stacks.changesMemory) {
		return nil
	}
	var root *Hang
	for _, h := range hung {
		if h.Task.PID != t.PID || h.Task.TID == t.TID || h.Reason != ReasonPageFault || w.view(w.byTID[h.Task.TID]).kind == waitLock {
			continue
		}
		if root == nil || before(h, root) {
			root = h
		}
	}
	return root
}

func lockOf(root *Hang, holder int, v stackView) *WaitingOn {
	on := &WaitingOn{Kind: "lock"}
	if holder != 0 {
		on.Evidence = append(on.Evidence, "task->blocker: the lock is held by thread "+itoa(holder))
	}
	if v.frame != "" {
		on.Evidence = append(on.Evidence, "kernel stack: "+v.frame)
	}
	if root != nil {
		on.Name = Text("held by thread " + itoa(root.Task.TID))
	}
	return on
}

// assignRoles tells roots from victims: a thread that sleeps in a lock's slow
// path waits for another thread, not for a server.
func assignRoles(w *world, hangs []*Hang) {
	hung := make(map[int]*Hang, len(hangs))
	for _, h := range hangs {
		hung[h.Task.TID] = h
	}
	for _, h := range hangs {
		if h.Role != "" {
			continue
		}
		t := w.byTID[h.Task.TID]
		v := w.view(t)
		if v.kind != waitLock {
			h.Role = RoleRoot
			continue
		}
		h.Role = RoleVictim
		root := w.rootOf(t, hung)
		if root == nil {
			root = w.neighbour(h, hangs)
		}
		h.WaitingOn = lockOf(nil, t.BlockerTID, v)
		if root != nil {
			h.WaitsBehind = Text(root.ID)
			h.WaitingOn = lockOf(root, t.BlockerTID, v)
		}
	}
}

// neighbour guesses the holder of a directory's lock where the kernel does not
// name it: the one thread that hangs, for another reason than a lock, on an
// entry of the same directory or on the directory itself. Two such threads are
// no proof of either.
func (w *world) neighbour(victim *Hang, hangs []*Hang) *Hang {
	if victim.Mount == nil || victim.Path.Value == "" {
		return nil
	}
	p := string(victim.Path.Value)
	var found *Hang
	for _, h := range hangs {
		if h == victim || h.Mount == nil || h.Path.Value == "" || h.Mount.Device != victim.Mount.Device {
			continue
		}
		if w.view(w.byTID[h.Task.TID]).kind == waitLock {
			continue
		}
		q := string(h.Path.Value)
		if path.Dir(q) != path.Dir(p) && path.Dir(q) != p && q != path.Dir(p) {
			continue
		}
		if found != nil {
			return nil
		}
		found = h
	}
	return found
}
