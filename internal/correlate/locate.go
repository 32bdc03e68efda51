package correlate

import (
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// The values of Mount.From.
const (
	fromMountinfo  = "mountinfo"
	fromDevice     = "device"
	fromRemembered = "remembered"
	fromStack      = "stack"
)

// locate finds the mount of a place. An anchor holds for certain; a path alone
// is looked up in the mount table of the thread's namespace, with its symbolic
// links followed where that was possible; and what the stack shows outranks
// both, since after umount -l today's table names the file system below.
func (w *world) locate(t *events.Task, pl *place) {
	v := w.view(t)
	fits := func(m mounts.Mount) bool { return compatible(m.Kind, v.fs) }
	if m, from, attached, ok := w.byPath(t, pl, fits); ok && (pl.anchor == nil || m.Device == pl.anchor.device || pl.anchor.device == "" && !pl.anchor.detached || w.deeper(pl, m)) {
		w.on(pl, m, from, attached)
	} else if pl.anchor != nil {
		w.byAnchor(t, pl)
	}
	if pl.kind != "" && compatible(pl.kind, v.fs) || v.fs == "" {
		return
	}
	w.byStack(t, pl, v)
}

// deeper tells whether a mount lies below the directory that a relative path
// started from: then the path crossed onto it, and the anchor is only the way
// there.
func (w *world) deeper(pl *place, m mounts.Mount) bool {
	if pl.anchor == nil || pl.anchor.detached {
		return false
	}
	a, _, ok := w.history.ByID(pl.anchor.ns, pl.anchor.mountID)
	return ok && len(m.Point) > len(a.Point)
}

// mountKey is a mount as a table has it, and how a thread holds it.
type mountKey struct {
	id                  int
	ns                  uint32
	device, point, from string
	kind                mounts.Kind
	attached            bool
}

// on puts a place on a mount of a table; all places on it share one Mount.
func (w *world) on(pl *place, m mounts.Mount, from string, attached bool) {
	pl.kind = m.Kind
	key := mountKey{id: m.ID, ns: m.Namespace, device: m.Device, point: m.Point, from: from, kind: m.Kind, attached: attached}
	pl.mount = w.mounts[key]
	if pl.mount == nil {
		pl.mount = &Mount{
			ID: Number(m.ID), Device: Text(m.Device), Point: Text(m.Point), FSType: Text(m.FSType), Source: Text(m.Source),
			Kind: Text(m.Kind), Namespace: Number(m.Namespace), Attached: &attached, From: from, Image: m.Image,
		}
		w.mounts[key] = pl.mount
	}
}

// compatible tells whether a thread in file-system code fs can be on a mount of
// this kind. FUSE code serves ceph-fuse too; no file-system code on the stack
// fits everything.
func compatible(k, fs mounts.Kind) bool {
	switch fs {
	case "":
		return true
	case mounts.KindFuse:
		return k == mounts.KindFuse || k == mounts.KindCephFuse
	case mounts.KindRBD:
		return k == mounts.KindRBD
	}
	return k == fs
}

func (w *world) byPath(t *events.Task, pl *place, fits func(mounts.Mount) bool) (m mounts.Mount, from string, attached, ok bool) {
	p := string(pl.path.Value)
	if p == "" {
		return m, "", false, false
	}
	if r := w.resolved[pathKey{t.PID, p}]; r != "" {
		p = r
	}
	prefer := func(m mounts.Mount) bool { return m.Kind != mounts.KindBlock && m.Kind != mounts.KindOther && fits(m) }
	m, attached, ok = w.history.Lookup(t.MountNS, p, prefer)
	if !ok {
		return m, "", false, false
	}
	if attached {
		return m, fromMountinfo, true, true
	}
	return m, fromRemembered, false, true
}

// byAnchor finds the mount an open file or working directory holds.
func (w *world) byAnchor(t *events.Task, pl *place) {
	a := pl.anchor
	if m, attached, ok := w.history.ByID(a.ns, a.mountID); ok && (a.device == "" || m.Device == a.device) {
		from := fromMountinfo
		if !attached {
			from = fromRemembered
		}
		w.on(pl, m, from, attached && !a.detached)
		return
	}
	found, attached := w.history.LookupDevice(a.ns, a.device)
	if a.mountID == 0 && !attached && a.device != "" {
		// Known by the device alone (a mapping): it is held, and no table has it.
		a.detached = a.detached || len(found) > 0 || w.fuseDevice(a.device)
	}
	if len(found) > 0 && (attached || a.detached) {
		m := w.podsOf(found)
		from := fromDevice
		if !attached {
			from = fromRemembered
		}
		if a.detached {
			// Another mount of the same superblock names the file system, but
			// the one held is gone.
			m.ID, attached = a.mountID, false
		}
		w.on(pl, m, from, attached)
		return
	}
	if a.fstype == "" && w.fuseDevice(a.device) {
		a.fstype = "fuse"
	}
	pl.kind = mounts.KindOf(a.fstype, "", a.device, w.blocks)
	if pl.kind == mounts.KindFuse {
		pl.kind = w.refine(t, pl, pl.kind)
	}
	attachedNow := !a.detached
	pl.mount = &Mount{ID: Number(a.mountID), Device: Text(a.device), FSType: Text(a.fstype), Kind: Text(pl.kind), Namespace: Number(a.ns), Attached: &attachedNow, From: fromDevice, Image: w.blocks.Image(a.device)}
	if a.detached {
		pl.mount.Namespace = 0
	}
}

// podsOf chooses among the mounts of one superblock, each of which shows the
// file: that of the pod, if just one pod has it, tells more than a CSI driver's
// global mount.
func (w *world) podsOf(found []mounts.Mount) mounts.Mount {
	best, pod := found[0], ""
	for _, m := range found {
		ref, ok := w.volumeRef(m.Point)
		if !ok || ref.PodUID == "" || m.Root != found[0].Root {
			continue
		}
		if pod != "" && pod != ref.PodUID {
			return found[0]
		}
		if pod == "" {
			best, pod = m, ref.PodUID
		}
	}
	return best
}

// fuseDevice tells whether a device is a FUSE connection's.
func (w *world) fuseDevice(device string) bool {
	return slices.ContainsFunc(w.snap.Fuse, func(c facts.FuseConnection) bool { return c.Device == device })
}

// byStack says what the stack alone proves: the file system's kind, and, where
// the path leads elsewhere today, that the mount is gone from there.
func (w *world) byStack(t *events.Task, pl *place, v stackView) {
	if pl.path.Value == "" && pl.anchor == nil && w.byWaiting(t, pl, v.fs) {
		return
	}
	kind := w.refine(t, pl, v.fs)
	m := &Mount{Kind: Text(kind), From: fromStack}
	if pl.anchor != nil && pl.anchor.device != "" {
		m.Device, m.ID = Text(pl.anchor.device), Number(pl.anchor.mountID)
	}
	// Another file system answers for this path now: the mount that the
	// thread waits on is no longer there. With links that could not be
	// followed that is not known.
	if pl.mount != nil && pl.path.Source == pathArgument && w.complete(t, pl) {
		gone := false
		m.Attached = &gone
	}
	if pl.anchor != nil && pl.anchor.detached {
		gone := false
		m.Attached = &gone
	}
	// The request that it waits for names the super block.
	if e := w.explained[t.TID]; m.Device == "" && m.Attached != nil && e != nil && e.dev != "" && e.dev != "0:0" {
		m.Device = Text(e.dev)
	}
	if d := w.lonelyFuse(v.fs); m.Device == "" && d != "" && m.Attached != nil {
		m.Device = Text(d)
	}
	pl.kind, pl.mount = kind, m
}

// complete tells whether a path's links were followed to their end.
func (w *world) complete(t *events.Task, pl *place) bool {
	_, ok := w.resolved[pathKey{t.PID, string(pl.path.Value)}]
	return ok
}

// refine tells ceph-fuse from other FUSE file systems where only the stack is
// left: by the volume plugin in the path, else by what the namespace has
// mounted, if that is all of one kind.
func (w *world) refine(t *events.Task, pl *place, fs mounts.Kind) mounts.Kind {
	if fs != mounts.KindFuse {
		return fs
	}
	if ref, ok := w.volumeRef(string(pl.path.Value)); ok && cephPlugin(ref, w.volumeData(ref)) {
		return mounts.KindCephFuse
	}
	namespaces := []uint32{t.MountNS}
	if t.MountNS == 0 { // a dying thread has left its namespace
		namespaces = w.history.Namespaces()
	}
	var kinds []mounts.Kind
	for _, ns := range namespaces {
		table := w.history.Current(ns)
		if table == nil {
			continue
		}
		for _, m := range table.Mounts {
			if compatible(m.Kind, fs) && !slices.Contains(kinds, m.Kind) {
				kinds = append(kinds, m.Kind)
			}
		}
	}
	if len(kinds) == 1 {
		return kinds[0]
	}
	if w.cephDaemon(pl, fs) {
		return mounts.KindCephFuse
	}
	return fs
}

// cephDaemon tells whether the daemon behind a detached FUSE mount is ceph-fuse:
// by the connection's number, or because every daemon of the node is one.
func (w *world) cephDaemon(pl *place, fs mounts.Kind) bool {
	dev := w.lonelyFuse(fs)
	if pl.anchor != nil && pl.anchor.device != "" {
		dev = pl.anchor.device
	}
	all := len(w.snap.FuseDaemons) > 0
	for _, d := range w.snap.FuseDaemons {
		ceph := d.Comm == "ceph-fuse"
		if dev != "" && d.Number != 0 && device(d.Number>>20, d.Number&0xfffff) == dev {
			return ceph
		}
		all = all && ceph
	}
	return all
}

// byWaiting finds the mount of a thread that waits for a FUSE daemon where
// neither path nor descriptor is known: only one connection has requests
// waiting, and it has only one mount.
func (w *world) byWaiting(t *events.Task, pl *place, fs mounts.Kind) bool {
	if fs != mounts.KindFuse {
		return false
	}
	device := ""
	for _, c := range w.snap.Fuse {
		if c.Waiting == 0 {
			continue
		}
		if c.Waiting < 0 || device != "" {
			return false
		}
		device = c.Device
	}
	found, attached := w.history.LookupDevice(t.MountNS, device)
	if device == "" || len(found) != 1 || !compatible(found[0].Kind, fs) {
		return false
	}
	w.on(pl, found[0], fromDevice, attached)
	return true
}

// lonelyFuse is the one FUSE connection that has requests waiting and is no
// mount's; "" when there is none or more than one.
func (w *world) lonelyFuse(fs mounts.Kind) string {
	if fs != mounts.KindFuse {
		return ""
	}
	found := ""
	for _, c := range w.snap.Fuse {
		if c.Waiting <= 0 {
			continue
		}
		if _, attached := w.history.LookupDevice(0, c.Device); attached {
			continue
		}
		if found != "" {
			return ""
		}
		found = c.Device
	}
	return found
}

// parsedPath is what a path tells about a volume.
type parsedPath struct {
	ref kube.VolumeRef
	ok  bool
}

// volumeRef tells which volume a path lies in, under any kubelet root. Of
// thousands of files in one directory of a volume the directory is parsed alone,
// and VolumeRef.Rest is the directory's.
func (w *world) volumeRef(p string) (kube.VolumeRef, bool) {
	if p == "" || w.kube == nil {
		return kube.VolumeRef{}, false
	}
	if at := strings.LastIndexByte(p, '/'); at > 0 {
		switch p[at+1:] {
		case "", ".", "..": // not its own directory
		default:
			if dir := w.parsed(p[:at]); dir.ok && dir.ref.Name != "" && (dir.ref.Rest != "" || dir.ref.Kind == kube.PodVolume) {
				return dir.ref, true
			}
		}
	}
	all := w.parsed(p)
	return all.ref, all.ok
}

func (w *world) parsed(p string) parsedPath {
	const most = 4096
	got, ok := w.refs[p]
	if ok {
		return got
	}
	for _, root := range w.kube.RootDirs {
		if got.ref, got.ok = kube.ParsePath(root, p); got.ok {
			break
		}
	}
	if len(w.refs) < most {
		w.refs[p] = got
	}
	return got
}
