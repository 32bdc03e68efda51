package correlate

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
)

// page explains a wait for a page by the request that brings it or takes it
// away.
func (w *world) page(p *events.PageWait) {
	key := fmt.Sprintf("page %x", p.Addr)
	what := fmt.Sprintf("page %d of inode %#x (%s), seen twice", p.Index, p.Ino, orUnknown(p.Bit))
	if q := w.osdOfPage(p); q != nil {
		e := w.osdWait(q)
		e.dev, e.path = p.Dev.String(), p.Path
		e.on.Evidence = append(e.on.Evidence, what)
		w.explain(p.Waiters, e)
		return
	}
	for i := range w.walk.FuseRequests {
		q := &w.walk.FuseRequests[i]
		if q.Dev == p.Dev && q.NodeID == p.NodeID && p.NodeID != 0 {
			e := w.fuseWait(q)
			e.path = p.Path
			e.on.Evidence = append(e.on.Evidence, what)
			w.explain(p.Waiters, e)
			return
		}
	}
	if d := w.rbd(p.Dev); d != nil {
		w.explain(p.Waiters, w.rbdWait(d, p.Bit == "writeback", p.Dev, p.Path, key, what))
		return
	}
	w.explain(p.Waiters, &explained{dev: p.Dev.String(), path: p.Path, key: key,
		on: &WaitingOn{Kind: "unknown", Evidence: []string{what}}})
}

// osdOfPage is the OSD request that a cephfs page is part of: one of its inode,
// in its direction if there is one, the oldest of them. Which page is in which
// object depends on the file's layout, which is not read.
func (w *world) osdOfPage(p *events.PageWait) *events.OSDRequest {
	var best *events.OSDRequest
	fits := func(q *events.OSDRequest) bool { return q.Write == (p.Bit == "writeback") }
	for i := range w.walk.OSDRequests {
		q := &w.walk.OSDRequests[i]
		if q.Ino == 0 || q.Ino != p.Ino || q.Dev != p.Dev {
			continue
		}
		if best == nil || fits(q) && !fits(best) || fits(q) == fits(best) && q.AgeNS > best.AgeNS {
			best = q
		}
	}
	return best
}

// bit explains a wait for a buffer or an inode's state.
func (w *world) bit(b *events.BitWait) {
	key := fmt.Sprintf("bit %x %d", b.Addr, b.Bit)
	switch b.Kind {
	case "buffer":
		what := fmt.Sprintf("block %d of device %s, seen twice", b.Block, b.Dev)
		if d := w.rbd(b.Dev); d != nil {
			e := w.rbdWait(d, false, b.Dev, "", key, what)
			e.buffer = true
			w.explain(b.Waiters, e)
			return
		}
		on := &WaitingOn{Kind: "block-device", Evidence: []string{what}}
		for _, dev := range w.snap.Blocks {
			if dev.Device == b.Dev.String() {
				on.Name = Text(dev.Name)
			}
		}
		w.explain(b.Waiters, &explained{on: on, dev: b.Dev.String(), key: key, buffer: true})
	case "inode":
		on := &WaitingOn{Kind: "lock", Name: Text("state of inode " + orUnknown(b.Path)),
			Evidence: []string{"another thread reads the inode in or writes it back; the kernel does not keep which"}}
		w.explain(b.Waiters, &explained{on: on, dev: b.Dev.String(), path: b.Path, key: key})
	}
}

// rbd finds the image of a device, or of the disk that a partition is on:
// rbd keeps 16 minors a disk.
func (w *world) rbd(dev events.Dev) *events.RBDDevice {
	for i := range w.walk.RBDs {
		d := &w.walk.RBDs[i]
		if d.Dev == dev || d.Dev.Major() == dev.Major() && d.Dev.Minor() == dev.Minor()&^0xf && w.partitioned() {
			return d
		}
	}
	return nil
}

// partitioned tells that all images share one major number (single_major, the
// default since 4.0): only then are minors counted by sixteens.
func (w *world) partitioned() bool {
	for _, d := range w.walk.RBDs {
		if d.Dev.Major() != w.walk.RBDs[0].Dev.Major() {
			return false
		}
	}
	return len(w.walk.RBDs) > 0
}

func imageOf(d *events.RBDDevice) string {
	if d.Namespace != "" {
		return d.Pool + "/" + d.Namespace + "/" + d.Image
	}
	return d.Pool + "/" + d.Image
}

// rbdWait explains a wait for a page or block of an image by the image's OSD
// requests. A file system maps files to blocks, so which of them it is cannot
// be told where there are several: the oldest in the same direction stands for
// them, and the evidence says so.
func (w *world) rbdWait(d *events.RBDDevice, write bool, dev events.Dev, path, key, what string) *explained {
	e := &explained{dev: dev.String(), path: path, key: key}
	image := "rbd image: " + imageOf(d)
	same, other := w.imageRequests(d, write)
	candidates := same
	if len(candidates) == 0 {
		candidates = other
	}
	if len(candidates) == 0 {
		e.on = &WaitingOn{Kind: "block-device", Name: Text(fmt.Sprintf("rbd%d", d.ID)), Evidence: []string{image, what, "the image has no request open at an OSD"}}
		return e
	}
	oldest := candidates[0]
	for _, q := range candidates {
		if q.AgeNS > oldest.AgeNS {
			oldest = q
		}
	}
	e.on = w.osdWait(oldest).on
	if n := len(candidates); n > 1 {
		e.on.Evidence[0] = fmt.Sprintf("the oldest of %d requests of the image in the kernel client's own list, seen twice", n)
	} else {
		e.on.Evidence[0] = "the only such request of the image in the kernel client's own list, seen twice"
	}
	e.on.Evidence = append(List[string]{image}, append(e.on.Evidence, what)...)
	return e
}

// imageRequests are an image's open requests to OSDs: those in one direction,
// and the others.
func (w *world) imageRequests(d *events.RBDDevice, write bool) (same, other []*events.OSDRequest) {
	for i := range w.walk.OSDRequests {
		q := &w.walk.OSDRequests[i]
		if q.Client != d.Client || q.Linger || !ofImage(q.Object, d.ImageID) {
			continue
		}
		if q.Write == write {
			same = append(same, q)
		} else {
			other = append(other, q)
		}
	}
	return same, other
}

// ofImage tells an image's data objects: "rbd_data.<id>.<n>", with the pool's
// number before the id where the data pool is another.
func ofImage(object, id string) bool {
	return id != "" && strings.HasPrefix(object, "rbd_data.") && strings.Contains(object, "."+id+".")
}
