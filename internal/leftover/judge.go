package leftover

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// Questions are what the judgement would like to know more about. Answers go
// into the snapshot before Judge.
type Questions struct {
	// VolumeData are the paths of vol_data.json files of volumes in question.
	VolumeData []string
	// Probes are mounts of which nothing seen so far tells whether they answer.
	Probes []ProbeTarget
}

// ProbeTarget is one device to probe.
type ProbeTarget struct {
	Device string
	// Point is the path in the root of process PID: a mount point or, for a
	// BlockDevice, its node.
	Point       string
	PID         int
	BlockDevice bool
}

// Ask says what to read and probe before Judge. The report must be of the same
// snapshot. The options must be those of Judge: what one takes for hung the
// other must not leave unasked.
func Ask(snap *facts.Snapshot, report *correlate.Report, opts Options) (Questions, error) {
	n, err := newNode(snap, report, opts)
	if err != nil {
		return Questions{}, err
	}
	var q Questions
	volume := func(name string) {
		if ref, ok := n.volumeRef(name); ok && ref.VolDataPath != "" && !slices.Contains(q.VolumeData, ref.VolDataPath) {
			q.VolumeData = append(q.VolumeData, ref.VolDataPath)
		}
	}
	for _, f := range n.findings() {
		if f.Volume == nil && f.Mount != nil && f.Mount.Image != "" {
			q.VolumeData = append(q.VolumeData, n.everyVolumeData(q.VolumeData)...)
		}
		volume(string(f.Path))
		if f.Mount != nil {
			volume(string(f.Mount.Point))
		}
	}
	for _, s := range n.list() {
		if health, _ := n.health(s); health == correlate.HealthHung || !n.wanted(s) {
			continue
		}
		if dead, _ := n.dead(s); dead {
			continue
		}
		if t, ok := n.target(s); ok {
			q.Probes = append(q.Probes, t)
			volume(t.Point)
		}
	}
	return q, nil
}

// everyVolumeData are the vol_data.json files of all CSI volumes, but those asked
// for already: one of them may name what is in an rbd image.
func (n *node) everyVolumeData(known []string) []string {
	const most = 1000
	var list []string
	for _, d := range n.scan.Dirs {
		if d.File && path.Base(d.Path) == volData && len(list) < most && !slices.Contains(known, d.Path) {
			list = append(list, d.Path)
		}
	}
	return list
}

// imageVolume names the volume in an rbd image of which no path tells.
func (n *node) imageVolume(image string) *correlate.Volume {
	if image == "" || n.snap.Kube == nil {
		return nil
	}
	ref, ok := kube.VolumeOfImage(image, n.snap.Kube.VolumeData, n.snap.Kube.RootDirs)
	if !ok {
		return nil
	}
	return n.volume(ref)
}

// target picks where to ask a superblock; none for one that is mounted nowhere.
func (n *node) target(s *super) (ProbeTarget, bool) {
	t := ProbeTarget{Device: s.device}
	switch {
	case len(s.host) > 0:
		t.Point, t.PID = s.host[0].Point, n.scan.HostPID
	case len(s.foreign) > 0:
		t.Point, t.PID = s.foreign[0].Point, n.ns[s.foreign[0].Namespace].PID
	default:
		return t, false
	}
	if s.kind == mounts.KindRBD {
		disk, ok := n.blocks.Remote(s.device)
		if !ok {
			return t, false
		}
		t.Device, t.Point, t.PID, t.BlockDevice = disk.Device, "/dev/"+disk.Name, n.scan.HostPID, true
	}
	return t, t.PID != 0
}

// Judge turns a snapshot with a Scan into what is left over.
func Judge(snap *facts.Snapshot, report *correlate.Report, opts Options) (*correlate.Scan, error) {
	n, err := newNode(snap, report, opts)
	if err != nil {
		return nil, err
	}
	out := &correlate.Scan{
		Schema: correlate.ScanSchema, TakenAt: snap.TakenAt, TookMS: snap.TookMS, Node: report.Node,
		Leftovers: n.findings(), Checked: n.checked(),
	}
	out.Summary = summarise(out)
	return out, nil
}

// findings are all leftovers, the most dangerous first.
func (n *node) findings() []*correlate.Leftover {
	var out []*correlate.Leftover
	for _, s := range n.supers {
		n.attribute(s)
	}
	stuck, taken := n.stuckUmounts()
	out = append(out, stuck...)
	for _, s := range n.list() {
		if !taken[s.device] && n.wanted(s) {
			out = append(out, n.ofSuper(s)...)
		}
	}
	out = append(out, n.uncountedCeph()...)
	out = append(out, n.staleRBD()...)
	out = append(out, n.orphanDirs()...)
	return inOrder(out)
}

// inOrder sorts findings, the most dangerous first.
func inOrder(out []*correlate.Leftover) []*correlate.Leftover {
	order := correlate.Classes()
	slices.SortStableFunc(out, func(a, b *correlate.Leftover) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Class), slices.Index(order, b.Class)),
			boolOrder(a.Health == correlate.HealthHung, b.Health == correlate.HealthHung),
			cmp.Compare(a.Path, b.Path),
		)
	})
	return out
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// attribute gives a superblock whose type is not known from a mount table the
// type that a blocked thread's mount has.
func (n *node) attribute(s *super) {
	for _, h := range s.hangs {
		if h.Mount == nil || s.source != "" {
			continue
		}
		s.source = string(h.Mount.Source)
		if k := mounts.Kind(h.Mount.Kind); s.kind == mounts.KindFuse && k == mounts.KindCephFuse {
			s.kind, s.fstype = k, string(h.Mount.FSType)
		}
	}
}

// ofSuper judges one superblock that no unmount is stuck on.
func (n *node) ofSuper(s *super) []*correlate.Leftover {
	switch {
	case len(s.host) > 0:
		return n.attached(s)
	case len(s.foreign) > 0 || len(s.hidden) > 0:
		return n.foreign(s)
	}
	return n.nowhere(s)
}

// attached judges what the kubelet's own namespace has mounted.
func (n *node) attached(s *super) []*correlate.Leftover {
	health, evidence := n.health(s)
	if dead, why := n.dead(s); dead {
		l := n.leftover(correlate.ClassDeadFuse, s, n.point(s))
		l.Evidence = append([]string{why}, evidence...)
		l.Health = correlate.HealthUnknown
		n.remedyDead(l, s, s.host)
		return []*correlate.Leftover{l}
	}
	var out []*correlate.Leftover
	for _, m := range s.host {
		ref, ok := n.volumeRef(m.Point)
		if !ok || ref.PodUID == "" {
			continue
		}
		state, why := n.podState(ref.PodUID)
		if state != kube.StateDeleted || n.young(ref.PodUID) {
			continue
		}
		l := n.leftover(correlate.ClassOrphanMount, s, m)
		l.Health, l.Evidence = correlate.Text(health), append([]string{why}, evidence...)
		l.NextPass = correlate.Text(n.nextPass(ref, health))
		n.remedyMount(l, s, m, health)
		out = append(out, l)
	}
	if len(out) > 0 || health != correlate.HealthHung {
		return out
	}
	m := n.point(s)
	l := n.leftover(correlate.ClassHungMount, s, m)
	l.Health, l.Evidence = correlate.HealthHung, evidence
	for _, o := range s.host {
		if o.Point != m.Point {
			l.Evidence = append(l.Evidence, "also mounted on "+o.Point)
		}
	}
	if ref, ok := n.volumeRef(m.Point); ok {
		l.NextPass = correlate.Text(n.nextPass(ref, health))
	}
	n.remedyMount(l, s, m, health)
	return []*correlate.Leftover{l}
}

// point picks the mount that says most about the volume: a pod's before a
// global one before any other.
func (n *node) point(s *super) mounts.Mount {
	rank := func(m mounts.Mount) int {
		ref, ok := n.volumeRef(m.Point)
		switch {
		case ok && ref.Kind == kube.PodVolume:
			return 0
		case ok && ref.PodUID != "":
			return 1
		case ok:
			return 2
		}
		return 3
	}
	return slices.MinFunc(s.host, func(a, b mounts.Mount) int { return cmp.Compare(rank(a), rank(b)) })
}

// leftover makes a finding of a superblock at a mount.
func (n *node) leftover(class correlate.Class, s *super, m mounts.Mount) *correlate.Leftover {
	attached := m.Point != ""
	l := &correlate.Leftover{
		ID: n.id(class, s.device, m.Point), Class: class, Path: correlate.Text(m.Point),
		Mount: &correlate.Mount{
			ID: correlate.Number(m.ID), Device: correlate.Text(s.device), Point: correlate.Text(m.Point),
			FSType: correlate.Text(s.fstype), Source: correlate.Text(s.source), Kind: correlate.Text(s.kind),
			Namespace: correlate.Number(m.Namespace), Attached: &attached, From: "mountinfo", Image: s.image,
		},
	}
	if !attached {
		l.Mount.From = "device"
	}
	if ref, ok := n.volumeRef(m.Point); ok && ref.Name != "" {
		l.Volume = n.volume(ref)
	}
	for _, h := range s.hangs { // a thread may know what no table does
		if l.Volume == nil {
			l.Volume = h.Volume
		}
		if l.Path == "" {
			l.Path = h.Path.Value
		}
	}
	if s.kind == mounts.KindRBD && l.Mount.Image == "" {
		l.Mount.Image = n.blocks.Image(s.device)
	}
	if l.Volume == nil {
		l.Volume = n.imageVolume(l.Mount.Image)
	}
	n.holders(l, s)
	return l
}

func (n *node) id(class correlate.Class, parts ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %q", n.snap.Node.BootID, class, parts)
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (n *node) checked() correlate.Checked {
	c := correlate.Checked{
		Processes: n.scan.Processes, Namespaces: len(n.scan.Namespaces), Mounts: n.scan.Mounts,
		Pods: len(n.snap.Kube.Pods), PodSources: n.snap.Kube.PodSources,
		FuseConnections: len(n.snap.Fuse), CephClients: len(n.scan.Ceph), HungThreads: len(n.report.Hangs),
		Probed: len(n.scan.Probes), Walker: n.walk != nil, Degraded: n.snap.Degraded,
	}
	for _, b := range n.snap.Blocks {
		if b.Driver == "rbd" && strings.HasPrefix(b.Name, "rbd") && len(b.Below) == 0 {
			c.RBDDevices++
		}
	}
	c.PodDirs = len(n.podDirs())
	for _, s := range n.snap.Skipped {
		c.Skipped = append(c.Skipped, correlate.Skipped{What: s.What, Why: s.Why})
	}
	if len(n.snap.Kube.PodSources) == 0 && c.PodDirs > 0 {
		c.Degraded = append(slices.Clone(c.Degraded), "neither a container runtime nor /var/log/pods tells which pods exist: what belongs to deleted ones cannot be told")
	}
	return c
}

func summarise(s *correlate.Scan) correlate.ScanSummary {
	sum := correlate.ScanSummary{Findings: len(s.Leftovers), ByClass: make(map[correlate.Class]int)}
	for _, l := range s.Leftovers {
		sum.ByClass[l.Class]++
	}
	if sum.Findings == 0 {
		sum.Verdict = "Nothing is left over."
		return sum
	}
	var parts []string
	for _, class := range correlate.Classes() {
		if c := sum.ByClass[class]; c > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c, class))
		}
	}
	sum.Verdict = plural(sum.Findings, "leftover") + ": " + strings.Join(parts, ", ") + "."
	return sum
}
