package correlate

import (
	"fmt"
	"path"
	"slices"
	"strings"

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
		holder := w.holder(t)
		if holder == 0 {
			return w.readerBefore(t, hung)
		}
		if holder == t.TID {
			return nil
		}
		next := w.byTID[holder]
		if next == nil {
			return nil
		}
		if h := hung[next.TID]; h != nil && !w.waitsForThread(next) {
			return h
		}
		t = next
	}
	return nil
}

// holder is the thread that holds what a thread waits for: by the kernel's own
// record of it, or by the walk; 0 unknown.
func (w *world) holder(t *events.Task) int {
	if t.BlockerTID != 0 {
		return t.BlockerTID
	}
	if e := w.explained[t.TID]; e != nil && e.holder != 0 {
		return e.holder
	}
	return w.journalThread(t)
}

// readerBefore is the hang behind which a thread waits for a lock that is held
// for reading: the kernel keeps one of the holders at most, and that one may
// have let go since. It is believed if it hangs itself on the same file
// system, for another reason than a lock.
func (w *world) readerBefore(t *events.Task, hung map[int]*Hang) *Hang {
	e := w.explained[t.TID]
	if e == nil || e.maybe == 0 || e.maybe == t.TID {
		return w.faultBefore(t, hung)
	}
	h := hung[e.maybe]
	if h == nil || w.waitsForThread(w.byTID[e.maybe]) || h.Mount == nil || string(h.Mount.Device) != e.dev {
		return nil
	}
	return h
}

// cycle is a circle of holders that a thread waits in or behind: nobody in it
// will ever go on. nil: there is none.
func (w *world) cycle(t *events.Task) []int {
	var chain []int
	for at := t; at != nil; at = w.byTID[w.holder(at)] {
		if i := slices.Index(chain, at.TID); i >= 0 {
			return append(chain[i:], at.TID)
		}
		chain = append(chain, at.TID)
	}
	return nil
}

// waitsForThread tells whether a thread waits for another one, not for a
// server. A request with its name on it outranks what the stack looks like.
func (w *world) waitsForThread(t *events.Task) bool {
	if w.journalThread(t) != 0 {
		return true
	}
	if e := w.explained[t.TID]; e != nil {
		return e.kind == "lock"
	}
	return w.view(t).kind == waitLock
}

// faultBefore is the page fault that keeps a thread from changing its own
// process's memory map: a fault holds the map, or its part of it, for reading,
// and no kernel names such holders. With several faults the oldest stands for
// them; nil if there is none.
func (w *world) faultBefore(t *events.Task, hung map[int]*Hang) *Hang {
	if w.view(t).kind != waitLock || !slices.ContainsFunc(w.frames(t), changesMemory) {
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
	on := &WaitingOn{Kind: "lock", Source: whoStack}
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
		if !w.waitsForThread(t) {
			h.Role = RoleRoot
			continue
		}
		h.Role = RoleVictim
		root := w.rootOf(t, hung)
		if root == nil {
			root = w.neighbour(h, hangs)
		}
		on := lockOf(root, t.BlockerTID, v)
		if e := w.explained[t.TID]; e != nil {
			on.Source = whoWalk
			found := w.said(e)
			on.Evidence = append(append(List[string]{}, found.Evidence...), on.Evidence...)
			if found.Name != "" {
				on.Name = found.Name
			}
		}
		if tid := w.journalThread(t); tid != 0 {
			on.Name = Text(fmt.Sprintf("journal of %s", w.deviceName(t)))
			on.Evidence = append(List[string]{fmt.Sprintf("written by thread %d (%s)", tid, w.byTID[tid].Comm)}, on.Evidence...)
		}
		if circle := w.cycle(t); circle != nil {
			on.Evidence = append(on.Evidence, "the holders wait for each other, for ever: "+strings.Trim(strings.Join(strings.Fields(fmt.Sprint(circle)), " -> "), "[]"))
		}
		h.WaitingOn = on
		if root != nil {
			h.WaitsBehind = Text(root.ID)
		}
	}
	behindDaemons(hangs)
}

// behindDaemons makes victims of those that wait for a FUSE daemon which hangs
// itself, on another file system: that hang is the root.
func behindDaemons(hangs []*Hang) {
	byPID := make(map[int][]*Hang)
	for _, h := range hangs {
		byPID[h.Task.PID] = append(byPID[h.Task.PID], h)
	}
	for _, h := range hangs {
		if h.Role != RoleRoot || h.WaitingOn == nil || h.WaitingOn.PID == 0 || h.WaitingOn.PID == h.Task.PID || h.WaitingOn.Kind != "fuse-daemon" {
			continue
		}
		for _, d := range byPID[h.WaitingOn.PID] {
			root := Text(d.ID)
			if d.Role == RoleVictim {
				root = d.WaitsBehind
			}
			if root == "" || root == Text(h.ID) || d.Mount.device() == h.Mount.device() {
				continue
			}
			h.Role, h.WaitsBehind = RoleVictim, root
			h.WaitingOn.Evidence = append(h.WaitingOn.Evidence, fmt.Sprintf("thread %d of the daemon hangs itself, on another file system", d.Task.TID))
			break
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
		if w.waitsForThread(w.byTID[h.Task.TID]) {
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
