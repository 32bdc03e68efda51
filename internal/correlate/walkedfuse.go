package correlate

import (
	"fmt"
	"strconv"

	"github.com/hangtrace/hangtrace/internal/events"
)

// fuseWait is a wait for a request to a FUSE daemon.
func (x *walkIndex) fuseWait(q *events.FuseRequest) *explained {
	// A killed caller takes back a request that the daemon has not read; one
	// that it has read keeps its caller.
	killable := &canBeKilled
	if q.List != events.FusePending && q.List != events.FuseBackground {
		killable = &cannotBeKilled
	}
	return &explained{
		kind: "fuse-daemon", request: true, dev: x.device(q.Dev), path: q.Path, ageNS: q.AgeNS, killable: killable,
		key: waitKey{what: "fuse", a: q.Addr}, say: func(w *world) *WaitingOn { return w.onFuse(q) },
	}
}

// What ten thousand explanations share.
var canBeKilled, cannotBeKilled = true, false

func (w *world) onFuse(q *events.FuseRequest) *WaitingOn {
	on := &WaitingOn{Kind: "fuse-daemon", Name: fuseConnection(q.Conn), Request: &Request{
		ID: strconv.FormatUint(q.Unique, 10), Op: Text(q.OpName), Target: Text(q.Path),
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
	return on
}

func fuseConnection(number uint32) Text {
	return Text("fuse connection " + strconv.FormatUint(uint64(number), 10))
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
func (x *walkIndex) fuseBlocked(q *events.QueueWait) {
	for i := range x.walk.Superblocks {
		sb := &x.walk.Superblocks[i]
		if sb.Fuse == nil || sb.Dev != q.Dev {
			continue
		}
		x.explain(q.Waiters, &explained{
			kind: "fuse-daemon", dev: x.device(q.Dev), key: waitKey{what: "fuse connection", a: uint64(sb.Fuse.Number)},
			say: func(w *world) *WaitingOn {
				on := &WaitingOn{Kind: "fuse-daemon", Name: fuseConnection(sb.Fuse.Number), State: "takes no more requests in the background"}
				w.daemon(on, sb.Fuse.Number)
				w.fuseOpen(on, q.Dev)
				return on
			},
		})
	}
}
