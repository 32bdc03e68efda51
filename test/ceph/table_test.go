package ceph

import "path"

// The pods and volumes that guest-setup.sh makes. The names say which kind of
// volume the pod has; gone's is unmounted while its server is silent.
const (
	flatUID = "3f2b9c1e-7a54-4c0d-9e11-aa00bb11cc22"
	csiUID  = "8a1d5b60-02c7-4a8e-b7d3-5f6e7d8c9b0a"
	rbdUID  = "c4e7f2a9-6b3d-4f15-8c20-1a2b3c4d5e6f"
	goneUID = "0d9e8f7a-1b2c-4d3e-9f40-a1b2c3d4e5f6"

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
}

var volumes = map[string]volume{
	flatMount:  {Kind: "cephfs", PodUID: flatUID, PodName: "shop/web-0", Plugin: "kubernetes.io/cephfs", Name: "data"},
	csiMount:   {Kind: "cephfs", PodUID: csiUID, PodName: "shop/db-0", Plugin: "kubernetes.io/csi", Name: csiPV, PV: csiPV, Driver: "cephfs.csi.ceph.com"},
	csiSubPath: {Kind: "cephfs", PodUID: csiUID, PodName: "shop/db-0", Name: csiPV},
	rbdMount:   {Kind: "rbd", PodUID: rbdUID, PodName: "shop/cache-0", Plugin: "kubernetes.io/csi", Name: rbdPV, PV: rbdPV, Driver: "rbd.csi.ceph.com"},
	goneMount:  {Kind: "cephfs", PodUID: goneUID, Plugin: "kubernetes.io/cephfs", Name: "gone"},
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
	Behind   string   // the op it is a victim of
}

func (o hungOp) fullPath() string { return path.Join(o.Mount, o.Path) }

var (
	statCalls   = []string{"newfstatat", "stat", "statx"}
	openCalls   = []string{"openat", "open"}
	removeCalls = []string{"unlinkat", "rmdir", "unlink"}
	onMDS       = []string{"mds"}
	onOSD       = []string{"osd"}
	mdsWait     = []string{"ceph_mdsc_wait_request", "ceph_mdsc_do_request"}
	pageWait    = []string{"folio_wait_bit_common", "wait_on_page_bit_common", "__lock_page_or_retry"}
)

// A phase freezes some daemons and starts its ops.
type phase struct {
	Name   string
	Freeze []string
	// Warm names paths that must be in the client's cache, so that the op hangs
	// in its own request and not in the lookup of a parent.
	Warm []string
	Ops  []hungOp
	// Victims start once all Ops are blocked, Late only under the live tracer,
	// which therefore sees their entry.
	Victims []hungOp
	Late    []hungOp
	// Thaw ends the hangs while the live tracer runs. A phase without it must be
	// the last: its cluster and guest are killed as they are.
	Thaw bool
}

func (p phase) all() []hungOp {
	return append(append(append([]hungOp(nil), p.Ops...), p.Victims...), p.Late...)
}

var phases = []phase{
	{
		Name:   "mds",
		Freeze: []string{"mds"},
		Thaw:   true,
		Warm: []string{flatMount + "/d5/file", csiMount + "/d2", csiMount + "/d5/empty",
			csiMount + "/d4", csiSubPath},
		Ops: []hungOp{
			{Name: "stat", Op: "stat", Mount: flatMount, Path: "d1/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS},
			{Name: "ls", Op: "ls", Mount: flatMount, Path: "d4", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: []string{"getdents64"}, WaitsOn: onMDS},
			{Name: "creat", Op: "creat", Mount: csiMount, Path: "d2/new", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS},
			{Name: "open", Op: "open", Mount: csiMount, Path: "d3/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS},
			{Name: "rmdir", Op: "rmdir", Mount: csiMount, Path: "d5/empty", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: removeCalls, WaitsOn: onMDS},
			{Name: "unlink", Op: "unlink", Mount: flatMount, Path: "d5/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: removeCalls, WaitsOn: onMDS},
			{Name: "stat relative to cwd", Op: "statcwd", Mount: flatMount, Path: "d6/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS},
			{Name: "openat relative to fd", Op: "openat", Mount: csiMount, Path: "d6/file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: openCalls, WaitsOn: onMDS},
			{Name: "stat below a subPath", Op: "stat", Mount: csiSubPath, Path: "file", States: "D", Frames: mdsWait, Reason: "in_syscall", Syscalls: statCalls, WaitsOn: onMDS},
			{Name: "umount", Op: "umount", Mount: goneMount, States: "D", Frames: []string{"ceph_mdsc_close_sessions", "ceph_mdsc_pre_umount"}, Reason: "after_syscall", Syscalls: []string{"umount2"}, WaitsOn: onMDS},
		},
		Victims: []hungOp{
			{Name: "stat behind creat", Op: "stat", Mount: csiMount, Path: "d2/other", States: "D", Frames: []string{"walk_component", "lookup_slow"}, Reason: "in_syscall", Syscalls: statCalls, Behind: "creat", WaitsOn: []string{"lock"}},
		},
		Late: []hungOp{
			{Name: "late open", Op: "open", Mount: flatMount, Path: "d7/file", States: "D", Frames: mdsWait, Reason: "slow_syscall", Syscalls: openCalls, WaitsOn: onMDS},
		},
	},
	{
		Name:   "osd and mon",
		Freeze: []string{"osd", "mon"},
		Ops: []hungOp{
			{Name: "page fault", Op: "fault", Mount: flatMount, Path: "big", States: "D", Frames: pageWait, Reason: "page_fault", WaitsOn: onOSD},
			{Name: "read", Op: "read", Mount: csiMount, Path: "big", States: "D", Frames: pageWait, Reason: "in_syscall", Syscalls: []string{"pread64"}, WaitsOn: onOSD},
			{Name: "fsync", Op: "fsync", Mount: csiMount, Path: "dirty", States: "D", Frames: []string{"folio_wait_writeback", "wait_on_page_writeback", "folio_wait_bit_common", "wait_on_page_bit_common"}, Reason: "in_syscall", Syscalls: []string{"fsync"}, WaitsOn: onOSD},
			{Name: "read of ext4 on rbd", Op: "read", Mount: rbdMount, Path: "big", States: "D", Frames: pageWait, Reason: "in_syscall", Syscalls: []string{"pread64"}, WaitsOn: []string{"osd", "block-device"}},
			{Name: "statfs", Op: "statfs", Mount: flatMount, States: "S", Frames: []string{"wait_generic_request"}, Reason: "in_syscall", Syscalls: []string{"statfs"}, WaitsOn: []string{"mon"}},
		},
		Late: []hungOp{
			{Name: "late page fault", Op: "fault", Mount: csiMount, Path: "big2", States: "D", Frames: pageWait, Reason: "page_fault", WaitsOn: onOSD},
		},
	},
}
