package correlate

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// joinServer names the server alone: no single request fits, but each that it
// may be is with the same one.
func (w *world) joinServer(h *Hang) {
	var all []joined
	for _, c := range w.clients(h) {
		all = append(all, w.candidates(c, h)...)
	}
	if len(all) == 0 {
		return
	}
	first := all[0]
	for _, j := range all[1:] {
		if j.on.Name != first.on.Name || j.on.Address != first.on.Address || j.on.Kind != first.on.Kind {
			return
		}
	}
	if first.on.Name == "unknown" && first.on.Kind == h.WaitingOn.Kind {
		return // says nothing new
	}
	on := *first.on
	on.Request = nil
	switch mounts.Kind(h.Mount.kind()) {
	case mounts.KindRBD:
		on.Evidence = append(on.Evidence, fmt.Sprintf("%s open for this image; which of them this thread waits for is not known: %s",
			count(len(all), "request is", "requests are"), requestList(all)))
	default:
		on.Evidence = append(on.Evidence, fmt.Sprintf("every open request that it may be (%d) is with this server; which one is not known", len(all)))
	}
	on.Evidence = append(on.Evidence, "from "+listOf(first.client))
	w.answer(h, &on, first.client)
}

// requestList spells out a few requests.
func requestList(list []joined) string {
	const most = 3
	var parts []string
	for i, j := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		r := j.on.Request
		parts = append(parts, fmt.Sprintf("%s %s %s", r.ID, r.Op, r.Target))
	}
	return strings.Join(parts, ", ")
}

// candidates are all open requests of a client of the kind a thread waits for.
func (w *world) candidates(c *facts.CephState, h *Hang) []joined {
	var list []joined
	kind := h.WaitingOn.Kind
	if mounts.Kind(h.Mount.kind()) == mounts.KindRBD {
		return w.fittingImage(c, h)
	}
	if kind == "mds" || kind == "fuse-daemon" {
		for i := range c.MDSRequests {
			if r := &c.MDSRequests[i]; !r.Unsafe && !r.Aborted {
				list = append(list, joined{client: c, on: w.onMDS(c, r)})
			}
		}
		for _, m := range c.MDS { // an unmount waits for the sessions themselves
			if kind == "mds" && m.Session == "closing" {
				list = append(list, joined{client: c, on: w.clientMDS(c, m.Rank)})
			}
		}
	}
	if kind == "osd" || kind == "fuse-daemon" {
		for i := range c.OSDRequests {
			if r := &c.OSDRequests[i]; !r.Linger {
				list = append(list, joined{client: c, on: w.onOSD(c, r)})
			}
		}
	}
	if kind == "mon" {
		list = w.fittingMON(c, h)
	}
	return list
}

// inodes are the inode numbers of the files that a thread's call or fault is
// about.
func (w *world) inodes(h *Hang, t *events.Task) []uint64 {
	if h.Reason == ReasonPageFault {
		return w.mappedInodes(h, t)
	}
	c, ok := w.call(t)
	if !ok {
		return nil
	}
	var list []uint64
	for _, i := range c.FDArgs(t.Args) {
		fd := int(int32(t.Args[i]))
		if f := w.files[fdKey{t.PID, fd}]; f != nil && f.Inode != 0 {
			list = append(list, f.Inode)
		} else if l := w.links[linkKey{t.PID, 0, fmt.Sprintf("fd/%d", fd)}]; l != nil {
			if ino := fdinfoInode(l.FDInfo); ino != 0 {
				list = append(list, ino)
			}
		}
	}
	return list
}

// fdinfoInode finds the line "ino:\t123", which Linux writes since 5.14
// (3845f256a8b5).
func fdinfoInode(text string) uint64 {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "ino:"); ok {
			var ino uint64
			if _, err := fmt.Sscan(v, &ino); err == nil {
				return ino
			}
		}
	}
	return 0
}

// mappedInodes are those of the file that a page fault is on.
func (w *world) mappedInodes(h *Hang, t *events.Task) []uint64 {
	var list []uint64
	for _, m := range w.snap.Maps {
		if m.PID != t.PID || h.Path.Value == "" {
			continue
		}
		for line := range strings.Lines(m.Text) {
			f := strings.Fields(line)
			var ino uint64
			if len(f) < 6 || !strings.HasSuffix(strings.TrimRight(line, "\n"), " "+string(h.Path.Value)) {
				continue
			}
			if _, err := fmt.Sscan(f[4], &ino); err == nil && ino != 0 {
				return append(list, ino)
			}
		}
	}
	return list
}

// inFileSystem is the path of a hang from the root of the file system as the client
// mounted it; "" unknown.
func (w *world) inFileSystem(h *Hang, t *events.Task) string {
	m := h.Mount
	if m == nil || m.Point == "" || h.Path.Value == "" {
		return ""
	}
	root := "/"
	if full, _, ok := w.history.ByID(uint32(m.Namespace), int(m.ID)); ok {
		root = full.Root
	} else if full, _, ok := w.history.ByID(t.MountNS, int(m.ID)); ok {
		root = full.Root
	}
	rest, ok := strings.CutPrefix(string(h.Path.Value), string(m.Point))
	if !ok {
		return ""
	}
	return strings.Trim(path.Join(root, rest), "/")
}

// seenFor is for how many ms a live session has seen a request.
func (w *world) seenFor(c *facts.CephState, kind, id string) int64 {
	if w.opts.Memory == nil {
		return 0
	}
	first, ok := w.opts.Memory.requests[requestKey{c.Source, c.FSID, c.ID, kind, id}]
	if !ok {
		return 0
	}
	return max(c.AtNS-first, 0) / 1e6
}

// openAtMDS counts a client's requests to one MDS. An unsafe one is answered, and
// not overdue however old.
func (w *world) openAtMDS(c *facts.CephState, rank int) *OpenRequests {
	var o OpenRequests
	for _, r := range c.MDSRequests {
		if r.Rank == rank {
			age := int64(0)
			if !r.Unsafe {
				age = max(r.AgeMS, w.seenFor(c, "mds", fmt.Sprint(r.TID)))
			}
			o.addListed(age, w.opts.Threshold)
		}
	}
	return o.orNil()
}

func (w *world) openAtOSD(c *facts.CephState, osd int) *OpenRequests {
	var o OpenRequests
	for _, r := range c.OSDRequests {
		if r.OSD == osd && !r.Linger {
			o.addListed(max(r.AgeMS, w.seenFor(c, "osd", fmt.Sprint(r.TID))), w.opts.Threshold)
		}
	}
	return o.orNil()
}

func (w *world) openAtMON(c *facts.CephState) *OpenRequests {
	var o OpenRequests
	for _, r := range c.MONRequests {
		o.addListed(w.seenFor(c, "mon", fmt.Sprint(r.TID)), w.opts.Threshold)
	}
	return o.orNil()
}

// addListed adds a request of a list that names no threads; its age may be
// unknown (0).
func (o *OpenRequests) addListed(ageMS int64, threshold time.Duration) {
	o.Total++
	if ageMS <= 0 {
		return
	}
	if ageMS >= threshold.Milliseconds() {
		o.Overdue++
	}
	if o.OldestMS == nil || *o.OldestMS < ageMS {
		o.OldestMS = &ageMS
	}
}

// atLeast takes in the age of the one request that a thread is known to wait
// for.
func (o *OpenRequests) atLeast(ageMS int64, threshold time.Duration) {
	if o == nil {
		return
	}
	if ageMS >= threshold.Milliseconds() {
		o.Overdue = max(o.Overdue, 1)
	}
	if o.OldestMS == nil || *o.OldestMS < ageMS {
		o.OldestMS = &ageMS
	}
}

// requestKey names a request over time: a client never uses a number twice.
type requestKey struct {
	source, fsid string
	client       uint64
	kind, id     string
}

// rememberRequests notes which requests are open, and forgets those that are
// not any more.
func (m *Memory) rememberRequests(list []facts.CephState) {
	now := make(map[requestKey]int64, len(m.requests))
	for i := range list {
		c := &list[i]
		note := func(kind string, tid uint64) {
			key := requestKey{c.Source, c.FSID, c.ID, kind, fmt.Sprint(tid)}
			first, ok := m.requests[key]
			if !ok {
				first = c.AtNS
			}
			now[key] = first
		}
		for _, r := range c.MDSRequests {
			note("mds", r.TID)
		}
		for _, r := range c.OSDRequests {
			note("osd", r.TID)
		}
		for _, r := range c.MONRequests {
			note("mon", r.TID)
		}
	}
	m.requests = now
}
