package report

import (
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// The samples are written down from hangs that were really seen (stacks,
// mountinfo lines and durations of kernel cephfs on 6.1, FUSE on 6.18, a real
// kubelet 1.34), names replaced.

var sampleTime = time.Date(2026, 3, 4, 3, 0, 1, 250e6, time.UTC)

const (
	podUID  = "8f1c1f0e-5d0c-4a52-9b7e-2f5b3a0c9d11"
	csiPath = "/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~csi/pvc-3f6a1c9e-77d2-4c0b-8a55-0d1e2f3a4b5c/mount"
	handle  = "0001-0024-b0a5c7de-3f21-4c6e-9a0d-5e4f3a2b1c0d-0000000000000001-6d8f1f2a-9c3b-11ee"
)

var fuseStack = []string{
	"request_wait_answer+0x118/0x220 [fuse]", "__fuse_simple_request+0xd3/0x2b0 [fuse]",
	"fuse_do_getattr+0xfc/0x2a0 [fuse]", "vfs_getattr_nosec+0xc1/0x110", "vfs_statx+0xa6/0x150",
	"vfs_fstatat+0x6b/0x90", "__do_sys_newfstatat+0x3c/0x80", "do_syscall_64+0x84/0x2f0",
	"entry_SYSCALL_64_after_hwframe+0x76/0x7e",
}

func base(backend string, hangs ...*correlate.Hang) *correlate.Report {
	r := &correlate.Report{
		Schema: correlate.ReportSchema, TakenAt: sampleTime, TookMS: 41,
		Node: correlate.Node{Hostname: "worker-3", Kernel: "6.18.0-amd64", BootID: "6b1b5d3e-7a0f-4c52-8d7b-3f2e1d0c9b8a", UptimeS: 1036800},
		Capture: correlate.Capture{
			Backend: backend, Passes: 2, Processes: 1, Threads: 37, ThresholdMS: 1000,
			Filesystems: []string{"cephfs", "ceph-fuse", "rbd"},
		},
		Targets: []correlate.Target{{
			PID: 2161, Comm: "kubelet", Exe: "/usr/bin/kubelet", StartedAt: new(sampleTime.Add(-72 * time.Hour)),
			Threads: 37, Kubelet: &correlate.Kubelet{RootDir: "/var/lib/kubelet", Healthz: &correlate.Healthz{SyncLoop: "unknown", Detail: "it answers only to a token (status 401)"}},
		}},
		Hangs: hangs,
	}
	for _, h := range hangs {
		r.Summary.HungThreads++
		if h.Role == "root" {
			r.Summary.Roots++
		} else {
			r.Summary.Victims++
		}
		r.Summary.OldestMS = max(r.Summary.OldestMS, h.Blocked.ForMS)
	}
	return r
}

func blocked(d time.Duration, source string) correlate.Blocked {
	return correlate.Blocked{
		ForMS: d.Milliseconds(), AtLeast: source != "entry", Since: sampleTime.Add(-d), Source: source,
	}
}

func task(tid int, state string, killable bool) correlate.Task {
	return correlate.Task{
		PID: 2161, TID: tid, Comm: "kubelet", ProcessComm: "kubelet", State: correlate.Text(state),
		Killable: new(killable), Cgroup: "/system.slice/kubelet.service",
	}
}

func kubeletFUSE() *correlate.Report {
	r := base("bpf-iter", fuseHang())
	r.Summary.Verdict = "kubelet[2161] has hung for at least 41m in newfstatat on ceph-fuse volume " +
		"pvc-3f6a1c9e-77d2-4c0b-8a55-0d1e2f3a4b5c of a deleted pod: its FUSE daemon does not answer."
	r.Summary.Elsewhere = map[string]int{"nfs": 3}
	r.Targets[0].Kubelet.Healthz = &correlate.Healthz{SyncLoop: "failed", Detail: "internal server error: sync Loop took longer than expected"}
	return r
}

func fuseHang() *correlate.Hang {
	return &correlate.Hang{
		ID: "2161-2210-91a3c4d2", Reason: correlate.ReasonInSyscall, Role: "root",
		Task: task(2210, "S", true),
		Syscall: &correlate.Syscall{
			NR: 262, Name: "newfstatat", Args: []string{"0xffffffffffffff9c", "0xc000d2c1e0", "0xc000b5a9f8", "0x0", "0x0", "0x0"},
			Text: `newfstatat(AT_FDCWD, "` + csiPath + `", 0xc000b5a9f8, 0)`,
		},
		Blocked: blocked(41*time.Minute+12*time.Second, "last_arrival"),
		Path:    correlate.Path{Value: csiPath, Source: "argument"},
		Mount: &correlate.Mount{
			ID: 51, Device: "0:53", Point: csiPath, FSType: "fuse.ceph-fuse", Source: "ceph-fuse", Kind: "ceph-fuse",
			Namespace: 4026531841, Attached: new(true), From: "mountinfo",
		},
		Volume: &correlate.Volume{
			Pod:    &correlate.Pod{UID: podUID, State: "deleted", Source: "cri"},
			Plugin: "kubernetes.io/csi", Name: "pvc-3f6a1c9e-77d2-4c0b-8a55-0d1e2f3a4b5c",
			PV: "pvc-3f6a1c9e-77d2-4c0b-8a55-0d1e2f3a4b5c", Driver: "cephfs.csi.ceph.com", Handle: handle,
		},
		KernelStack: fuseStack,
		UserStack: []correlate.Frame{
			{Function: "syscall.Syscall6", File: "/usr/local/go/src/syscall/syscall_linux.go", Line: 95},
			{Function: "syscall.fstatat", File: "/usr/local/go/src/syscall/zsyscall_linux_amd64.go", Line: 1440},
			{Function: "os.statNolog", File: "/usr/local/go/src/os/stat_unix.go", Line: 32},
			{Function: "os.Stat", File: "/usr/local/go/src/os/stat.go", Line: 13},
			{Function: "k8s.io/mount-utils.PathExists", File: "/src/mount_helper_common.go", Line: 139},
			{Function: "k8s.io/kubernetes/pkg/kubelet.(*Kubelet).HandlePodCleanups"},
		},
		UserStackEnd: "frame pointer lost", Goroutine: &correlate.Goroutine{ID: 212, WaitMin: new(int64(41))},
		Effect:  "kubelet syncLoop is stuck in housekeeping: no pod on this node starts, stops or is cleaned up",
		Healthz: "/healthz/syncloop says failed: the kubelet has noticed by itself",
		Remedies: []correlate.Remedy{
			{Command: "echo 1 > /sys/fs/fuse/connections/53/abort", Frees: "every call blocked on this file system", Risk: "data not yet written to the server is lost"},
			{Command: "umount '/var/lib/kubelet/pods/with blank'", Frees: "the mount point", Risk: "none after the abort"},
		},
		Warnings: []string{"not umount -l: it frees nobody"},
		WaitingOn: &correlate.WaitingOn{Kind: "fuse-daemon", Source: "stack", Evidence: []string{
			"request_wait_answer in the kernel stack: the request is with the daemon",
			"FUSE connection 53 has 1 request waiting",
		}, PID: 77, DaemonWaitsOn: &correlate.DaemonWait{
			Kind: "mds", Name: "mds.0", Address: "v2:10.0.0.5:6800", State: "session open", Source: "admin_socket",
			Request:  &correlate.Request{ID: "6", Op: "lookup", Target: "#10000000000/d3", ForMS: new(int64(2460000)), AtLeast: true},
			Evidence: []string{"request in the daemon's own list (admin socket)"},
		}},
	}
}

func cephKernel() *correlate.Report {
	const dir = "/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~cephfs/pvc-data"
	h := &correlate.Hang{
		ID: "2161-2210-0c11d2e3", Reason: correlate.ReasonSlowSyscall, Role: "root",
		Task:    task(2210, "D", true),
		Syscall: &correlate.Syscall{NR: 262, Name: "newfstatat", Args: []string{"0xffffffffffffff9c"}, Text: `newfstatat(AT_FDCWD, "` + dir + `", 0xc000b5a9f8, 0)`},
		Blocked: blocked(12*time.Minute+41*time.Second, "entry"),
		Path:    correlate.Path{Value: dir, Source: "argument"},
		Mount: &correlate.Mount{
			ID: 33, Device: "0:28", Point: dir, FSType: "ceph", Source: "10.99.0.1:6789:/vol1", Kind: "cephfs",
			Namespace: 4026531841, Attached: new(true), From: "mountinfo",
		},
		Volume: &correlate.Volume{
			Pod:    &correlate.Pod{UID: podUID, Name: "web-0", Namespace: "media", State: "running", Source: "cri"},
			Plugin: "kubernetes.io/cephfs", Name: "pvc-data",
		},
		KernelStack: []string{"ceph_mdsc_wait_request+0xa5/0x170 [ceph]", "ceph_mdsc_do_request+0x7c/0xa0 [ceph]", "__ceph_do_getattr+0x9d/0x1f0 [ceph]", "ceph_getattr+0x3a/0x150 [ceph]", "vfs_statx+0xa6/0x150"},
		WaitingOn: &correlate.WaitingOn{
			Kind: "mds", Name: "mds.0", Address: "v1:10.0.0.5:6801", State: "session open, laggy", Source: "walk", Reach: "refused", Evidence: []string{"ceph_mdsc_wait_request in the kernel stack"},
			Request: &correlate.Request{ID: "4711", Op: "readdir", Target: "/d2", ForMS: new(int64(761000)), Attempts: new(1)},
		},
	}
	r := base("bpf-iter", h)
	r.Summary.ByServer = []correlate.ServerCount{{Name: "mds.0 v1:10.0.0.5:6801", Threads: 1, Pods: 1, OldestMS: 761000}}
	r.Summary.Verdict = "kubelet[2161] has hung for 12m41s in newfstatat on cephfs volume pvc-data of pod media/web-0."
	return r
}

func rbdVictims() *correlate.Report {
	const dir = "/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~rbd/pvc-rbd"
	mount := &correlate.Mount{
		ID: 34, Device: "253:0", Point: dir, FSType: "ext4", Source: "/dev/rbd0", Kind: "rbd",
		Namespace: 4026531841, Attached: new(true), From: "mountinfo", Image: "replicapool/csi-vol-77d2",
	}
	volume := &correlate.Volume{
		Pod:    &correlate.Pod{UID: podUID, Name: "db-0", Namespace: "prod", State: "running", Source: "pod-logs"},
		Plugin: "kubernetes.io/rbd", Name: "pvc-rbd", SubPath: "pgdata",
	}
	root := &correlate.Hang{
		ID: "4001-4001-1", Reason: correlate.ReasonInSyscall, Role: "root",
		Task: correlate.Task{
			PID: 4001, TID: 4001, Comm: "postgres", ProcessComm: "postgres", State: "D", Killable: new(false),
			Cgroup:    "/kubepods.slice/kubepods-pod8f1c1f0e.slice/cri-containerd-9f2c.scope",
			Container: &correlate.Container{ID: "9f2c", PodUID: podUID},
		},
		Syscall: &correlate.Syscall{NR: 257, Name: "openat", Args: []string{"0x5"}, Text: `openat(5</pgdata>, "new", O_RDWR|O_CREAT, 0600)`},
		Blocked: blocked(3*time.Hour+5*time.Minute, "last_arrival"),
		Path:    correlate.Path{Value: dir + "/pgdata/new", Source: "fd"},
		Mount:   mount, Volume: volume,
		KernelStack: []string{"ext4_read_bh+0x5b/0x90 [ext4]", "ext4_bread+0x3f/0xa0 [ext4]", "ext4_create+0xb0/0x1b0 [ext4]", "path_openat+0xf0e/0x1290"},
		WaitingOn:   &correlate.WaitingOn{Kind: "block-device", Source: "stack", Name: "rbd0", Evidence: []string{"3 reads in flight on /dev/rbd0 (replicapool/csi-vol-77d2)"}},
	}
	hangs := []*correlate.Hang{root}
	for i := range 37 {
		victim := &correlate.Hang{
			ID: fmt.Sprintf("4001-%d-1", 4100+i), Reason: correlate.ReasonInSyscall, Role: "victim", WaitsBehind: "4001-4001-1",
			Task:    correlate.Task{PID: 4100 + i%5, TID: 4100 + i, Comm: "postgres", ProcessComm: "postgres", State: "D", Killable: new(false)},
			Syscall: &correlate.Syscall{NR: 262, Name: "newfstatat", Args: []string{"0x5"}, Text: `newfstatat(5</pgdata>, "x", 0x7ffd, 0)`},
			Blocked: blocked(time.Duration(180-i)*time.Minute, "last_arrival"),
			Path:    correlate.Path{Value: dir + "/pgdata/x", Source: "fd"},
			Mount:   mount, Volume: volume,
			KernelStack: []string{"walk_component+0x6b/0x1c0"},
			WaitingOn:   &correlate.WaitingOn{Kind: "lock", Source: "stack", Evidence: []string{"i_rwsem of the directory"}},
		}
		hangs = append(hangs, victim)
	}
	// A victim of a victim belongs to the same root.
	hangs[2].WaitsBehind = correlate.Text(hangs[1].ID)
	r := base("bpf-iter", hangs...)
	r.Targets, r.Capture.Processes, r.Capture.Threads = nil, 312, 4120
	r.Summary.Verdict = "38 threads hang on rbd image replicapool/csi-vol-77d2 of pod prod/db-0 for at least 3h05m: 1 root, 37 behind it."
	return r
}

func pageFault() *correlate.Report {
	h := fuseHang()
	h.ID, h.Reason, h.Syscall = "2161-2210-pf", correlate.ReasonPageFault, nil
	h.Task = task(2210, "D", true)
	h.Task.Comm = "mmap-reader"
	h.Path = correlate.Path{Source: "none"}
	h.Mount = &correlate.Mount{Kind: "fuse", From: "stack"}
	h.Volume = nil
	h.KernelStack = []string{"folio_wait_bit_common+0x13d/0x350", "filemap_fault+0x5ca/0xc30", "__do_fault+0x31/0x130", "do_user_addr_fault+0x1b1/0x6c0", "asm_exc_page_fault+0x26/0x30"}
	h.WaitingOn = nil
	h.Blocked = blocked(4200*time.Millisecond, "switch_counts")
	r := base("bpf-iter", h)
	r.Summary.Verdict = "1 thread of kubelet[2161] has hung for at least 4.2s in a page fault on fuse."
	return r
}

func afterUmount() *correlate.Report {
	h := &correlate.Hang{
		ID: "910-910-7", Reason: correlate.ReasonAfterSyscall, Role: "root",
		Task:    correlate.Task{PID: 910, TID: 910, Comm: "umount", ProcessComm: "umount", State: "D", Killable: new(false)},
		Syscall: &correlate.Syscall{NR: 166, Name: "umount2", Args: []string{"0x55d0c0a3b2f0", "0x2"}, Text: `umount2("/mnt/vol1", MNT_DETACH)`},
		Blocked: blocked(95*time.Second, "last_arrival"),
		Path:    correlate.Path{Value: "/mnt/vol1", Source: "argument"},
		Mount: &correlate.Mount{
			Device: "0:28", Point: "/mnt/vol1", FSType: "ceph", Source: "10.99.0.1:6789:/vol1", Kind: "cephfs",
			Namespace: 4026531841, Attached: new(false), From: "remembered",
		},
		KernelStack: []string{"ceph_mdsc_close_sessions+0x1f3/0x2b0 [ceph]", "ceph_kill_sb+0x3b/0x110 [ceph]", "deactivate_locked_super+0x33/0xa0", "cleanup_mnt+0xba/0x150", "task_work_run+0x59/0x90"},
		WaitingOn:   &correlate.WaitingOn{Kind: "mds", Source: "stack", Evidence: []string{"ceph_mdsc_close_sessions in the kernel stack"}},
	}
	r := base("bpf-iter", h)
	r.Summary.Verdict = "umount[910] has hung for at least 1m35s after umount2 returned, closing cephfs 10.99.0.1:6789:/vol1."
	return r
}

func detached() *correlate.Report {
	var hangs []*correlate.Hang
	for i := range 3 {
		h := fuseHang()
		h.ID = fmt.Sprintf("2161-%d-9", 2210+i)
		h.Task.TID = 2210 + i
		h.Task.State = "D"
		h.Task.Killable = new(false)
		h.Mount.ID, h.Mount.Attached, h.Mount.From = 0, new(false), "device"
		hangs = append(hangs, h)
	}
	hangs[1].Blocked = blocked(2*time.Hour, "last_arrival")
	r := base("bpf-iter", hangs...)
	r.Summary.Verdict = "3 threads of kubelet[2161] hang on a detached ceph-fuse mount for at least 2h."
	return r
}

func nothing() *correlate.Report {
	r := base("bpf-iter")
	r.Targets, r.Capture.Processes, r.Capture.Threads = nil, 312, 4120
	r.Summary.Verdict = "Nothing hangs."
	return r
}

func degradedProc() *correlate.Report {
	h := fuseHang()
	h.Task.Killable = nil
	h.Syscall.Args, h.Syscall.Text = nil, ""
	h.Path = correlate.Path{Value: csiPath, Source: "argument", Truncated: true}
	h.KernelStack = nil
	h.WaitingOn = &correlate.WaitingOn{Kind: "unknown", Source: "stack"}
	h.Volume.Pod.State, h.Volume.Pod.Source = "unknown", "path"
	h.Blocked.Source = "switch_counts"
	r := base("proc", h)
	r.Targets[0].Comm, r.Targets[0].Matched = "k3s", "k3s runs the kubelet"
	r.Targets[0].StartedAt, r.Targets[0].Exe = nil, ""
	r.Capture.Skipped = []correlate.Skipped{
		{What: "memory of process 2161", Why: "no answer within 500ms: its mmap_lock may be held by a hung page fault, so path arguments are not known"},
		{What: "/run/containerd/containerd.sock", Why: "deadline of 1s exceeded"},
	}
	r.Capture.Degraded = []string{"no BPF rights (CAP_BPF and CAP_PERFMON): read from /proc, so the time blocked counts from the first look only"}
	r.Summary.Verdict = "k3s[2161] hangs in newfstatat on ceph-fuse; since when is not known."
	return r
}

func weirdBytes() *correlate.Report {
	h := fuseHang()
	h.Task.Comm = "evil\x1b[2J\n\u202ekcab"
	h.Path = correlate.Path{Value: "/mnt/it's\n\xff\xfe\x1b]0;owned\a/größe/日本", Source: "kernel"}
	h.Mount.Point, h.Mount.Source = "/mnt", "ceph\tfuse"
	h.Mount.From = "device"
	h.Syscall.Text = "newfstatat(AT_FDCWD, \"/mnt/it's\\n\\377\x9b31m\", 0x1, 0)"
	h.Volume = nil
	h.WaitingOn.Name = "ceph fuse\x00[77]"
	h.WaitingOn.Evidence = []string{"daemon\r\nroot@node:~# says \x1b[31m\"<none>\" & more"}
	r := base("bpf-iter", h)
	r.Summary.Verdict = "evil\x1b[2J hangs."
	r.Node.Hostname = ""
	r.Capture.Filesystems = nil
	return r
}

func orphanVictim() *correlate.Report {
	h := fuseHang()
	h.Role, h.WaitsBehind = "victim", ""
	h.KernelStack = []string{"walk_component+0x6b/0x1c0"}
	h.WaitingOn = &correlate.WaitingOn{Kind: "lock", Source: "stack"}
	r := base("bpf-iter", h)
	r.Summary.Verdict = "1 thread of kubelet[2161] waits behind a lock."
	return r
}

func samples() map[string]*correlate.Report {
	return map[string]*correlate.Report{
		"kubelet-fuse":  kubeletFUSE(),
		"ceph-kernel":   cephKernel(),
		"rbd-victims":   rbdVictims(),
		"page-fault":    pageFault(),
		"after-umount":  afterUmount(),
		"detached":      detached(),
		"nothing":       nothing(),
		"degraded-proc": degradedProc(),
		"weird-bytes":   weirdBytes(),
		"orphan-victim": orphanVictim(),
	}
}

// session is what a live session emits, one event of every kind.
func session() []*correlate.Event {
	event := func(after time.Duration, kind correlate.EventKind) *correlate.Event {
		return &correlate.Event{Schema: correlate.EventSchema, Kind: kind, Time: sampleTime.Add(after)}
	}
	seen := event(0, correlate.EventHangSeen)
	seen.Hang = fuseHang()
	victim := event(time.Second, correlate.EventHangSeen)
	victim.Hang = orphanVictim().Hangs[0]
	victim.WaitsBehind = "2161-2210-91a3c4d2"
	update := event(time.Minute, correlate.EventHangUpdate)
	update.Hang = fuseHang()
	update.Blocked.ForMS += time.Minute.Milliseconds()
	located := event(time.Minute, correlate.EventHangUpdate)
	located.Hang, located.Located = fuseHang(), true
	ended := event(2*time.Minute, correlate.EventHangEnded)
	ended.Hang = cephKernel().Hangs[0]
	ended.DurationNS, ended.ResolutionNS = new(uint64(761_236_412_345)), new(uint64(4_000_000))
	ended.Ret, ended.RetText = new(int64(-5)), "-1 EIO (Input/output error)"
	fault := event(2*time.Minute, correlate.EventHangEnded)
	fault.Hang = pageFault().Hangs[0]
	fault.DurationNS, fault.ResolutionNS = new(uint64(4_200_000_000)), new(uint64(1))
	lowerBound := event(2*time.Minute, correlate.EventHangEnded)
	lowerBound.Hang = fuseHang()
	lowerBound.Ret = new(int64(0))
	slow := event(3*time.Minute, correlate.EventSlowCall)
	slow.Hang = cephKernel().Hangs[0]
	slow.DurationNS, slow.Ret, slow.RetText = new(uint64(1_500_123_456)), new(int64(0)), "0"
	lost := event(4*time.Minute, correlate.EventLost)
	lost.Lost = correlate.Counts{"ring": 12, "slots": 3}
	notice := event(5*time.Minute, correlate.EventNotice)
	notice.Notice = "kubelet[2161] has ended; following kubelet[9001]"
	summary := event(6*time.Minute, correlate.EventSummary)
	summary.Summary = &correlate.LiveSummary{
		DurationMS: 360_000, Seen: 3, Ended: 3, StillHung: 1, SlowCalls: 1, OldestMS: 2_532_000,
		Lost: correlate.Counts{"ring": 12, "slots": 3}, Elsewhere: map[string]int{"nfs": 3, "cifs": 1},
		Verdict: "3 hangs seen in 6m, 1 still there.",
	}
	return []*correlate.Event{seen, victim, update, located, ended, fault, lowerBound, slow, lost, notice, summary}
}
