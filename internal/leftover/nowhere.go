package leftover

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// foreign judges what only other mount namespaces than the kubelet's have. A
// container may well mount something for itself; it is a leftover when the path
// is the kubelet's, when it is a kind that the node mounts for its pods, or
// when it hangs.
func (n *node) foreign(s *super) []*correlate.Leftover {
	health, evidence := n.health(s)
	dead, why := n.dead(s)
	m := n.foreignMount(s)
	_, volume := n.volumeRef(m.Point)
	if !dead && health != correlate.HealthHung && !volume && (s.kind == mounts.KindFuse || n.served(s, m.Namespace)) {
		return nil
	}
	class := correlate.ClassForeignNamespace
	if dead {
		class, evidence = correlate.ClassDeadFuse, append([]string{why}, evidence...)
	}
	l := n.leftover(class, s, m)
	l.Health = correlate.Text(health)
	where := fmt.Sprintf("mounted only in mount namespace %d, not in the kubelet's", m.Namespace)
	if m.Namespace == 0 {
		where = "mounted only in a mount namespace that no process is in"
	}
	l.Evidence = append([]string{where}, evidence...)
	if len(s.foreign) > 1 {
		l.Evidence = append(l.Evidence, fmt.Sprintf("%s of it in %s", plural(len(s.foreign), "mount"), plural(namespaces(s.foreign), "namespace")))
	}
	n.setHolders(l, append(slices.Clone(l.Holders), n.members(m.Namespace)...))
	l.NextPass = "the kubelet does not see this mount; it keeps the server's locks and the volume's attachment"
	n.remedyForeign(l, s, m, health)
	return []*correlate.Leftover{l}
}

func (n *node) foreignMount(s *super) mounts.Mount {
	if len(s.foreign) == 0 {
		h := s.hidden[0]
		return mounts.Mount{ID: h.ID, Device: s.device, Point: h.Point}
	}
	best := s.foreign[0]
	for _, m := range s.foreign {
		if _, ok := n.volumeRef(m.Point); ok {
			best = m
			break
		}
	}
	return best
}

// served tells whether the file system's own daemon runs in the namespace: a
// container that mounts something for itself.
func (n *node) served(s *super, ns uint32) bool {
	for _, d := range n.scan.Daemons {
		if p := n.procs[d.PID]; s.fuse != nil && d.Number == s.fuse.Number && p != nil && p.MountNS == ns {
			return true
		}
	}
	return false
}

func namespaces(list []mounts.Mount) int {
	seen := make(map[uint32]bool)
	for _, m := range list {
		seen[m.Namespace] = true
	}
	return len(seen)
}

// nowhere judges a superblock that is alive and in no mount table: it was
// unmounted lazily and somebody still uses it.
func (n *node) nowhere(s *super) []*correlate.Leftover {
	var evidence []string
	if n.inTransit(s) {
		return nil
	}
	if s.fuse != nil {
		if !n.before(s.fuse.Number) || n.mounted[s.device] {
			return nil // it is just being mounted, or mounted as another kind
		}
		evidence = append(evidence, fmt.Sprintf("FUSE connection %d is in no mount table", s.fuse.Number))
	}
	if s.kernel != nil {
		evidence = append(evidence, fmt.Sprintf("the kernel has a %s superblock for device %s without an attached mount", s.kernel.FSType, s.device))
		if c := s.kernel.Ceph; c != nil {
			evidence = append(evidence, fmt.Sprintf("it is client%d of cluster %s on %s", c.ClientID, c.FSID, or(c.ServerPath, "/")))
		}
	}
	for _, f := range s.files {
		if f.Detached {
			evidence = append(evidence, fmt.Sprintf("%s of %s lies on a mount that is in no mount table", f.How, n.process(f.PID)))
			break
		}
	}
	if len(evidence) == 0 && len(s.hangs) > 0 {
		evidence = append(evidence, "the mount of a blocked thread is in no mount table")
	}
	if len(evidence) == 0 {
		return nil
	}
	if len(s.detached) > 0 {
		evidence = append(evidence, plural(len(s.detached), "detached mount")+" of it")
	}
	health, more := n.health(s)
	class := correlate.ClassDetached
	if dead, why := n.dead(s); dead {
		class, more = correlate.ClassDeadFuse, append([]string{why}, more...)
	}
	l := n.leftover(class, s, mounts.Mount{})
	l.Health, l.Evidence = correlate.Text(health), append(evidence, more...)
	l.NextPass = "the kubelet does not see it: the directory looks clean, while the volume stays in use"
	n.remedyDetached(l, s, class == correlate.ClassDeadFuse)
	return []*correlate.Leftover{l}
}

// inTransit tells whether a superblock has no mount because it is just being
// mounted, or just being taken down: what was unmounted lazily still has its
// mount, though in no table. With a thread blocked on it, it is more than that.
func (n *node) inTransit(s *super) bool {
	if s.kernel == nil || len(s.detached) > 0 || len(s.hangs) > 0 {
		return false
	}
	return !slices.ContainsFunc(s.files, func(f facts.HeldFile) bool { return f.Detached })
}

// uncountedCeph finds lazily unmounted cephfs where the walker does not run:
// more of them are alive than mounted. Which is which is then not known, unless
// every one is left over.
func (n *node) uncountedCeph() []*correlate.Leftover {
	if n.walk != nil || !n.opts.Kinds.Has(mounts.KindCephFS) {
		return nil
	}
	alive, known := 0, 0
	for _, b := range n.scan.BDIs {
		if strings.HasPrefix(b, "ceph-") {
			alive++
		}
	}
	for _, s := range n.supers {
		if s.kind == mounts.KindCephFS {
			known++
		}
	}
	if alive <= known {
		return nil
	}
	s := &super{kind: mounts.KindCephFS, fstype: "ceph"}
	for _, h := range n.report.Hangs {
		if h.Mount != nil && h.Mount.Device == "" && mounts.Kind(h.Mount.Kind) == mounts.KindCephFS {
			s.hangs = append(s.hangs, h)
		}
	}
	l := n.leftover(correlate.ClassDetached, s, mounts.Mount{})
	l.Health = correlate.HealthUnknown
	if len(s.hangs) > 0 {
		l.Health = correlate.HealthHung
	}
	l.Evidence = []string{fmt.Sprintf("%d cephfs superblocks are alive (/sys/class/bdi), %d are in a mount table", alive, known)}
	for _, c := range n.scan.Ceph {
		if stuck := stuckRequests(c.MDSC, c.Later); c.CephFS && len(stuck) > 0 {
			l.Health = correlate.HealthHung
			l.Evidence = append(l.Evidence, fmt.Sprintf("ceph client %s: %s did not move for %s: %s", clientOf(c.Name), requests(len(stuck)), span(uint64(c.LaterMS)), stuck[0]))
		}
	}
	l.NextPass = "the kubelet does not see it: the directory looks clean, while the volume stays in use"
	n.remedyDetached(l, s, false)
	return []*correlate.Leftover{l}
}

// staleRBD finds mapped images that nobody uses.
func (n *node) staleRBD() []*correlate.Leftover {
	var out []*correlate.Leftover
	if !n.opts.Kinds.Has(mounts.KindRBD) {
		return nil
	}
	for i := range n.snap.Blocks {
		b := &n.snap.Blocks[i]
		if b.Driver != "rbd" || b.Image == "" || n.used(b) {
			continue
		}
		image := b.Pool + "/" + b.Image
		if b.PoolNS != "" {
			image = b.Pool + "/" + b.PoolNS + "/" + b.Image
		}
		l := &correlate.Leftover{
			ID: n.id(correlate.ClassStaleRBD, b.Device, image), Class: correlate.ClassStaleRBD, Path: correlate.Text("/dev/" + b.Name),
			Mount:    &correlate.Mount{Device: correlate.Text(b.Device), Source: correlate.Text("/dev/" + b.Name), Kind: correlate.Text(mounts.KindRBD), From: "device", Image: image},
			Health:   correlate.HealthUnknown,
			Evidence: []string{fmt.Sprintf("rbd image %s is mapped as %s; nothing is mounted from it, stands on it or has it open", image, b.Name)},
			Volume:   n.imageVolume(image),
			NextPass: "the kubelet does not see it; the image's watcher keeps other nodes from taking it over",
		}
		if b.InflightReads+b.InflightWrites > 0 {
			l.Health = correlate.HealthHung
			l.Evidence = append(l.Evidence, fmt.Sprintf("%d reads and %d writes are in flight", b.InflightReads, b.InflightWrites))
		}
		remedyRBD(l, b)
		out = append(out, l)
	}
	return out
}

// used tells whether an rbd device has a user: a mount, a file system that is
// alive, a device above it, a bind mount of its node (raw block volumes), an
// open descriptor.
func (n *node) used(b *facts.BlockDevice) bool {
	if n.mounted[b.Device] || n.supers[b.Device] != nil && n.supers[b.Device].kernel != nil {
		return true
	}
	for _, name := range n.scan.Supers {
		if path.Base(name) == b.Name {
			return true
		}
	}
	for i := range n.snap.Blocks {
		o := &n.snap.Blocks[i]
		if !slices.Contains(o.Below, b.Device) {
			continue
		}
		// A partition alone is no user, dm and md are.
		if partition := strings.HasPrefix(o.Name, b.Name+"p"); !partition || n.used(o) {
			return true
		}
	}
	for _, f := range n.scan.Files {
		if path.Base(f.Path) == b.Name {
			return true
		}
	}
	for _, t := range n.snap.Mounts {
		if t.Namespace == n.scan.HostNS && strings.Contains(t.Text, " /"+b.Name+" ") {
			return true
		}
	}
	return false
}

// orphanDirs finds volume directories of pods that are gone, with nothing
// mounted on them.
func (n *node) orphanDirs() []*correlate.Leftover {
	var out []*correlate.Leftover
	for _, pod := range n.podDirs() {
		uid := path.Base(pod)
		state, why := n.podState(uid)
		if state != kube.StateDeleted || n.young(uid) {
			continue
		}
		for _, d := range n.volumeDirs(pod) {
			if l := n.orphanDir(d, why); l != nil {
				out = append(out, l)
			}
		}
	}
	return out
}

func (n *node) orphanDir(dir, why string) *correlate.Leftover {
	if n.mountedBelow(dir) {
		return nil // its mount is the finding
	}
	ref, ok := n.volumeRef(dir)
	if !ok {
		return nil
	}
	below := n.below(dir)
	l := &correlate.Leftover{
		ID: n.id(correlate.ClassOrphanDir, dir), Class: correlate.ClassOrphanDir, Path: correlate.Text(dir),
		Volume: n.volume(ref), Evidence: []string{why, "nothing is mounted on it"},
	}
	data := slices.ContainsFunc(below, func(d facts.KubeDir) bool { return path.Base(d.Path) == volData })
	switch {
	case data && n.volumeData(ref) != nil:
		l.Evidence = append(l.Evidence, "its vol_data.json is still there and names the volume")
	case data:
		l.Evidence = append(l.Evidence, "its vol_data.json is still there")
	}
	if age := n.age(ref.PodUID); age > 0 {
		l.Evidence = append(l.Evidence, "the pod's directories did not change for "+span(uint64(age.Milliseconds())))
	}
	l.NextPass = correlate.Text(n.nextPassDir(ref, data))
	remedyDir(l, dir, below)
	return l
}
