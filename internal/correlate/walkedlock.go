package correlate

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/events"
)

// indexLocks joins the waits that are behind another thread, and those for
// something that no thread's request is for: pages, buffers, capabilities,
// whole clients.
func (w *world) indexLocks() {
	for i := range w.walk.Locks {
		w.lock(&w.walk.Locks[i])
	}
	for i := range w.walk.Lookups {
		l := &w.walk.Lookups[i]
		e := &explained{dev: l.Dev.String(), path: l.Path, holder: l.OwnerTID, key: fmt.Sprintf("lookup %x", l.Addr),
			on: &WaitingOn{Kind: "lock", Name: Text("look-up of " + orUnknown(l.Path))}}
		if l.OwnerTID != 0 {
			e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("thread %d (%s) is looking it up", l.OwnerTID, l.OwnerComm))
		}
		w.explain(l.Waiters, e)
	}
	for i := range w.walk.Pages {
		w.page(&w.walk.Pages[i])
	}
	for i := range w.walk.Bits {
		w.bit(&w.walk.Bits[i])
	}
	for i := range w.walk.CapWaits {
		w.capWait(&w.walk.CapWaits[i])
	}
	for i := range w.walk.Queues {
		w.queue(&w.walk.Queues[i])
	}
}

func (w *world) lock(l *events.Lock) {
	e := &explained{dev: l.Dev.String(), path: l.Path, key: fmt.Sprintf("lock %x", l.Addr)}
	name := l.Kind
	if l.Ino != 0 || l.Path != "" && l.Path != "/" {
		name += " of " + orUnknown(l.Path)
	}
	e.on = &WaitingOn{Kind: "lock", Name: Text(name)}
	if l.OwnerTID != 0 && !l.ReadOwned {
		e.holder = l.OwnerTID
		e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("held by thread %d (%s)", l.OwnerTID, l.OwnerComm))
	} else if l.ReadOwned {
		e.maybe = l.OwnerTID
		e.on.Evidence = append(e.on.Evidence, fmt.Sprintf("held for reading, last seen by thread %d (%s)", l.OwnerTID, l.OwnerComm))
	}
	w.explain(l.Waiters, e)
}

func orUnknown(path string) string {
	if path == "" {
		return "an unknown entry"
	}
	return path
}

// queue explains threads that wait for a whole client or connection.
func (w *world) queue(q *events.QueueWait) {
	e := &explained{dev: q.Dev.String(), key: fmt.Sprintf("queue %x %d", q.Addr, q.How)}
	switch q.How {
	case events.WaitBlocked:
		w.fuseBlocked(q)
		return
	case events.WaitAuth:
		e.on = w.mon(q.Addr)
		e.on.Evidence = append(e.on.Evidence, "mount waits until a monitor lets the client in")
	case events.WaitUmount, events.WaitFlush:
		what := "umount waits for the client's last requests and the end of its MDS sessions"
		if q.How == events.WaitFlush {
			what = "waits until the MDS has taken changed capabilities (sync, umount)"
		}
		e.on = w.lastOfClient(q.Dev)
		e.on.Evidence = append(List[string]{what}, e.on.Evidence...)
	default:
		return
	}
	w.explain(q.Waiters, e)
}

// lastOfClient is whom a thread waits for that waits for all of a client's
// requests or sessions: the one MDS, with the oldest request to it if one is
// open.
func (w *world) lastOfClient(dev events.Dev) *WaitingOn {
	var oldest *events.MDSRequest
	for i := range w.walk.MDSRequests {
		if q := &w.walk.MDSRequests[i]; q.Dev == dev && (oldest == nil || q.AgeNS > oldest.AgeNS) {
			oldest = q
		}
	}
	rank := w.onlyRank(dev)
	if oldest != nil && oldest.Rank >= 0 {
		rank = oldest.Rank
	}
	on := w.mds(dev, rank)
	if rank < 0 {
		on.State = ""
	}
	if oldest != nil {
		on.Request = &Request{ID: fmt.Sprint(oldest.TID), Op: Text(oldest.OpName), Target: Text(mdsTarget(oldest)),
			ForMS: new(int64(oldest.AgeNS / 1e6)), Attempts: &oldest.Attempts}
		on.Evidence = append(on.Evidence, "the oldest of the client's requests, seen twice")
	}
	on.Evidence = append(on.Evidence, w.liveness(dev, rank, 0)...)
	return on
}
