package correlate

import (
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// explained is what the walk over the kernel's structures says of one thread's
// wait: it is exact, where a stack only shows the kind.
type explained struct {
	// kind is WaitingOn.Kind, request tells whether WaitingOn.Request is known.
	kind    string
	request bool
	// dev is the super block's device ("0:28"), path the path within it; ""
	// when the wait is not about a file.
	dev, path string
	// holder is the thread that holds what is waited for; 0 for a server.
	holder int
	// maybe is a thread that may hold it: the last that took it for reading.
	maybe int
	ageNS uint64
	// killable tells whether SIGKILL ends the wait; nil where the wait does
	// not tell more than the thread's state.
	killable *bool
	// key is what is waited for: threads with the same one wait for the same
	// request, page or lock.
	key waitKey
	// buffer tells that it is a block of a journalled file system's device: a
	// journal's own thread may be what writes it.
	buffer bool
	// say puts it into words, for the threads that are listed in the end.
	say func(w *world) *WaitingOn
}

// waitKey names what is waited for.
type waitKey struct {
	what string
	a, b uint64
}

// walkIndex is a walk joined with the threads of a pass.
type walkIndex struct {
	walk      events.Walk
	byTID     map[int]*events.Task
	explained map[int]*explained // by TID
	devices   map[events.Dev]string

	fuseByNode map[inode]*events.FuseRequest
	osdByFile  map[inode]directions
}

// newWalkIndex joins a walk with threads. A thread's ID alone is not believed:
// its start time must fit, and it must be in the same wait.
func newWalkIndex(walk events.Walk, byTID map[int]*events.Task) *walkIndex {
	x := &walkIndex{walk: walk, byTID: byTID, explained: make(map[int]*explained), devices: make(map[events.Dev]string)}
	x.indexFiles()
	x.indexRequests()
	x.indexLocks()
	return x
}

// device is a device as mountinfo writes it.
func (x *walkIndex) device(dev events.Dev) string {
	name, ok := x.devices[dev]
	if !ok {
		name = dev.String()
		x.devices[dev] = name
	}
	return name
}

func (x *walkIndex) explain(list []events.Waiter, e *explained) {
	for _, waiter := range list {
		t := x.byTID[waiter.TID]
		if t == nil || t.StartBootNS/1e7 != waiter.StartNS/1e7 {
			continue
		}
		// The walk comes after the pass: it may show the thread's next wait.
		if was := t.Switches(); was != 0 && waiter.Switches != 0 && was != waiter.Switches {
			continue
		}
		// The request outranks the page or lock it is for.
		if old := x.explained[waiter.TID]; old == nil || !old.request && e.request {
			x.explained[waiter.TID] = e
		}
	}
}

// said is an explanation in words; never to be changed.
func (w *world) said(e *explained) *WaitingOn {
	on := w.words[e]
	if on == nil {
		on = e.say(w)
		on.Evidence = slices.Clip(on.Evidence) // who appends gets a list of its own
		w.words[e] = on
	}
	return on
}

// outranks tells whether it says more than stack and mount do.
func (e *explained) outranks(kind string) bool { return e.kind != "unknown" || kind == "unknown" }

// waitsOn says whom a hang waits for: by the walk, else by stack and mount.
func (w *world) waitsOn(t *events.Task, h *Hang, v stackView, pl *place) {
	kind := waitingKind(v, pl)
	e := w.explained[t.TID]
	if e == nil {
		e = w.ofImage(t, pl.mount, kind)
	}
	if e == nil || !e.outranks(kind) {
		h.WaitingOn = w.waitingOn(t, v, pl)
	} else {
		on := *w.said(e)
		on.Source = whoWalk
		if on.Kind != kind {
			if stack := w.waitingOn(t, v, pl); len(stack.Evidence) > 0 {
				on.Evidence = append(on.Evidence, stack.Evidence[0])
			}
		}
		h.WaitingOn = &on
	}
	if e == nil {
		return
	}
	if e.killable != nil && !*e.killable && !h.Task.KernelThread {
		h.Task.Killable = e.killable
	}
	if e.ageNS == 0 {
		return
	}
	age := int64(e.ageNS / 1e6)
	if h.Blocked.AtLeast && age > h.Blocked.ForMS {
		h.Blocked = Blocked{ForMS: age, Since: w.wall(t.SampledNS - min(e.ageNS, t.SampledNS)), Source: sourceRequest, AtLeast: true}
	}
}

// ofImage explains a thread that waits in the code of a file system over rbd
// for what the walk does not see (XFS's log and buffers, a journal): it waits
// for one of the image's requests, if any is open.
func (w *world) ofImage(t *events.Task, m *Mount, kind string) *explained {
	if m.kind() != Text(mounts.KindRBD) || kind != "block-device" {
		return nil
	}
	for i := range w.walk.RBDs {
		d := &w.walk.RBDs[i]
		dev := events.Dev(0)
		if found := w.rbdOf(string(m.Device)); found != nil {
			d, dev = found, found.Dev
		} else if m.Image != imageOf(d) {
			continue
		}
		e := w.rbdWait(d, waitsForWrite(w.frames(t)), dev, "", waitKey{}, "which of them the thread waits for is not known")
		e.ageNS = 0
		if e.kind != "osd" {
			return nil
		}
		return e
	}
	return nil
}

// rbdOf finds the image of a device by its numbers.
func (w *world) rbdOf(device string) *events.RBDDevice {
	number, ok := mounts.DeviceNumber(device)
	if !ok {
		return nil
	}
	return w.rbd(events.Dev(number))
}

// walkedPlaces names the file a thread waits for where its call does not: a
// page fault, a kernel thread, a call on a detached mount.
func (w *world) walkedPlaces(t *events.Task) []place {
	e := w.explained[t.TID]
	if e == nil || e.dev == "" || e.dev == "0:0" {
		return nil
	}
	pl := place{anchor: &anchor{device: e.dev, ns: t.MountNS, detached: w.detached(e.dev), fstype: w.fstype(e.dev)}, path: Path{Source: pathNone}}
	w.byAnchor(t, &pl)
	if e.path != "" {
		pl.path = Path{Value: Text(e.path), Source: pathKernel}
		if pl.mount != nil && pl.mount.Point != "" {
			pl.path.Value = Text(below(string(pl.mount.Point), e.path))
		}
	}
	return []place{pl}
}

// below joins a mount point and a path within the mounted file system.
func below(point, path string) string {
	return strings.TrimSuffix(point, "/") + "/" + strings.TrimPrefix(path, "/")
}

// fstype is the type of a walked super block; "" for one that was not walked.
func (x *walkIndex) fstype(dev string) string {
	for _, s := range x.walk.Superblocks {
		if x.device(s.Dev) == dev {
			return s.FSType
		}
	}
	return ""
}

// walkedElsewhere tells that the walk saw the thread wait on another super
// block than the one that mount tables give for its path today.
func (w *world) walkedElsewhere(t *events.Task, pl *place) bool {
	e := w.explained[t.TID]
	return e != nil && e.dev != "" && e.dev != "0:0" && pl.anchor == nil && pl.mount != nil &&
		pl.mount.Device != "" && string(pl.mount.Device) != e.dev && w.fstype(e.dev) != ""
}

// detached tells whether every mount of a super block is out of every
// namespace.
func (x *walkIndex) detached(dev string) bool {
	found := false
	for _, m := range x.walk.Mounts {
		if x.device(m.Dev) != dev {
			continue
		}
		if !m.Detached {
			return false
		}
		found = true
	}
	return found
}
