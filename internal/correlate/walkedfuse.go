package correlate

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/events"
)

func (w *world) fuseRequest(q *events.FuseRequest) {
	w.explain(q.Waiters, w.fuseWait(q))
}

// fuseWait is a wait for a request to a FUSE daemon.
func (w *world) fuseWait(q *events.FuseRequest) *explained {
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
	w.fuseOpen(on, q.Dev)
	on.Evidence = append(on.Evidence, "request in the kernel's own list, seen twice")
	// A killed caller takes back a request that the daemon has not read; one
	// that it has read keeps its caller.
	killable := q.List == events.FusePending || q.List == events.FuseBackground
	return &explained{on: on, dev: q.Dev.String(), path: q.Path, ageNS: q.AgeNS, killable: &killable, key: fmt.Sprintf("fuse %x", q.Addr)}
}

// fuseOpen counts a connection's open requests.
func (w *world) fuseOpen(on *WaitingOn, dev events.Dev) {
	for _, sb := range w.walk.Superblocks {
		if sb.Fuse == nil || sb.Dev != dev {
			continue
		}
		o := w.counted(openKey{kind: "fuse", dev: dev}, func(o *OpenRequests) {
			for i := range w.walk.FuseRequests {
				if r := &w.walk.FuseRequests[i]; r.Dev == dev {
					o.add(r.AgeNS, len(r.Waiters), w.opts.Threshold)
				}
			}
		})
		o.Total = max(o.Total, sb.Fuse.Waiting)
		on.OpenRequests = o.orNil()
		on.Evidence = append(on.Evidence, fmt.Sprintf("requests waiting: %d", sb.Fuse.Waiting))
		if !sb.Fuse.Connected {
			on.State = "connection aborted"
		}
		return
	}
}

// fuseBlocked explains threads that wait until a connection takes requests
// again: it has too many in the background.
func (w *world) fuseBlocked(q *events.QueueWait) {
	for _, sb := range w.walk.Superblocks {
		if sb.Fuse == nil || sb.Dev != q.Dev {
			continue
		}
		on := &WaitingOn{Kind: "fuse-daemon", Name: Text(fmt.Sprintf("fuse connection %d", sb.Fuse.Number)), State: "takes no more requests in the background"}
		w.daemon(on, sb.Fuse.Number)
		w.fuseOpen(on, q.Dev)
		w.explain(q.Waiters, &explained{on: on, dev: q.Dev.String(), key: fmt.Sprintf("fuse conn %d", sb.Fuse.Number)})
	}
}
