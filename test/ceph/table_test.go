package ceph

import (
	"path"
	"time"
)

// The pods and volumes that guest-setup.sh makes. The names say which kind of
// volume the pod has; gone's is unmounted while its server is silent.
const (
	flatUID = "3f2b9c1e-7a54-4c0d-9e11-aa00bb11cc22"
	csiUID  = "8a1d5b60-02c7-4a8e-b7d3-5f6e7d8c9b0a"
	rbdUID  = "c4e7f2a9-6b3d-4f15-8c20-1a2b3c4d5e6f"
	goneUID = "0d9e8f7a-1b2c-4d3e-9f40-a1b2c3d4e5f6"
	lazyUID = "5a4b3c2d-1e0f-4a5b-8c6d-7e8f9a0b1c2d"
	xfsUID  = "b7a6c5d4-e3f2-4b1a-9d8c-7e6f5a4b3c2d"

	csiPV     = "pvc-6f0c2a1b-53de-4c1f-a1c2-0e9d8c7b6a59"
	csiHandle = "0001-0009-rook-ceph-0000000000000001-9a8b7c6d"
	rbdPV     = "pvc-77aa10c4-8d2e-4b3f-9c5a-6e7f8091a2b3"
	rbdHandle = "0001-0009-rook-ceph-0000000000000002-5e4f3a2b"

	pods       = "/var/lib/kubelet/pods/"
	flatMount  = pods + flatUID + "/volumes/kubernetes.io~cephfs/data"
	csiMount   = pods + csiUID + "/volumes/kubernetes.io~csi/" + csiPV + "/mount"
	csiSubPath = pods + csiUID + "/volume-subpaths/" + csiPV + "/app/0"
	rbdMount   = pods + rbdUID + "/volumes/kubernetes.io~csi/" + rbdPV + "/mount"
	goneMount  = pods + goneUID + "/volumes/kubernetes.io~cephfs/gone"
	lazyMount  = pods + lazyUID + "/volumes/kubernetes.io~cephfs/lazy"
	xfsMount   = pods + xfsUID + "/volumes/kubernetes.io~rbd/xvol"
)

// volume is what the tool must say about the volume behind a mount point.
type volume struct {
	Kind    string // of the mount
	PodUID  string
	PodName string // namespace/name from /var/log/pods; "" for unknown
	Plugin  string
	Name    string
	PV      string // only where vol_data.json tells
	Driver  string
	Image   string // POOL/IMAGE
	// Detached tells that it is unmounted before anybody asks: lazily, or by an
	// umount that hangs.
	Detached bool
}

var volumes = map[string]volume{
	flatMount:  {Kind: "cephfs", PodUID: flatUID, PodName: "shop/web-0", Plugin: "kubernetes.io/cephfs", Name: "data"},
	csiMount:   {Kind: "cephfs", PodUID: csiUID, PodName: "shop/db-0", Plugin: "kubernetes.io/csi", Name: csiPV, PV: csiPV, Driver: "cephfs.csi.ceph.com"},
	csiSubPath: {Kind: "cephfs", PodUID: csiUID, PodName: "shop/db-0", Name: csiPV},
	rbdMount:   {Kind: "rbd", PodUID: rbdUID, PodName: "shop/cache-0", Plugin: "kubernetes.io/csi", Name: rbdPV, PV: rbdPV, Driver: "rbd.csi.ceph.com", Image: "rbd/vol"},
	goneMount:  {Kind: "cephfs", PodUID: goneUID, Plugin: "kubernetes.io/cephfs", Name: "gone", Detached: true},
	lazyMount:  {Kind: "cephfs", PodUID: lazyUID, Plugin: "kubernetes.io/cephfs", Name: "lazy", Detached: true},
	xfsMount:   {Kind: "rbd", PodUID: xfsUID, Plugin: "kubernetes.io/rbd", Name: "xvol", Image: "rbd/volx"},
}

// hungOp is one operation that must hang, and all that is expected of it.
type hungOp struct {
	Name  string // of the subtest
	Op    string // of hangop
	Mount string
	Path  string // below Mount

	// What the kernel must show, else the lab and not the tool is at fault.
	States string   // letters
	Frames []string // one of these functions is on the stack

	// What the tool must say.
	Reason   string
	Syscalls []string // one of these; none: no syscall at all
	WaitsOn  []string // one of these kinds
	Behind   string   // the op it is a victim of; "jbd2": the journal's thread
	// Server is waiting_on.name. Request is one of the request's ops, Target a
	// part of what it is about; a request must be no older than the freeze.
	Server  string
	Request []string
	Target  string
	// Evidence must be said, State be in waiting_on.state.
	Evidence, State string
}

func (o hungOp) fullPath() string { return path.Join(o.Mount, o.Path) }

var (
	statCalls     = []string{"newfstatat", "stat", "statx"}
	openCalls     = []string{"openat", "open"}
	removeCalls   = []string{"unlinkat", "rmdir", "unlink"}
	onMDS         = []string{"mds"}
	onOSD         = []string{"osd"}
	onMON         = []string{"mon"}
	onLock        = []string{"lock"}
	mdsWait       = []string{"ceph_mdsc_wait_request", "ceph_mdsc_do_request"}
	writebackWait = []string{"folio_wait_writeback", "wait_on_page_writeback", "folio_wait_bit_common", "wait_on_page_bit_common"}
	pageWait      = []string{"folio_wait_bit_common", "wait_on_page_bit_common", "__lock_page_or_retry"}
)

// A phase makes servers silent and starts its ops.
type phase struct {
	Name string
	// Before runs on the healthy cluster. Silence makes it silent, by the words
	// of cephlab.sh; Heal ends that, and with it every hang. A phase without
	// Heal must be the last: its cluster and guest are killed as they are.
	Before, Silence, Heal [][]string
	// Warm names paths that must be in the client's cache, so that the op hangs
	// in its own request and not in the lookup of a parent.
	Warm []string
	Ops  []hungOp
	// Victims start once all Ops are blocked, Late only under the live tracer,
	// which therefore sees their entry.
	Victims []hungOp
	Late    []hungOp
	// Detach are unmounted lazily once all but Late are blocked.
	Detach []string
	// Settle is how long they are left alone before anybody asks.
	Settle time.Duration
	// Live tells that the live tracer is asked, too.
	Live bool
	// Degraded tells that the report is asked for again under each handicap.
	Degraded bool
}

func (p phase) all() []hungOp {
	return append(append(append([]hungOp(nil), p.Ops...), p.Victims...), p.Late...)
}

var phases = []phase{
	{
		Name:    "mds",
		Silence: [][]string{{"freeze", "mds"}},
		Heal:    [][]string{{"thaw"}},
		Detach:  []string{lazyMount},
		Live:    true,
		Warm: []string{flatMount + "/d5/file", csiMount + "/d2", csiMount + "/d5/empty",
			csiMount + "/d4", csiSubPath, lazyMount + "/d2"},
		Ops: []hungOp{
			{Name: "stat", Op: "stat", Mount: flatMount, Path: "d1/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"lookup"}, Target: "/d1"},
			{Name: "ls", Op: "ls", Mount: flatMount, Path: "d4", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: []string{"getdents64"}, WaitsOn: onMDS, Server: "mds.0", Request: []string{"readdir"}, Target: "/d4"},
			{Name: "creat", Op: "creat", Mount: csiMount, Path: "d2/new", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"create", "open", "lookupino"}},
			{Name: "detached creat", Op: "creat", Mount: lazyMount, Path: "d2/new", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"create", "open", "lookupino"}},
			{Name: "open", Op: "open", Mount: csiMount, Path: "d3/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"open", "lookup"}, Target: "/d3"},
			{Name: "rmdir", Op: "rmdir", Mount: csiMount, Path: "d5/empty", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: removeCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"rmdir"}, Target: "/d5/empty"},
			{Name: "unlink", Op: "unlink", Mount: flatMount, Path: "d5/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: removeCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"unlink"}, Target: "/d5/file"},
			{Name: "stat relative to cwd", Op: "statcwd", Mount: flatMount, Path: "d6/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"lookup", "getattr"}, Target: "/d6/file"},
			{Name: "openat relative to fd", Op: "openat", Mount: csiMount, Path: "d6/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"open", "lookup"}, Target: "/d6/file"},
			{Name: "stat below a subPath", Op: "stat", Mount: csiSubPath, Path: "file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"lookup", "getattr"}, Target: "/sub"},
			{Name: "umount", Op: "umount", Mount: goneMount, States: "D", Frames: []string{"ceph_mdsc_close_sessions", "ceph_mdsc_pre_umount"}, Reason: "after_syscall", Syscalls: []string{"umount2"}, WaitsOn: onMDS, Server: "mds.0", Evidence: "umount waits"},
		},
		Victims: []hungOp{
			{Name: "stat behind creat", Op: "stat", Mount: csiMount, Path: "d2/other", States: "D", Frames: []string{"walk_component", "lookup_slow"}, Reason: "in_syscall", Syscalls: statCalls, Behind: "creat", WaitsOn: onLock},
			{Name: "readdir behind creat", Op: "ls", Mount: csiMount, Path: "d2", States: "D", Frames: []string{"iterate_dir"}, Reason: "in_syscall", Syscalls: []string{"getdents64"}, Behind: "creat", WaitsOn: onLock, Evidence: "held by thread"},
			{Name: "stat behind a detached creat", Op: "stat", Mount: lazyMount, Path: "d2/other", States: "D", Frames: []string{"walk_component", "lookup_slow"}, Reason: "in_syscall", Syscalls: statCalls, Behind: "detached creat", WaitsOn: onLock},
		},
		Late: []hungOp{
			// A minute after the freeze the client trusts nothing of its cache: it asks for
			// the root first.
			{Name: "late open", Op: "open", Mount: flatMount, Path: "d7/file", States: "D", Frames: mdsWait, Reason: "slow_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"open", "lookup", "getattr"}, Target: "/"},
		},
	},
	{
		Name:    "another client withholds capabilities",
		Before:  [][]string{{"fuse", "up"}, {"fuse", "hold", "flat/held"}},
		Silence: [][]string{{"freeze", "fuse"}},
		Heal:    [][]string{{"thaw", "fuse"}, {"fuse", "down"}},
		Settle:  20 * time.Second, // an MDS is asked for a renewal every 15 s
		Ops: []hungOp{
			{Name: "write", Op: "openwrite", Mount: flatMount, Path: "held", States: "SD", Frames: []string{"ceph_get_caps", "ceph_mdsc_wait_request"}, Reason: "in_syscall", Syscalls: []string{"write", "openat"}, WaitsOn: onMDS, Server: "mds.0", Evidence: "another client may withhold"},
		},
	},
	{
		Name:    "mon",
		Silence: [][]string{{"freeze", "mon"}},
		Heal:    [][]string{{"thaw"}},
		Ops: []hungOp{
			{Name: "statfs", Op: "statfs", Mount: flatMount, States: "S", Frames: []string{"wait_generic_request"}, Reason: "in_syscall", Syscalls: []string{"statfs"}, WaitsOn: onMON, Server: "mon.0", Request: []string{"statfs"}},
		},
	},
	{
		Name:    "network cut",
		Silence: [][]string{{"cut"}},
		Heal:    [][]string{{"uncut"}},
		Ops: []hungOp{
			{Name: "open", Op: "open", Mount: csiMount, Path: "d7/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"open", "lookup"}, Target: "/d7"},
			{Name: "statfs", Op: "statfs", Mount: flatMount, States: "S", Frames: []string{"wait_generic_request"}, Reason: "in_syscall", Syscalls: []string{"statfs"}, WaitsOn: onMON, Server: "mon.0", Request: []string{"statfs"}},
		},
	},
	{
		Name:    "mds killed",
		Silence: [][]string{{"kill", "mds"}},
		Heal:    [][]string{{"start", "mds"}},
		Ops: []hungOp{
			{Name: "stat", Op: "stat", Mount: csiMount, Path: "d8/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS, Server: "mds.0", Request: []string{"lookup"}, Target: "/d8", State: "connection lost"},
		},
	},
	{
		Name:    "osd and mon",
		Silence: [][]string{{"freeze", "osd", "mon"}},
		Live:    true,
		Ops: []hungOp{
			{Name: "page fault", Op: "fault", Mount: flatMount, Path: "big", States: "D", Frames: pageWait, Reason: "page_fault", WaitsOn: onOSD, Server: "osd.0", Request: []string{"read"}, Target: ".00000000"},
			{Name: "read", Op: "read", Mount: csiMount, Path: "big", States: "D", Frames: pageWait, Reason: "in_syscall", Syscalls: []string{"pread64"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"read"}, Target: ".00000000"},
			{Name: "fsync", Op: "fsync", Mount: csiMount, Path: "dirty", States: "D", Frames: writebackWait, Reason: "in_syscall", Syscalls: []string{"fsync"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"write"}, Target: ".00000000"},
			{Name: "read of ext4 on rbd", Op: "read", Mount: rbdMount, Path: "big", States: "D", Frames: pageWait, Reason: "in_syscall", Syscalls: []string{"pread64"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"read"}, Target: "rbd_data.", Evidence: "rbd image: rbd/vol"},
			{Name: "fsync of ext4 on rbd", Op: "chmodfsync", Mount: rbdMount, Path: "dirty", States: "D", Frames: writebackWait, Reason: "in_syscall", Syscalls: []string{"fsync"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"write"}, Target: "rbd_data.", Evidence: "rbd image: rbd/vol"},
			{Name: "read of xfs on rbd", Op: "read", Mount: xfsMount, Path: "big", States: "D", Frames: pageWait, Reason: "in_syscall", Syscalls: []string{"pread64"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"read"}, Target: "rbd_data.", Evidence: "rbd image: rbd/volx"},
			{Name: "fsync of xfs on rbd", Op: "fsync", Mount: xfsMount, Path: "dirty", States: "D", Frames: writebackWait, Reason: "in_syscall", Syscalls: []string{"fsync"}, WaitsOn: onOSD, Server: "osd.0", Request: []string{"write"}, Target: "rbd_data.", Evidence: "rbd image: rbd/volx"},
			{Name: "statfs", Op: "statfs", Mount: flatMount, States: "S", Frames: []string{"wait_generic_request"}, Reason: "in_syscall", Syscalls: []string{"statfs"}, WaitsOn: onMON, Server: "mon.0", Request: []string{"statfs"}},
		},
		Degraded: true,
		Victims: []hungOp{
			// It asks for the commit itself, which waits for the silent OSD.
			{Name: "fsync behind the journal", Op: "metafsync", Mount: rbdMount, Path: "big", States: "D", Frames: []string{"jbd2_log_wait_commit"}, Reason: "in_syscall", Syscalls: []string{"fsync"}, WaitsOn: onLock, Behind: "jbd2"},
		},
		Late: []hungOp{
			{Name: "late page fault", Op: "fault", Mount: csiMount, Path: "big2", States: "D", Frames: pageWait, Reason: "page_fault", WaitsOn: onOSD, Server: "osd.0", Request: []string{"read"}, Target: ".00000000"},
		},
	},
}
