package correlate

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
)

// inKernelList is the evidence for a request that the walk saw.
const inKernelList = "request in the kernel client's own list, seen twice"

func (x *walkIndex) indexRequests() {
	for i := range x.walk.MDSRequests {
		x.mdsRequest(&x.walk.MDSRequests[i])
	}
	for i := range x.walk.OSDRequests {
		q := &x.walk.OSDRequests[i]
		e := x.osdWait(q)
		e.dev, e.path = x.device(q.Dev), q.Path
		x.explain(q.Waiters, e)
	}
	for i := range x.walk.MONRequests {
		x.monRequest(&x.walk.MONRequests[i])
	}
	for i := range x.walk.FuseRequests {
		q := &x.walk.FuseRequests[i]
		x.explain(q.Waiters, x.fuseWait(q))
	}
}

func (x *walkIndex) mdsRequest(q *events.MDSRequest) {
	e := explained{
		kind: "mds", request: true, dev: x.device(q.Dev), path: q.Path, ageNS: q.AgeNS, key: waitKey{what: "mds", a: q.Addr},
		say: func(w *world) *WaitingOn { return w.onMDSRequest(q) },
	}
	unsafe := e
	unsafe.say = func(w *world) *WaitingOn {
		on := w.onMDSRequest(q)
		on.Evidence = append(List[string]{"answered, but not yet safe on the MDS's disk"}, on.Evidence...)
		return on
	}
	for i, waiter := range q.Waiters {
		if waiter.How == events.WaitSafe {
			x.explain(q.Waiters[i:i+1], &unsafe)
		} else {
			x.explain(q.Waiters[i:i+1], &e)
		}
	}
}

func (w *world) onMDSRequest(q *events.MDSRequest) *WaitingOn {
	on := w.mds(q.Dev, q.Rank)
	on.Request = &Request{
		ID: fmt.Sprint(q.TID), Op: Text(q.OpName), Target: Text(mdsTarget(q)), ForMS: new(int64(q.AgeNS / 1e6)), Attempts: &q.Attempts,
	}
	on.Evidence = append(List[string]{inKernelList}, on.Evidence...)
	on.Evidence = append(on.Evidence, w.liveness(q.Dev, q.Rank, q.AgeNS)...)
	return on
}

// mdsTarget names what a request is about, as the kernel's debugfs does where
// there is no path.
func mdsTarget(q *events.MDSRequest) string {
	switch {
	case q.Path != "":
		return q.Path
	case q.Path1 != "" && q.BaseIno > 1:
		return fmt.Sprintf("#%#x/%s", q.BaseIno, strings.TrimPrefix(q.Path1, "/"))
	case q.Path1 != "":
		return q.Path1
	case q.Ino != 0:
		return fmt.Sprintf("#%#x", q.Ino)
	case q.BaseIno != 0:
		return fmt.Sprintf("#%#x", q.BaseIno)
	}
	return ""
}

// mds is an MDS as one client sees it. Rank -1: none is chosen yet, or it is
// not known which.
func (w *world) mds(dev events.Dev, rank int) *WaitingOn {
	on := &WaitingOn{Kind: "mds", Name: "unknown", OpenRequests: w.openMDS(dev, rank)}
	s := w.session(dev, rank)
	if s == nil {
		if rank >= 0 {
			on.Name = Text(fmt.Sprintf("mds.%d", rank))
		} else {
			on.State = "no MDS chosen yet"
		}
		return on
	}
	on.Name, on.Address = Text(fmt.Sprintf("mds.%d", s.Rank)), Text(s.Peer)
	parts := []string{"session " + s.State}
	if s.Conn.Lost() {
		parts = append(parts, "connection lost")
	}
	if s.Laggy {
		parts = append(parts, "laggy")
	}
	if s.MapState != "" && s.MapState != "active" {
		parts = append(parts, s.MapState)
	}
	on.State = Text(strings.Join(parts, ", "))
	if w.monitorsSilent(dev) {
		on.Evidence = append(on.Evidence, "the client has lost its monitor, too: the network or the whole cluster is silent")
	}
	return on
}

func (w *world) session(dev events.Dev, rank int) *events.MDSSession {
	for i := range w.walk.Sessions {
		if s := &w.walk.Sessions[i]; s.Dev == dev && s.Rank == rank {
			return s
		}
	}
	return nil
}

// onlyRank is the rank of a client's only MDS session; -1 if it has none or
// several, of which nothing tells the one that a thread waits for.
func (w *world) onlyRank(dev events.Dev) int {
	rank := -1
	for _, s := range w.walk.Sessions {
		if s.Dev != dev {
			continue
		}
		if rank >= 0 {
			return -1
		}
		rank = s.Rank
	}
	return rank
}

func (x *walkIndex) cephFS(dev events.Dev) *events.CephFS {
	for i := range x.walk.Superblocks {
		if s := &x.walk.Superblocks[i]; s.Dev == dev {
			return s.Ceph
		}
	}
	return nil
}

// cephClient is the libceph client of a cephfs super block.
func (x *walkIndex) cephClient(dev events.Dev) *events.CephClient {
	fs := x.cephFS(dev)
	if fs == nil {
		return nil
	}
	for i := range x.walk.Clients {
		if c := &x.walk.Clients[i]; c.FSID == fs.FSID && c.ID == fs.ClientID {
			return c
		}
	}
	return nil
}

func (w *world) monitorsSilent(dev events.Dev) bool {
	c := w.cephClient(dev)
	return c != nil && monitorLost(c)
}

func monitorLost(c *events.CephClient) bool { return c.Hunting || c.MonConn.Lost() }

// openMDS counts a client's requests to one MDS, whoever waits for them.
func (w *world) openMDS(dev events.Dev, rank int) *OpenRequests {
	o := w.counted(openKey{kind: "mds", dev: dev, rank: rank}, func(o *OpenRequests) {
		for i := range w.walk.MDSRequests {
			if q := &w.walk.MDSRequests[i]; q.Dev == dev && q.Rank == rank {
				o.add(q.AgeNS, len(q.Waiters), w.opts.Threshold)
			}
		}
	})
	return o.orNil()
}

// osdWait is a wait for an OSD request.
func (x *walkIndex) osdWait(q *events.OSDRequest) *explained {
	return &explained{
		kind: "osd", request: true, ageNS: q.AgeNS, key: waitKey{what: "osd", a: q.Addr},
		say: func(w *world) *WaitingOn { return w.onOSDRequest(q) },
	}
}

func (w *world) onOSDRequest(q *events.OSDRequest) *WaitingOn {
	on := &WaitingOn{Kind: "osd", Name: "unknown", Address: Text(q.Peer), OpenRequests: w.openOSD(q.Client, q.OSD), Request: &Request{
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
	on.Evidence = append(on.Evidence, inKernelList)
	for _, o := range w.walk.OSDs {
		if o.Client == q.Client && o.OSD == q.OSD && q.OSD >= 0 && o.Conn.Lost() && on.State == "" {
			on.State = "connection lost"
		}
	}
	for i := range w.walk.Clients {
		if c := &w.walk.Clients[i]; c.Addr == q.Client && monitorLost(c) {
			on.Evidence = append(on.Evidence, "the client has lost its monitor, too: the network or the whole cluster is silent")
		}
	}
	return on
}

func (w *world) openOSD(client uint64, osd int) *OpenRequests {
	o := w.counted(openKey{kind: "osd", client: client, rank: osd}, func(o *OpenRequests) {
		for i := range w.walk.OSDRequests {
			if q := &w.walk.OSDRequests[i]; q.Client == client && q.OSD == osd && !q.Linger {
				o.add(q.AgeNS, len(q.Waiters), w.opts.Threshold)
			}
		}
	})
	return o.orNil()
}

func (x *walkIndex) monRequest(q *events.MONRequest) {
	e := &explained{
		kind: "mon", request: true, key: waitKey{what: "mon", a: q.Addr},
		say: func(w *world) *WaitingOn { return w.onMONRequest(q) },
	}
	for i := range x.walk.Superblocks {
		dev := x.walk.Superblocks[i].Dev
		if c := x.cephClient(dev); c != nil && c.Addr == q.Client {
			e.dev = x.device(dev)
		}
	}
	x.explain(q.Waiters, e)
}

func (w *world) onMONRequest(q *events.MONRequest) *WaitingOn {
	on := w.mon(q.Client)
	on.Request = &Request{ID: fmt.Sprint(q.TID), Op: Text(q.OpName)}
	on.Evidence = append(on.Evidence, inKernelList)
	var o OpenRequests
	for i := range w.walk.MONRequests {
		if r := &w.walk.MONRequests[i]; r.Client == q.Client {
			o.add(0, len(r.Waiters), w.opts.Threshold)
		}
	}
	on.OpenRequests = o.orNil()
	return on
}

// mon is the monitor that a client talks to, or looks for.
func (w *world) mon(client uint64) *WaitingOn {
	on := &WaitingOn{Kind: "mon", Name: "unknown"}
	for i := range w.walk.Clients {
		c := &w.walk.Clients[i]
		if c.Addr != client {
			continue
		}
		if c.MonRank >= 0 {
			on.Name, on.Address = Text(fmt.Sprintf("mon.%d", c.MonRank)), Text(c.MonAddr)
		}
		switch {
		case c.Hunting:
			on.State = "looking for a monitor"
		case c.MonConn.Lost():
			on.State = "connection lost"
		}
	}
	return on
}
