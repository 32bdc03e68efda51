package leftover

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// Options say what counts.
type Options struct {
	// Kinds are the file systems in question. What cannot be told apart (a
	// FUSE connection without a mount) counts if any FUSE kind does.
	Kinds mounts.KindSet
	// ThresholdMS is how old a request must be to count as hung.
	ThresholdMS int64
	// Decoded saves decoding the walks again. This field is optional.
	Decoded *correlate.Decoded

	walk *events.Walk // in tests, instead of the snapshot's
}

// super is one superblock: its mounts, users and requests.
type super struct {
	device  string // "0:53"; "" unknown
	kind    mounts.Kind
	fstype  string
	source  string
	image   string
	host    []mounts.Mount // in the namespace that the kubelet sees
	foreign []mounts.Mount
	fuse    *facts.FuseConnection
	hangs   []*correlate.Hang
	files   []facts.HeldFile
	kernel  *events.Superblock
	// detached are mounts that the walker saw in no namespace, hidden those in
	// a namespace that no process is in.
	detached, hidden []events.Mount
	probe            *facts.Probe
}

// node is a snapshot made ready for questions.
type node struct {
	snap    *facts.Snapshot
	scan    *facts.Scan
	report  *correlate.Report
	opts    Options
	supers  map[string]*super
	mounted map[string]bool // devices in any mount table
	ns      map[uint32]facts.MountNamespace
	procs   map[int]*facts.Process
	walk    *events.Walk
	blocks  mounts.Blocks
}

func newNode(snap *facts.Snapshot, report *correlate.Report, opts Options) (*node, error) {
	if snap.Scan == nil {
		return nil, fmt.Errorf("snapshot: made by another command than scan")
	}
	if snap.Kube == nil {
		snap.Kube = &facts.Kube{}
	}
	n := &node{
		snap: snap, scan: snap.Scan, report: report, opts: opts, supers: make(map[string]*super),
		mounted: make(map[string]bool), ns: make(map[uint32]facts.MountNamespace), procs: make(map[int]*facts.Process),
		blocks: mounts.NewBlocks(snap.Blocks),
	}
	for i := range snap.Processes {
		n.procs[snap.Processes[i].PID] = &snap.Processes[i]
	}
	for _, m := range n.scan.Namespaces {
		n.ns[m.ID] = m
	}
	for _, d := range n.scan.MountDevices {
		n.mounted[d] = true
	}
	n.indexMounts()
	n.indexWalk()
	n.indexUsers()
	return n, nil
}

// remote are the kinds that somebody else answers for.
func remote(k mounts.Kind) bool {
	switch k {
	case mounts.KindCephFS, mounts.KindCephFuse, mounts.KindRBD, mounts.KindNFS, mounts.KindFuse, mounts.KindCIFS:
		return true
	}
	return false
}

func (n *node) super(device string) *super {
	s := n.supers[device]
	if s == nil {
		s = &super{device: device}
		n.supers[device] = s
	}
	return s
}

func (n *node) indexMounts() {
	for _, t := range n.snap.Mounts {
		if t.Earlier {
			continue
		}
		table, err := mounts.Parse([]byte(t.Text), t.Namespace, n.blocks)
		if err != nil {
			continue
		}
		for _, m := range table.Mounts {
			n.mounted[m.Device] = true
			if !remote(m.Kind) {
				continue
			}
			s := n.super(m.Device)
			s.kind, s.fstype, s.source, s.image = m.Kind, m.FSType, m.Source, m.Image
			if t.Namespace == n.scan.HostNS {
				s.host = append(s.host, m)
			} else {
				s.foreign = append(s.foreign, m)
			}
		}
	}
}

// agreed is what two walks over the kernel's structures agree on; nil without.
func (n *node) agreed() *events.Walk {
	if n.opts.walk != nil || len(n.snap.Walks) < 2 {
		return n.opts.walk
	}
	w, err := n.opts.Decoded.Walk(n.snap)
	if err != nil {
		return nil
	}
	return &w
}

func (n *node) indexWalk() {
	w := n.agreed()
	if w == nil {
		return
	}
	n.walk = w
	for i := range w.Superblocks {
		sb := &w.Superblocks[i]
		dev := deviceOf(sb.Dev)
		kind := mounts.KindOf(sb.FSType, "", dev, n.blocks)
		if !remote(kind) {
			continue
		}
		s := n.super(dev)
		s.kernel = sb
		if s.kind == "" {
			s.kind, s.fstype = kind, sb.FSType
		}
	}
	for _, m := range w.Mounts {
		s := n.supers[deviceOf(m.Dev)]
		if s == nil {
			continue
		}
		if m.Detached {
			s.detached = append(s.detached, m)
		} else if _, known := n.ns[m.NS]; !known {
			s.hidden = append(s.hidden, m)
		}
	}
}

// indexUsers sorts connections, threads, files and probes to superblocks.
func (n *node) indexUsers() {
	for i := range n.snap.Fuse {
		c := &n.snap.Fuse[i]
		s := n.super(c.Device)
		s.fuse = c
		if s.kind == "" {
			s.kind, s.fstype = mounts.KindFuse, "fuse"
		}
	}
	for i := range n.scan.Files {
		f := n.scan.Files[i]
		if f.Device == "" {
			continue
		}
		if s := n.supers[f.Device]; s != nil {
			s.files = append(s.files, f)
		} else if kind := mounts.KindOf(f.FSType, "", f.Device, n.blocks); f.Detached && remote(kind) {
			s := n.super(f.Device)
			s.kind, s.fstype, s.files = kind, f.FSType, append(s.files, f)
		}
	}
	for _, h := range n.report.Hangs {
		if s := n.superOfHang(h); s != nil {
			s.hangs = append(s.hangs, h)
		}
	}
	for i := range n.scan.Probes {
		if s := n.supers[n.scan.Probes[i].Device]; s != nil {
			s.probe = &n.scan.Probes[i]
		}
	}
}

func (n *node) superOfHang(h *correlate.Hang) *super {
	if h.Mount == nil || h.Mount.Device == "" {
		return nil
	}
	device := string(h.Mount.Device)
	if s := n.supers[device]; s != nil {
		return s
	}
	if kind := mounts.Kind(h.Mount.Kind); remote(kind) && !n.mounted[device] {
		s := n.super(device)
		s.kind, s.fstype = kind, string(h.Mount.FSType)
		return s
	}
	return nil
}

func deviceOf(d events.Dev) string { return fmt.Sprintf("%d:%d", d.Major(), d.Minor()) }

// list gives the superblocks in a stable order.
func (n *node) list() []*super {
	out := make([]*super, 0, len(n.supers))
	for _, s := range n.supers {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *super) int { return compareDevices(a.device, b.device) })
	return out
}

func compareDevices(a, b string) int {
	x, _ := mounts.DeviceNumber(a)
	y, _ := mounts.DeviceNumber(b)
	return cmp.Compare(x, y)
}

// wanted tells whether a superblock is of a kind asked for.
func (n *node) wanted(s *super) bool {
	if n.opts.Kinds.Has(s.kind) {
		return true
	}
	return s.kind == mounts.KindFuse && len(s.host)+len(s.foreign) == 0 && n.opts.Kinds.Has(mounts.KindCephFuse)
}

// volumeRef reads a path by every kubelet root there is.
func (n *node) volumeRef(name string) (kube.VolumeRef, bool) {
	for _, root := range n.snap.Kube.RootDirs {
		if ref, ok := kube.ParsePath(root, name); ok {
			return ref, true
		}
	}
	return kube.VolumeRef{}, false
}
