package correlate

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/events"
)

// indexLocks joins the waits that are behind another thread, and those for
// something that no thread's request is for: pages, buffers, capabilities,
// whole clients.
func (x *walkIndex) indexLocks() {
	for i := range x.walk.Locks {
		x.lock(&x.walk.Locks[i])
	}
	for i := range x.walk.Lookups {
		x.lookup(&x.walk.Lookups[i])
	}
	for i := range x.walk.Pages {
		x.page(&x.walk.Pages[i])
	}
	for i := range x.walk.Bits {
		x.bit(&x.walk.Bits[i])
	}
	for i := range x.walk.CapWaits {
		x.capWait(&x.walk.CapWaits[i])
	}
	for i := range x.walk.Queues {
		x.queue(&x.walk.Queues[i])
	}
}

func (x *walkIndex) lookup(l *events.Lookup) {
	x.explain(l.Waiters, &explained{
		kind: "lock", dev: x.device(l.Dev), path: l.Path, holder: l.OwnerTID, key: waitKey{what: "lookup", a: l.Addr},
		say: func(*world) *WaitingOn {
			on := &WaitingOn{Kind: "lock", Name: Text("look-up of " + orUnknown(l.Path))}
			if l.OwnerTID != 0 {
				on.Evidence = append(on.Evidence, fmt.Sprintf("thread %d (%s) is looking it up", l.OwnerTID, l.OwnerComm))
			}
			return on
		},
	})
}

func (x *walkIndex) lock(l *events.Lock) {
	e := &explained{
		kind: "lock", dev: x.device(l.Dev), path: l.Path, key: waitKey{what: "lock", a: l.Addr},
		say: func(*world) *WaitingOn { return onLock(l) },
	}
	if l.ReadOwned {
		e.maybe = l.OwnerTID
	} else {
		e.holder = l.OwnerTID
	}
	x.explain(l.Waiters, e)
}

func onLock(l *events.Lock) *WaitingOn {
	name := l.Kind
	if l.Ino != 0 || l.Path != "" && l.Path != "/" {
		name += " of " + orUnknown(l.Path)
	}
	on := &WaitingOn{Kind: "lock", Name: Text(name)}
	if l.OwnerTID != 0 && !l.ReadOwned {
		on.Evidence = append(on.Evidence, fmt.Sprintf("held by thread %d (%s)", l.OwnerTID, l.OwnerComm))
	} else if l.ReadOwned {
		on.Evidence = append(on.Evidence, fmt.Sprintf("held for reading, last seen by thread %d (%s)", l.OwnerTID, l.OwnerComm))
	}
	return on
}

func orUnknown(path string) string {
	if path == "" {
		return "an unknown entry"
	}
	return path
}

// queue explains threads that wait for a whole client or connection.
func (x *walkIndex) queue(q *events.QueueWait) {
	e := &explained{dev: x.device(q.Dev), key: waitKey{what: "queue", a: q.Addr, b: uint64(q.How)}}
	switch q.How {
	case events.WaitBlocked:
		x.fuseBlocked(q)
		return
	case events.WaitAuth:
		e.kind = "mon"
		e.say = func(w *world) *WaitingOn {
			on := w.mon(q.Addr)
			on.Evidence = append(on.Evidence, "mount waits until a monitor lets the client in")
			return on
		}
	case events.WaitUmount, events.WaitFlush:
		what := "umount waits for the client's last requests and the end of its MDS sessions"
		if q.How == events.WaitFlush {
			what = "waits until the MDS has taken changed capabilities (sync, umount)"
		}
		oldest := x.oldestMDS(q.Dev)
		e.kind, e.request = "mds", oldest != nil
		e.say = func(w *world) *WaitingOn {
			on := w.lastOfClient(q.Dev, oldest)
			on.Evidence = append(List[string]{what}, on.Evidence...)
			return on
		}
	default:
		return
	}
	x.explain(q.Waiters, e)
}

// oldestMDS is the oldest of a client's requests to any MDS; nil: it has none.
func (x *walkIndex) oldestMDS(dev events.Dev) *events.MDSRequest {
	var oldest *events.MDSRequest
	for i := range x.walk.MDSRequests {
		if q := &x.walk.MDSRequests[i]; q.Dev == dev && (oldest == nil || q.AgeNS > oldest.AgeNS) {
			oldest = q
		}
	}
	return oldest
}

// lastOfClient is whom a thread waits for that waits for all of a client's
// requests or sessions: the one MDS, with the oldest request to it if one is
// open.
func (w *world) lastOfClient(dev events.Dev, oldest *events.MDSRequest) *WaitingOn {
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
