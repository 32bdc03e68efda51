package correlate

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
)

// page explains a wait for a page by the request that brings it or takes it
// away.
func (x *walkIndex) page(p *events.PageWait) {
	key := waitKey{what: "page", a: p.Addr}
	what := fmt.Sprintf("page %d of inode %#x (%s), seen twice", p.Index, p.Ino, orUnknown(p.Bit))
	if q := x.osdOfPage(p); q != nil {
		e := x.osdWait(q).with(what)
		e.dev, e.path = x.device(p.Dev), p.Path
		x.explain(p.Waiters, e)
		return
	}
	if q := x.fuseByNode[inode{p.Dev, p.NodeID}]; q != nil && p.NodeID != 0 {
		e := x.fuseWait(q).with(what)
		e.path = p.Path
		x.explain(p.Waiters, e)
		return
	}
	if d := x.rbd(p.Dev); d != nil {
		x.explain(p.Waiters, x.rbdWait(d, p.Bit == "writeback", p.Dev, p.Path, key, what))
		return
	}
	x.explain(p.Waiters, &explained{
		kind: "unknown", dev: x.device(p.Dev), path: p.Path, key: key,
		say: func(*world) *WaitingOn { return &WaitingOn{Kind: "unknown", Evidence: []string{what}} },
	})
}

// with adds evidence.
func (e *explained) with(evidence string) *explained {
	say := e.say
	e.say = func(w *world) *WaitingOn {
		on := say(w)
		on.Evidence = append(on.Evidence, evidence)
		return on
	}
	return e
}

// inode names a file: by its number, or as its FUSE server does.
type inode struct {
	dev    events.Dev
	number uint64
}

// indexFiles finds the requests of a file: thousands of pages may be waited for.
func (x *walkIndex) indexFiles() {
	x.fuseByNode = make(map[inode]*events.FuseRequest)
	for i := range x.walk.FuseRequests {
		q := &x.walk.FuseRequests[i]
		if at := (inode{q.Dev, q.NodeID}); x.fuseByNode[at] == nil {
			x.fuseByNode[at] = q
		}
	}
	x.osdByFile = make(map[inode]directions)
	for i := range x.walk.OSDRequests {
		q := &x.walk.OSDRequests[i]
		if q.Ino == 0 {
			continue
		}
		at := inode{q.Dev, q.Ino}
		d := x.osdByFile[at]
		oldest := &d.read
		if q.Write {
			oldest = &d.write
		}
		if *oldest == nil || q.AgeNS > (*oldest).AgeNS {
			*oldest = q
		}
		x.osdByFile[at] = d
	}
}

// directions are the oldest requests of a file.
type directions struct{ read, write *events.OSDRequest }

// osdOfPage is the OSD request that a cephfs page is part of: one of its inode,
// in its direction if there is one, the oldest of them. Which page is in which
// object depends on the file's layout, which is not read.
func (x *walkIndex) osdOfPage(p *events.PageWait) *events.OSDRequest {
	d := x.osdByFile[inode{p.Dev, p.Ino}]
	same, other := d.read, d.write
	if p.Bit == "writeback" {
		same, other = other, same
	}
	if same != nil {
		return same
	}
	return other
}

// bit explains a wait for a buffer or an inode's state.
func (x *walkIndex) bit(b *events.BitWait) {
	key := waitKey{what: "bit", a: b.Addr, b: uint64(b.Bit)}
	switch b.Kind {
	case "buffer":
		what := fmt.Sprintf("block %d of device %s, seen twice", b.Block, b.Dev)
		if d := x.rbd(b.Dev); d != nil {
			e := x.rbdWait(d, false, b.Dev, "", key, what)
			e.buffer = true
			x.explain(b.Waiters, e)
			return
		}
		x.explain(b.Waiters, &explained{
			kind: "block-device", dev: x.device(b.Dev), key: key, buffer: true,
			say: func(w *world) *WaitingOn {
				on := &WaitingOn{Kind: "block-device", Evidence: []string{what}}
				for _, dev := range w.snap.Blocks {
					if dev.Device == w.device(b.Dev) {
						on.Name = Text(dev.Name)
					}
				}
				return on
			},
		})
	case "inode":
		x.explain(b.Waiters, &explained{
			kind: "lock", dev: x.device(b.Dev), path: b.Path, key: key,
			say: func(*world) *WaitingOn {
				return &WaitingOn{Kind: "lock", Name: Text("state of inode " + orUnknown(b.Path)),
					Evidence: []string{"another thread reads the inode in or writes it back; the kernel does not keep which"}}
			},
		})
	}
}

// rbd finds the image of a device, or of the disk that a partition is on:
// rbd keeps 16 minors a disk.
func (x *walkIndex) rbd(dev events.Dev) *events.RBDDevice {
	for i := range x.walk.RBDs {
		d := &x.walk.RBDs[i]
		if d.Dev == dev || d.Dev.Major() == dev.Major() && d.Dev.Minor() == dev.Minor()&^0xf && x.partitioned() {
			return d
		}
	}
	return nil
}

// partitioned tells that all images share one major number (single_major, the
// default since 4.0): only then are minors counted by sixteens.
func (x *walkIndex) partitioned() bool {
	for _, d := range x.walk.RBDs {
		if d.Dev.Major() != x.walk.RBDs[0].Dev.Major() {
			return false
		}
	}
	return len(x.walk.RBDs) > 0
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
func (x *walkIndex) rbdWait(d *events.RBDDevice, write bool, dev events.Dev, path string, key waitKey, what string) *explained {
	image := "rbd image: " + imageOf(d)
	same, other := x.imageRequests(d, write)
	candidates := same
	if len(candidates) == 0 {
		candidates = other
	}
	if len(candidates) == 0 {
		return &explained{kind: "block-device", dev: x.device(dev), path: path, key: key, say: func(*world) *WaitingOn {
			return &WaitingOn{Kind: "block-device", Name: Text(fmt.Sprintf("rbd%d", d.ID)), Evidence: []string{image, what, "the image has no request open at an OSD"}}
		}}
	}
	oldest := candidates[0]
	for _, q := range candidates {
		if q.AgeNS > oldest.AgeNS {
			oldest = q
		}
	}
	return &explained{kind: "osd", request: true, dev: x.device(dev), path: path, key: key, say: func(w *world) *WaitingOn {
		on := w.onOSDRequest(oldest)
		if n := len(candidates); n > 1 {
			on.Evidence[0] = fmt.Sprintf("the oldest of %d requests of the image in the kernel client's own list, seen twice", n)
		} else {
			on.Evidence[0] = "the only such request of the image in the kernel client's own list, seen twice"
		}
		on.Evidence = append(List[string]{image}, append(on.Evidence, what)...)
		return on
	}}
}

// imageRequests are an image's open requests to OSDs: those in one direction,
// and the others.
func (x *walkIndex) imageRequests(d *events.RBDDevice, write bool) (same, other []*events.OSDRequest) {
	for i := range x.walk.OSDRequests {
		q := &x.walk.OSDRequests[i]
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
