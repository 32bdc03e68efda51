package correlate

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// joinServer names the server alone: no single request fits, but each that it
// may be is with the same one.
func (w *world) joinServer(h *Hang) {
	var all candidateSet
	for _, c := range w.clients(h) {
		all.add(w.candidates(c, h))
	}
	if all.n == 0 || !all.one {
		return
	}
	first := all.few[0]
	if first.on.Name == "unknown" && first.on.Kind == h.WaitingOn.Kind {
		return // says nothing new
	}
	on := first.on.own()
	on.Request = nil
	switch mounts.Kind(h.Mount.kind()) {
	case mounts.KindRBD:
		on.Evidence = append(on.Evidence, fmt.Sprintf("%s open for this image; which of them this thread waits for is not known: %s",
			count(all.n, "request is", "requests are"), all.requests()))
	default:
		on.Evidence = append(on.Evidence, fmt.Sprintf("every open request that it may be (%d) is with this server; which one is not known", all.n))
	}
	on.Evidence = append(on.Evidence, "from the "+listOf(first.client))
	w.answer(h, on, first.client)
}

// own is a copy that can be added to.
func (on *WaitingOn) own() *WaitingOn {
	c := *on
	c.Evidence = slices.Clone(on.Evidence)
	if on.Request != nil {
		c.Request = new(*on.Request)
	}
	if on.OpenRequests != nil {
		c.OpenRequests = new(*on.OpenRequests)
	}
	return &c
}

// candidateSet is the requests that one of many threads may wait for: how many,
// the first of them, and whether all are with one server.
type candidateSet struct {
	few []joined
	n   int
	one bool
}

const fewCandidates = 3

func (s *candidateSet) put(j joined) {
	if s.n++; s.n == 1 {
		s.one = true
	} else if first := s.few[0].on; j.on.Name != first.Name || j.on.Address != first.Address || j.on.Kind != first.Kind {
		s.one = false
	}
	if len(s.few) < fewCandidates {
		s.few = append(s.few, j)
	}
}

func (s *candidateSet) add(more *candidateSet) {
	for _, j := range more.few {
		s.put(j)
	}
	s.n += more.n - len(more.few)
	s.one = s.one && (more.n == 0 || more.one)
}

// requests spells out a few of them.
func (s *candidateSet) requests() string {
	var parts []string
	for _, j := range s.few {
		r := j.on.Request
		parts = append(parts, fmt.Sprintf("%s %s %s", r.ID, r.Op, r.Target))
	}
	if s.n > len(s.few) {
		parts = append(parts, fmt.Sprintf("%d more", s.n-len(s.few)))
	}
	return strings.Join(parts, ", ")
}

// candidateKey is all that candidates depend on.
type candidateKey struct {
	client *facts.CephState
	kind   string
	image  string
	statfs bool
}

// candidates are all open requests of a client of the kind a thread waits for.
func (w *world) candidates(c *facts.CephState, h *Hang) *candidateSet {
	key := candidateKey{client: c, kind: h.WaitingOn.Kind, statfs: h.Syscall != nil && strings.HasSuffix(string(h.Syscall.Name), "statfs")}
	if mounts.Kind(h.Mount.kind()) == mounts.KindRBD {
		d, ok := w.blocks.Remote(string(h.Mount.Device))
		if !ok || d.ImageID == "" {
			return &candidateSet{}
		}
		key.kind, key.image = "osd", d.ImageID
	}
	set := w.candidateSets[key]
	if set == nil {
		set = w.findCandidates(key)
		if w.candidateSets == nil {
			w.candidateSets = make(map[candidateKey]*candidateSet)
		}
		w.candidateSets[key] = set
	}
	return set
}

func (w *world) findCandidates(key candidateKey) *candidateSet {
	c, set := key.client, &candidateSet{}
	put := func(on *WaitingOn, how string) { set.put(joined{client: c, on: on, how: how, rank: 1}) }
	if key.kind == "mds" || key.kind == "fuse-daemon" {
		for i := range c.MDSRequests {
			if r := &c.MDSRequests[i]; !r.Unsafe && !r.Aborted {
				put(w.onMDS(c, r), "")
			}
		}
		for _, m := range c.MDS { // an unmount waits for the sessions themselves
			if key.kind == "mds" && m.Session == "closing" {
				put(w.clientMDS(c, m.Rank), "")
			}
		}
	}
	if key.kind == "osd" || key.kind == "fuse-daemon" {
		for i := range c.OSDRequests {
			r := &c.OSDRequests[i]
			if !r.Linger && (key.image == "" || ofImage(r.Object, key.image)) {
				put(w.onOSD(c, r), "the image")
			}
		}
	}
	if key.kind == "mon" {
		for _, r := range c.MONRequests {
			if key.statfs == (r.Op == "statfs") {
				on := w.onMON(c)
				on.Request = &Request{ID: fmt.Sprint(r.TID), Op: Text(r.Op)}
				put(on, "the kind of request")
			}
		}
	}
	return set
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
