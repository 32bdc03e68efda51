package correlate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// The values of WaitingOn.Source.
const (
	whoStack  = "stack"
	whoWalk   = "walk"
	whoNFS    = "mountstats"
	whoClient = facts.SourceDebugfs
	whoDaemon = facts.SourceAdminSocket
)

// silentServers says whom the hung threads wait for where no walk did: by what
// the kernel's ceph clients and ceph-fuse daemons list. These lists name
// requests and not threads, so they are joined by inode, path or process, and
// the evidence says by which. What fits twice is not joined; then at least the
// server is named, where all requests that it may be are with the same one.
func (w *world) silentServers(hangs []*Hang) {
	w.ofDevice = make(map[string]*facts.CephState)
	open := func(h *Hang) bool {
		on := h.WaitingOn
		switch {
		case on == nil || w.waitsForThread(w.byTID[h.Task.TID]):
			return false
		case on.Kind == "fuse-daemon":
			return on.DaemonWaitsOn == nil
		}
		return on.Request == nil && on.Source != whoWalk
	}
	for _, h := range hangs {
		if open(h) {
			w.joinExactly(h)
		}
	}
	for _, h := range hangs {
		if open(h) {
			w.joinServer(h)
		}
	}
	for _, h := range hangs {
		w.furtherEvidence(h)
	}
}

// clients are the ceph clients that a hang may be one of.
func (w *world) clients(h *Hang) []*facts.CephState {
	device := string(h.Mount.device())
	if c := w.ofDevice[device]; c != nil && device != "" {
		return []*facts.CephState{c}
	}
	var list []*facts.CephState
	for i := range w.snap.Ceph {
		c := &w.snap.Ceph[i]
		if w.mayBe(c, h) {
			list = append(list, c)
		}
	}
	return list
}

func (m *Mount) device() Text {
	if m == nil {
		return ""
	}
	return m.Device
}

// mayBe tells whether a client may be the one behind a mount.
func (w *world) mayBe(c *facts.CephState, h *Hang) bool {
	switch mounts.Kind(h.Mount.kind()) {
	case mounts.KindCephFS:
		if c.Source != facts.SourceDebugfs || !c.CephFS {
			return false
		}
		// The newer form of the source names the cluster: admin@FSID.fs=/path.
		_, rest, ok := strings.Cut(string(h.Mount.Source), "@")
		fsid, _, named := strings.Cut(rest, ".")
		return !ok || !named || len(fsid) != len(c.FSID) || fsid == c.FSID
	case mounts.KindRBD:
		d, ok := w.blocks.Remote(string(h.Mount.Device))
		return ok && c.Source == facts.SourceDebugfs && !c.CephFS && d.ClientID == fmt.Sprintf("client%d", c.ID) &&
			(d.ClusterFSID == "" || c.FSID == "" || d.ClusterFSID == c.FSID)
	case mounts.KindCephFuse, mounts.KindFuse:
		if c.Source != facts.SourceAdminSocket {
			return false
		}
		return h.WaitingOn.PID != 0 && c.PID == h.WaitingOn.PID || h.WaitingOn.PID == 0 && c.Point != "" && Text(c.Point) == h.Mount.Point
	}
	return false
}

// joined is a request that fits a thread.
type joined struct {
	client *facts.CephState
	on     *WaitingOn
	how    string
	// rank orders how well it fits, the higher the better.
	rank int
}

// joinExactly finds the one request that fits a thread best.
func (w *world) joinExactly(h *Hang) {
	t := w.byTID[h.Task.TID]
	var best []joined
	for _, c := range w.clients(h) {
		for _, j := range w.fitting(c, h, t) {
			switch {
			case len(best) > 0 && j.rank < best[0].rank:
			case len(best) > 0 && j.rank == best[0].rank:
				best = append(best, j)
			default:
				best = []joined{j}
			}
		}
	}
	if len(best) != 1 {
		return
	}
	j := best[0]
	j.on = j.on.own()
	if device := string(h.Mount.device()); device != "" {
		w.ofDevice[device] = j.client
	}
	j.on.Evidence = append(j.on.Evidence, fmt.Sprintf("%s of %s, joined by %s: weaker than a walk, as the list names no threads", listOf(j.client), clientName(j.client), j.how))
	w.answer(h, j.on, j.client)
}

func listOf(c *facts.CephState) string {
	if c.Source == facts.SourceAdminSocket {
		return "request in the daemon's own list (admin socket)"
	}
	return "request in debugfs"
}

func clientName(c *facts.CephState) string {
	if c.ID == 0 {
		return fmt.Sprintf("process %d", c.PID)
	}
	return fmt.Sprintf("client.%d", c.ID)
}

// answer puts whom a thread waits for into its hang, and keeps what the stack
// and the mount said. What a FUSE daemon waits for stands behind the daemon.
func (w *world) answer(h *Hang, on *WaitingOn, c *facts.CephState) {
	on.Source = c.Source
	if c.Blocklisted {
		on.Evidence = append(List[string]{"the cluster has blocklisted " + clientName(c) + ": it has to be mounted anew"}, on.Evidence...)
	}
	if old := h.WaitingOn; old != nil && old.Kind == "fuse-daemon" {
		if old.PID == 0 {
			old.PID, old.Name = c.PID, Text(fmt.Sprintf("ceph-fuse[%d]", c.PID))
			old.Evidence = append(old.Evidence, "the daemon names this mount point as its own (admin socket)")
		}
		old.DaemonWaitsOn = daemonWait(on)
		return
	}
	if r := on.Request; r != nil && r.ForMS == nil {
		// The thread slept all the time, so the request that it waits for is at
		// least as old as its sleep.
		age := max(h.Blocked.ForMS, w.seenFor(c, on.Kind, r.ID))
		r.ForMS, r.AtLeast = &age, true
		on.OpenRequests.atLeast(age, w.opts.Threshold)
	}
	if old := h.WaitingOn; old != nil {
		on.Evidence = append(on.Evidence, old.Evidence...)
	}
	h.WaitingOn = on
}

// fitting lists the requests of a client that a thread may wait for.
func (w *world) fitting(c *facts.CephState, h *Hang, t *events.Task) []joined {
	var list []joined
	switch kind := h.WaitingOn.Kind; {
	case mounts.Kind(h.Mount.kind()) == mounts.KindRBD, kind == "mon":
		list = w.candidates(c, h).few
	case kind == "osd":
		list = w.fittingObject(c, h, t)
	case kind == "mds":
		list = w.fittingMDS(c, h, t)
	case kind == "unknown" && h.Mount.kind() == Text(mounts.KindCephFS):
		list = w.fittingCaps(c, h, t)
	case kind == "fuse-daemon":
		list = append(w.fittingMDS(c, h, t), w.fittingObject(c, h, t)...)
	}
	return list
}

func (w *world) fittingMDS(c *facts.CephState, h *Hang, t *events.Task) []joined {
	var list []joined
	found := w.index(c).fittingMDS(w.inodes(h, t), w.inFileSystem(h, t))
	for _, i := range slices.Sorted(maps.Keys(found)) {
		list = append(list, joined{client: c, on: w.onMDS(c, &c.MDSRequests[i]), how: found[i].how, rank: found[i].rank})
	}
	return list
}

func (w *world) onMDS(c *facts.CephState, r *facts.CephMDSRequest) *WaitingOn {
	on := w.clientMDS(c, r.Rank)
	target := ""
	switch {
	case r.Path != "":
		target = "/" + strings.TrimPrefix(r.Path, "/")
	case r.Name != "":
		target = fmt.Sprintf("#%x/%s", r.Ino, r.Name)
	case r.Ino != 0:
		target = fmt.Sprintf("#%x", r.Ino)
	}
	on.Request = &Request{ID: fmt.Sprint(r.TID), Op: Text(r.Op), Target: Text(target)}
	if r.AgeMS > 0 {
		on.Request.ForMS = new(r.AgeMS)
	}
	if r.Attempts > 0 {
		on.Request.Attempts = new(r.Attempts)
	}
	return on
}

// clientMDS names a rank, with what the client knows of it.
func (w *world) clientMDS(c *facts.CephState, rank int) *WaitingOn {
	on := &WaitingOn{Kind: "mds", Name: "unknown", OpenRequests: w.openAt(c, "mds", rank)}
	if rank < 0 {
		on.State = "sent to no MDS yet"
		return on
	}
	on.Name = Text(fmt.Sprintf("mds.%d", rank))
	for _, m := range c.MDS {
		if m.Rank != rank {
			continue
		}
		on.Address = Text(m.Address)
		var parts []string
		if m.Session != "" {
			parts = append(parts, "session "+m.Session)
		}
		if state := strings.TrimPrefix(m.State, "up:"); state != "" && state != "active" {
			parts = append(parts, state)
		}
		on.State = Text(strings.Join(parts, ", "))
	}
	return on
}

// fittingObject finds requests for the data of the thread's file: objects are
// named by the inode.
func (w *world) fittingObject(c *facts.CephState, h *Hang, t *events.Task) []joined {
	var list []joined
	for _, ino := range w.inodes(h, t) {
		for _, i := range w.index(c).byObject[ino] {
			list = append(list, joined{client: c, on: w.onOSD(c, &c.OSDRequests[i]), how: "the inode of its file", rank: 1})
		}
	}
	if len(list) > 1 { // several for one file: any of them keeps the thread
		list[0].how += fmt.Sprintf(" (one of %d for this file)", len(list))
		list = list[:1]
	}
	return list
}

func (w *world) onOSD(c *facts.CephState, r *facts.CephOSDRequest) *WaitingOn {
	on := &WaitingOn{Kind: "osd", Name: "unknown", OpenRequests: w.openAt(c, "osd", r.OSD), Request: &Request{ID: fmt.Sprint(r.TID), Op: Text(r.Op), Target: Text(r.Object)}}
	if r.Attempts >= 0 {
		on.Request.Attempts = new(r.Attempts)
	}
	if r.AgeMS > 0 {
		on.Request.ForMS = new(r.AgeMS)
	}
	if r.OSD < 0 {
		on.State = "no OSD is up for it"
	} else {
		on.Name = Text(fmt.Sprintf("osd.%d", r.OSD))
	}
	for _, o := range c.OSDs {
		if o.ID == r.OSD {
			on.Address = Text(o.Address)
			if o.State != "" && o.State != "exists, up" {
				on.State = Text(o.State)
			}
		}
	}
	if r.Paused {
		on.State = "paused by the OSD map (full, or pause is set)"
	}
	for _, p := range c.Pools {
		if p.ID == r.Pool {
			on.Evidence = append(on.Evidence, "pool "+p.Name+", placement group "+r.PG)
		}
	}
	return on
}

// onMON names the monitor where there is only one: a client does not show which
// of several it talks to.
func (w *world) onMON(c *facts.CephState) *WaitingOn {
	on := &WaitingOn{Kind: "mon", Name: "unknown", OpenRequests: w.openAt(c, "mon", 0)}
	switch len(c.MONs) {
	case 0:
	case 1:
		on.Name, on.Address = Text(fmt.Sprintf("mon.%d", c.MONs[0].Rank)), Text(c.MONs[0].Address)
	default:
		var all []string
		for _, m := range c.MONs {
			all = append(all, fmt.Sprintf("mon.%d %s", m.Rank, m.Address))
		}
		on.Evidence = append(on.Evidence, "one of "+strings.Join(all, ", ")+": which, the client does not show")
	}
	return on
}

// fittingCaps finds a process among those that wait for capabilities.
func (w *world) fittingCaps(c *facts.CephState, h *Hang, t *events.Task) []joined {
	inos := w.inodes(h, t)
	var list []joined
	for _, waiter := range c.CapWaiters {
		if waiter.TGID != t.PID {
			continue
		}
		j := joined{client: c, how: "the process", rank: 1}
		for _, ino := range inos {
			if ino == waiter.Ino {
				j.how, j.rank = "process and inode", 2
			}
		}
		j.on = &WaitingOn{Kind: "mds", Name: "unknown"}
		if len(c.MDS) == 1 {
			j.on = w.clientMDS(c, c.MDS[0].Rank)
		}
		j.on.Evidence = append(j.on.Evidence, fmt.Sprintf("waits for caps on inode %#x: needs %s, wants %s", waiter.Ino, waiter.Need, waiter.Want))
		list = append(list, j)
	}
	return list
}
