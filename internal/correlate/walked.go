package correlate

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
)

// explained is what the walk over the kernel's structures says of one thread's
// wait: it is exact, where a stack only shows the kind.
type explained struct {
	on *WaitingOn
	// dev is the super block's device ("0:28"), path the path within it; ""
	// when the wait is not about a file.
	dev, path string
	// holder is the thread that holds what is waited for; 0 for a server.
	holder int
	ageNS  uint64
	// killable tells whether SIGKILL ends the wait; nil where the wait does
	// not tell more than the thread's state.
	killable *bool
}

// indexWalk joins the walks with the threads. A thread's ID alone is not
// believed: its start time must fit.
func (w *world) indexWalk() {
	w.explained = make(map[int]*explained)
	var err error
	if w.walk, err = w.opts.Decoded.agreed(w.snap); err != nil {
		return // a walk that cannot be read explains nothing
	}
	w.indexRequests()
	w.indexLocks()
}

func (w *world) explain(list []events.Waiter, e *explained) {
	for _, waiter := range list {
		t := w.byTID[waiter.TID]
		if t == nil || t.StartBootNS/1e7 != waiter.StartNS/1e7 {
			continue
		}
		// The request outranks the page or lock it is for.
		if old := w.explained[waiter.TID]; old == nil || old.on.Request == nil && e.on.Request != nil {
			w.explained[waiter.TID] = e
		}
	}
}

func (w *world) indexRequests() {
	for i := range w.walk.MDSRequests {
		q := &w.walk.MDSRequests[i]
		target := q.Path
		if target == "" {
			target = q.Path1
		}
		on := &WaitingOn{Kind: "mds", Name: "unknown", Address: Text(q.Peer), State: Text(w.sessionState(q)), Request: &Request{
			ID: fmt.Sprint(q.TID), Op: Text(q.OpName), Target: Text(target), ForMS: new(int64(q.AgeNS / 1e6)), Attempts: &q.Attempts,
		}}
		if q.Rank >= 0 {
			on.Name = Text(fmt.Sprintf("mds.%d", q.Rank))
		}
		on.Evidence = append(on.Evidence, "request in the kernel client's own list, seen twice")
		w.explain(q.Waiters, &explained{on: on, dev: q.Dev.String(), path: q.Path, ageNS: q.AgeNS})
	}
	for i := range w.walk.OSDRequests {
		w.osdRequest(&w.walk.OSDRequests[i])
	}
	for i := range w.walk.MONRequests {
		q := &w.walk.MONRequests[i]
		on := &WaitingOn{Kind: "mon", Name: "unknown", Request: &Request{ID: fmt.Sprint(q.TID), Op: Text(q.OpName)}}
		for _, c := range w.walk.Clients {
			if c.Addr == q.Client && c.MonRank >= 0 {
				on.Name, on.Address = Text(fmt.Sprintf("mon.%d", c.MonRank)), Text(c.MonAddr)
			}
			if c.Addr == q.Client && c.Hunting {
				on.State = "looking for a monitor"
			}
		}
		on.Evidence = append(on.Evidence, "request in the kernel client's own list, seen twice")
		w.explain(q.Waiters, &explained{on: on})
	}
	for i := range w.walk.FuseRequests {
		w.fuseRequest(&w.walk.FuseRequests[i])
	}
}

// sessionState joins what the client and the monitors say of an MDS.
func (w *world) sessionState(q *events.MDSRequest) string {
	var parts []string
	if q.Session != "" {
		parts = append(parts, "session "+q.Session)
	}
	for _, s := range w.walk.Sessions {
		if s.Dev != q.Dev || s.Rank != q.Rank {
			continue
		}
		if s.Laggy {
			parts = append(parts, "laggy")
		}
		if s.MapState != "" && s.MapState != "active" {
			parts = append(parts, s.MapState)
		}
	}
	return strings.Join(parts, ", ")
}

func (w *world) osdRequest(q *events.OSDRequest) {
	on := &WaitingOn{Kind: "osd", Name: "unknown", Address: Text(q.Peer), Request: &Request{
		ID: fmt.Sprint(q.TID), Op: "read", Target: Text(q.Object), ForMS: new(int64(q.AgeNS / 1e6)), Attempts: &q.Attempts,
	}}
	if q.Write {
		on.Request.Op = "write"
	}
	if q.OSD >= 0 {
		on.Name = Text(fmt.Sprintf("osd.%d", q.OSD))
	} else {
		on.State = "no OSD is up for it"
	}
	if q.Paused {
		on.State = "paused by the OSD map (full, or pause is set)"
	}
	on.Evidence = append(on.Evidence, "request in the kernel client's own list, seen twice")
	w.explain(q.Waiters, &explained{on: on, dev: q.Dev.String(), path: q.Path, ageNS: q.AgeNS})
}

func (w *world) fuseRequest(q *events.FuseRequest) {
	on := &WaitingOn{Kind: "fuse-daemon", Name: Text(fmt.Sprintf("fuse connection %d", q.Conn)), Request: &Request{
		ID: fmt.Sprint(q.Unique), Op: Text(q.OpName), Target: Text(q.Path),
	}}
	if on.Request.Target == "" {
		on.Request.Target = Text(fmt.Sprintf("node %d", q.NodeID))
	}
	if q.AgeNS != 0 {
		on.Request.ForMS = new(int64(q.AgeNS / 1e6))
	}
	switch q.List {
	case events.FusePending:
		on.State = "the daemon has not read it"
	case events.FuseProcessing:
		on.State = "the daemon has read it and does not answer"
	case events.FuseBackground:
		on.State = "waits for its turn"
	case events.FuseIO:
		on.State = "is being copied"
	}
	w.daemon(on, q.Conn)
	for _, sb := range w.walk.Superblocks {
		if sb.Fuse != nil && sb.Fuse.Number == q.Conn {
			on.Evidence = append(on.Evidence, fmt.Sprintf("requests waiting: %d", sb.Fuse.Waiting))
		}
	}
	on.Evidence = append(on.Evidence, "request in the kernel's own list, seen twice")
	// A killed caller takes back a request that the daemon has not read; one
	// that it has read keeps its caller.
	killable := q.List == events.FusePending || q.List == events.FuseBackground
	w.explain(q.Waiters, &explained{on: on, dev: q.Dev.String(), path: q.Path, ageNS: q.AgeNS, killable: &killable})
}

// indexLocks joins the waits that are behind another thread, and the pages
// whose request nobody waits for directly.
func (w *world) indexLocks() {
	for i := range w.walk.Locks {
		l := &w.walk.Locks[i]
		e := &explained{dev: l.Dev.String(), path: l.Path, on: &WaitingOn{Kind: "lock", Name: Text(l.Kind + " of " + orUnknown(l.Path))}}
		if l.OwnerTID != 0 && !l.ReadOwned {
			e.holder = l.OwnerTID
			e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("held by thread %d (%s)", l.OwnerTID, l.OwnerComm))
		} else if l.ReadOwned {
			e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("held for reading, last seen by thread %d (%s)", l.OwnerTID, l.OwnerComm))
		}
		w.explain(l.Waiters, e)
	}
	for i := range w.walk.Lookups {
		l := &w.walk.Lookups[i]
		e := &explained{dev: l.Dev.String(), path: l.Path, holder: l.OwnerTID, on: &WaitingOn{Kind: "lock", Name: Text("look-up of " + orUnknown(l.Path))}}
		if l.OwnerTID != 0 {
			e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("thread %d (%s) is looking it up", l.OwnerTID, l.OwnerComm))
		}
		w.explain(l.Waiters, e)
	}
	for i := range w.walk.Pages {
		w.page(&w.walk.Pages[i])
	}
	for i := range w.walk.CapWaits {
		c := &w.walk.CapWaits[i]
		on := &WaitingOn{Kind: "unknown", Name: "capabilities"}
		on.Evidence = append(on.Evidence, fmt.Sprintf("waits for caps on inode %#x: needs %#x, wants %#x", c.Ino, c.Need, c.Want),
			"a healthy cluster may have another client that withholds them: ceph tell mds.0 session ls")
		w.explain(c.Waiters, &explained{on: on, dev: c.Dev.String()})
	}
}

func orUnknown(path string) string {
	if path == "" {
		return "an unknown entry"
	}
	return path
}

// page explains a wait for a page by the request that brings it, where one for
// the same inode is open.
func (w *world) page(p *events.PageWait) {
	e := &explained{dev: p.Dev.String(), path: p.Path}
	for i := range w.walk.OSDRequests {
		q := &w.walk.OSDRequests[i]
		if q.Dev == p.Dev && q.Ino == p.Ino && q.Ino != 0 {
			only := *q
			only.Waiters = p.Waiters
			only.Path = p.Path
			w.osdRequest(&only)
			return
		}
	}
	for i := range w.walk.FuseRequests {
		q := &w.walk.FuseRequests[i]
		if q.Dev == p.Dev && q.NodeID == p.NodeID && p.NodeID != 0 {
			only := *q
			only.Waiters = p.Waiters
			only.Path = p.Path
			w.fuseRequest(&only)
			return
		}
	}
	for _, d := range w.walk.RBDs {
		if d.Dev == p.Dev {
			e.on = &WaitingOn{Kind: "block-device", Name: Text(fmt.Sprintf("rbd%d", d.ID)), Evidence: []string{"rbd image: " + d.Pool + "/" + d.Image}}
			w.explain(p.Waiters, e)
			return
		}
	}
	e.on = &WaitingOn{Kind: "unknown", Evidence: []string{fmt.Sprintf("page %d of inode %d (%s), seen twice", p.Index, p.Ino, p.Bit)}}
	w.explain(p.Waiters, e)
}

// applyWalk puts what the walk explains into a hang.
func (w *world) applyWalk(t *events.Task, h *Hang, pl *place) {
	e := w.explained[t.TID]
	if e == nil {
		return
	}
	stack := h.WaitingOn
	if e.on.Kind != "unknown" || stack == nil || stack.Kind == "unknown" {
		on := *e.on
		if stack != nil && len(stack.Evidence) > 0 && on.Kind != stack.Kind {
			on.Evidence = append(append(List[string]{}, on.Evidence...), stack.Evidence[0])
		}
		h.WaitingOn = &on
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

// walkedPlaces names the file a thread waits for where its call does not: a
// page fault, a kernel thread, a call on a detached mount.
func (w *world) walkedPlaces(t *events.Task) []place {
	e := w.explained[t.TID]
	if e == nil || e.dev == "" || e.dev == "0:0" {
		return nil
	}
	pl := place{anchor: &anchor{device: e.dev, ns: t.MountNS, detached: w.detached(e.dev)}, path: Path{Source: pathNone}}
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

// detached tells whether every mount of a super block is out of every
// namespace.
func (w *world) detached(dev string) bool {
	found := false
	for _, m := range w.walk.Mounts {
		if m.Dev.String() != dev {
			continue
		}
		if !m.Detached {
			return false
		}
		found = true
	}
	return found
}
