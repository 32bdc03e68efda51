package correlate

import (
	"slices"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// Wants is what must still be read to tell whom the threads that hang wait for.
// It lets the capture read no more than a hang needs.
type Wants struct {
	// Hangs tells that a thread hangs at all.
	Hangs bool
	// Ceph asks for the kernel's ceph clients in debugfs, Caps for their
	// waiters for capabilities too.
	Ceph, Caps bool
	// Daemons are the ceph-fuse daemons to be asked. FindDaemons tells that a
	// thread waits for a FUSE daemon and that none was looked for.
	Daemons     []int
	FindDaemons bool
	// NFS are processes with a thread that hangs on NFS, one a mount namespace.
	NFS map[uint32]int
}

// Unanswered tells what a snapshot lacks. A thread that has been blocked for
// half the threshold counts already: live announces it at the next look.
func Unanswered(snap *facts.Snapshot, opts Options) (Wants, error) {
	var wants Wants
	opts.Threshold /= 2
	w, err := newWorld(snap, opts)
	if err != nil {
		return wants, err
	}
	for i := range w.last {
		t := &w.last[i]
		if !w.still(t) || !w.suspicious(t) {
			continue
		}
		v := w.view(t)
		pl, ok := w.bestPlace(t, v, w.reason(t, v))
		if !ok || w.blocked(t).ForMS < opts.Threshold.Milliseconds() || !w.wanted(pl.kind, pl.mount) {
			continue
		}
		wants.Hangs = true
		on, request := w.waitsFor(t, v, &pl)
		if on == "fuse-daemon" && len(snap.FuseDaemons) == 0 {
			wants.FindDaemons = true
		}
		if request || w.waitsForThread(t) {
			continue
		}
		switch mounts.Kind(pl.mount.kind()) {
		case mounts.KindCephFS:
			wants.Ceph = true
			wants.Caps = wants.Caps || on == "unknown"
		case mounts.KindRBD:
			wants.Ceph = true
		case mounts.KindNFS:
			if wants.NFS == nil {
				wants.NFS = make(map[uint32]int)
			}
			wants.NFS[t.MountNS] = t.PID
		}
	}
	wants.Daemons = w.cephDaemons()
	return wants, nil
}

// waitsFor is the kind of what a thread waits for, and whether the walk knows
// the request.
func (w *world) waitsFor(t *events.Task, v stackView, pl *place) (kind string, request bool) {
	kind = waitingKind(v, pl)
	e := w.explained[t.TID]
	if e == nil {
		e = w.ofImage(t, pl.mount, kind)
	}
	if e != nil && e.outranks(kind) {
		return e.kind, e.request
	}
	return kind, false
}

func (m *Mount) kind() Text {
	if m == nil {
		return ""
	}
	return m.Kind
}

// cephDaemons are the ceph-fuse daemons with requests waiting that can answer:
// one that is stopped or dead is the cause itself.
func (w *world) cephDaemons() []int {
	const most = 16
	var pids []int
	for _, d := range w.snap.FuseDaemons {
		if d.Comm != "ceph-fuse" || d.State != "S" && d.State != "R" || slices.Contains(pids, d.PID) || len(pids) == most {
			continue
		}
		// Where the kernel does not number them, or shows no connection, any may
		// be the one.
		waits := d.Number == 0 || len(w.snap.Fuse) == 0
		for _, c := range w.snap.Fuse {
			waits = waits || c.Number == d.Number && c.Waiting != 0
		}
		if waits {
			pids = append(pids, d.PID)
		}
	}
	return pids
}

// Addresses are the network addresses of the servers that threads wait for.
func Addresses(snap *facts.Snapshot, opts Options) ([]string, error) {
	opts.Memory = nil
	_, r, err := judge(snap, opts)
	if err != nil {
		return nil, err
	}
	const most = 64
	var list []string
	for _, h := range r.Hangs {
		on := h.WaitingOn.server()
		if on == nil {
			continue
		}
		a := dialable(string(on.Address))
		if a != "" && !slices.Contains(list, a) && len(list) < most {
			list = append(list, a)
		}
	}
	return list, nil
}
