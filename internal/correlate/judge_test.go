package correlate

import (
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// The stacks of FACTS sections 1 and 2 below what they share.
const (
	inCall    = " do_syscall_64 entry_SYSCALL_64_after_hwframe"
	fuseStat  = "request_wait_answer[fuse] __fuse_simple_request[fuse] fuse_do_getattr[fuse] vfs_statx" + inCall
	cephStat  = "wait_for_completion_killable ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph] vfs_statx" + inCall
	cephCaps  = "wait_woken ceph_get_caps[ceph] ceph_write_iter[ceph] vfs_write" + inCall
	rbdRead   = "io_schedule folio_wait_bit_common filemap_get_pages filemap_read vfs_read" + inCall
	lockWalk  = "rwsem_down_read_slowpath walk_component link_path_walk path_lookupat" + inCall
	fuseFault = "request_wait_answer[fuse] fuse_readpages_end[fuse] filemap_fault __do_fault handle_mm_fault do_user_addr_fault exc_page_fault"
	umountDie = "ceph_mdsc_close_sessions[ceph] ceph_kill_sb[ceph] deactivate_locked_super cleanup_mnt task_work_run exit_to_user_mode_loop"
)

const stateD, stateKillable = events.StateUninterruptible, events.StateUninterruptible | events.StateWakekill

// TestJudge: what hangs is found, with reason, kind, path and mount; what waits
// by nature is not.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []string
		build func(*scene)
		want  string // "" for no hang
	}{
		{"S in FUSE", nil, func(s *scene) {
			s.thread(1, nrFstatat, []uint64{atFDCWD, s.str(fuseVol + "/a b/f")}, fuseStat)
		}, "in_syscall ceph-fuse " + fuseVol + "/a b/f argument " + fuseVol},
		{"killable D in cephfs", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat).State = stateKillable
		}, "in_syscall cephfs " + cephVol + "/d argument " + cephVol},
		{"S in caps, by descriptor", nil, func(s *scene) {
			s.file(events.File{FD: 5, Path: cephVol + "/log", DevMinor: 28, MountID: 33, MountNS: hostNS, FSType: "ceph", Mode: 0o100644})
			s.thread(1, nrWrite, []uint64{5}, cephCaps)
		}, "in_syscall cephfs " + cephVol + "/log fd " + cephVol},
		{"rbd has no frame of its own", nil, func(s *scene) {
			s.file(events.File{FD: 5, Path: rbdVol + "/db", DevMajor: 252, MountID: 34, MountNS: hostNS, FSType: "ext4", Mode: 0o100644})
			s.thread(1, nrRead, []uint64{5}, rbdRead).State = stateD
		}, "in_syscall rbd " + rbdVol + "/db fd " + rbdVol},
		{"page fault, one mapped file", nil, func(s *scene) {
			s.snap.Maps = []facts.ProcMaps{{PID: 1000, Text: "7f00-7f10 r-xp 00000000 fd:01 9 /usr/bin/kubelet\n" +
				"7f20-7f30 r--s 00000000 00:35 7 " + fuseVol + "/map me\n"}}
			s.thread(1, -1, nil, fuseFault).State = stateD
		}, "page_fault ceph-fuse " + fuseVol + "/map me kernel " + fuseVol},
		{"page fault without registers", nil, func(s *scene) {
			k := s.thread(1, -1, nil, fuseFault)
			k.State, k.HasRegs = stateD, false
		}, "page_fault ceph-fuse - none " + fuseVol},
		{"umount's work after the call", nil, func(s *scene) {
			s.mounts[hostNS] = hostMounts[:2]
			s.thread(1, nrUmount, []uint64{s.str(cephVol)}, umountDie).State = stateD
		}, "after_syscall cephfs " + cephVol + " argument ?"},
		{"dying with a stale call", nil, func(s *scene) {
			k := s.thread(1, nrEpoll, []uint64{3}, "folio_wait_writeback ceph_osdc_sync[libceph] ceph_flush[ceph] filp_close exit_files do_exit")
			k.State, k.Flags = stateD, events.FlagExiting
		}, "after_syscall cephfs - none ?"},
		{"io worker", nil, func(s *scene) {
			k := s.thread(1, -1, nil, cephStat)
			k.State, k.Flags, k.HasRegs = stateKillable, events.FlagIOWorker, false
		}, "io_worker cephfs - none ?"},
		{"kernel thread of rbd's journal", nil, func(s *scene) {
			k := s.thread(1, -1, nil, "io_schedule bit_wait_io __wait_on_buffer jbd2_journal_commit_transaction kjournald2 kthread")
			k.Comm, k.State, k.Flags, k.HasRegs = "jbd2/rbd0-8", stateD, events.FlagKThread, false
		}, "kernel_thread rbd - none " + rbdVol},
		{"relative to the working directory", nil, func(s *scene) {
			s.cwd(fuseVol + "/dir")
			k := s.thread(1, nrOpenat, []uint64{atFDCWD, s.str("sub/file")}, fuseStat)
			k.CwdDevMinor, k.CwdMountID = 53, 51
		}, "in_syscall ceph-fuse " + fuseVol + "/dir/sub/file cwd " + fuseVol},
		{"relative to a descriptor", nil, func(s *scene) {
			s.file(events.File{FD: 7, Path: fuseVol + "/dir", DevMinor: 53, MountID: 51, MountNS: hostNS, FSType: "fuse", Mode: 0o40755})
			s.thread(1, nrFstatat, []uint64{7, s.str("../x")}, fuseStat)
		}, "in_syscall ceph-fuse " + fuseVol + "/x fd " + fuseVol},
		{"AT_EMPTY_PATH", nil, func(s *scene) {
			s.file(events.File{FD: 7, Path: fuseVol + "/dir", DevMinor: 53, MountID: 51, MountNS: hostNS, FSType: "fuse", Mode: 0o40755})
			s.thread(1, nrFstatat, []uint64{7, s.str(""), 0, 0x1000}, fuseStat)
		}, "in_syscall ceph-fuse " + fuseVol + "/dir fd " + fuseVol},
		{"statx with a null path", nil, func(s *scene) {
			s.file(events.File{FD: 7, Path: fuseVol + "/dir", DevMinor: 53, MountID: 51, MountNS: hostNS, FSType: "fuse", Mode: 0o40755})
			s.thread(1, nrStatx, []uint64{7, 0, 0x1000}, fuseStat)
		}, "in_syscall ceph-fuse " + fuseVol + "/dir fd " + fuseVol},
		{"through a symbolic link", nil, func(s *scene) {
			s.snap.Resolved = []facts.ResolvedPath{{PID: 1000, Path: "/data/f", Resolved: fuseVol + "/f"}}
			s.thread(1, nrStat, []uint64{s.str("/data/f")}, fuseStat)
		}, "in_syscall ceph-fuse /data/f argument " + fuseVol},
		{"subPath of the same device", nil, func(s *scene) {
			s.mounts[hostNS] = append(append([]string(nil), hostMounts...), "52 21 0:53 /sub "+fuseSub+" rw - fuse.ceph-fuse ceph-fuse rw")
			s.thread(1, nrStat, []uint64{s.str(fuseSub + "/f")}, fuseStat)
		}, "in_syscall ceph-fuse " + fuseSub + "/f argument " + fuseSub},
		{"detached, by the stack", nil, func(s *scene) {
			s.mounts[hostNS] = hostMounts[:2]
			s.snap.Resolved = []facts.ResolvedPath{{PID: 1000, Path: fuseVol + "/f", Resolved: fuseVol + "/f"}}
			s.thread(1, nrStat, []uint64{s.str(fuseVol + "/f")}, fuseStat)
		}, "in_syscall fuse " + fuseVol + "/f argument ?(detached)"},
		{"detached, by the open file's mount", nil, func(s *scene) {
			s.mounts[hostNS] = hostMounts[:2]
			s.file(events.File{FD: 7, Path: "/f", DevMinor: 28, MountID: 33, FSType: "ceph", Mode: 0o100644, Detached: true})
			s.thread(1, nrRead, []uint64{7}, cephCaps)
		}, "in_syscall cephfs /f fd ?(detached)"},
		{"nfs is not asked for", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str("/mnt/nfs/f")}, "rpc_wait_bit_killable[sunrpc] nfs4_proc_getattr[nfsv4] vfs_statx"+inCall).State = stateKillable
		}, ""},
		{"nfs", []string{"nfs"}, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str("/mnt/nfs/f")}, "rpc_wait_bit_killable[sunrpc] nfs4_proc_getattr[nfsv4] vfs_statx"+inCall).State = stateKillable
		}, "in_syscall nfs /mnt/nfs/f argument /mnt/nfs"},
		{"local disk", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 5, Path: "/var/x", DevMajor: 253, DevMinor: 1, MountID: 21, MountNS: hostNS, FSType: "ext4", Mode: 0o100644})
			s.thread(1, nrFsync, []uint64{5}, "io_schedule folio_wait_writeback ext4_sync_file"+inCall).State = stateD
		}, "in_syscall block /var/x fd /"},
		{"unreadable path, stack alone", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{0xdead}, cephStat).State = stateKillable
		}, "in_syscall cephfs - none ?"},
		{"unreadable stack, the path alone", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, "")
		}, "in_syscall cephfs " + cephVol + "/d argument " + cephVol},

		// Never hangs.
		{"ran between the passes", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat)
			s.moved[1] = true
		}, ""},
		{"below the threshold", nil, func(s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat).LastArrivalNS = nowNS - 500_000_000
		}, ""},
		{"epoll", []string{"all"}, func(s *scene) { s.thread(1, nrEpoll, []uint64{3}, "do_epoll_wait ep_poll"+inCall) }, ""},
		{"futex", []string{"all"}, func(s *scene) { s.thread(1, nrFutex, nil, "futex_wait_queue futex_wait do_futex"+inCall) }, ""},
		{"nanosleep", []string{"all"}, func(s *scene) { s.thread(1, nrNanosleep, nil, "do_nanosleep hrtimer_nanosleep"+inCall) }, ""},
		{"wait4", []string{"all"}, func(s *scene) { s.thread(1, nrWait4, nil, "do_wait kernel_wait4"+inCall) }, ""},
		{"accept", []string{"all"}, func(s *scene) { s.thread(1, nrAccept, []uint64{3}, "inet_csk_accept inet_accept"+inCall) }, ""},
		{"inotify", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: "inotify", FSType: "anon_inodefs", DevMinor: 14})
			s.thread(1, nrRead, []uint64{4}, "wait_woken inotify_read vfs_read"+inCall).State = 0x2001
		}, ""},
		{"inotify without a stack", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: "inotify", FSType: "anon_inodefs", DevMinor: 14})
			s.thread(1, nrRead, []uint64{4}, "").State = 0x2001
		}, ""},
		{"pipe", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: "pipe:[1]", FSType: "pipefs", DevMinor: 13, Mode: 0o10600})
			s.thread(1, nrRead, []uint64{4}, "pipe_read vfs_read"+inCall)
		}, ""},
		{"fifo on a volume", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: fuseVol + "/fifo", FSType: "fuse", DevMinor: 53, MountID: 51, MountNS: hostNS, Mode: 0o10600})
			s.thread(1, nrRead, []uint64{4}, "pipe_read vfs_read"+inCall)
		}, ""},
		{"the FUSE daemon itself", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: "/dev/fuse", FSType: "devtmpfs", DevMinor: 6, Mode: 0o20600})
			s.thread(1, nrRead, []uint64{4}, "fuse_dev_do_read[fuse] fuse_dev_read[fuse] vfs_read"+inCall)
		}, ""},
		{"flock on a volume", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: fuseVol + "/l", FSType: "fuse", DevMinor: 53, MountID: 51, MountNS: hostNS, Mode: 0o100600})
			s.thread(1, 73, []uint64{4, 2}, "locks_lock_inode_wait __do_sys_flock"+inCall)
		}, ""},
		{"idle kernel thread", []string{"all"}, func(s *scene) {
			k := s.thread(1, -1, nil, "worker_thread kthread ret_from_fork")
			k.State, k.Flags, k.HasRegs = events.StateUninterruptible|events.StateNoload, events.FlagKThread, false
		}, ""},
		{"reading /proc", []string{"all"}, func(s *scene) {
			s.file(events.File{FD: 4, Path: "/proc/kmsg", FSType: "proc", DevMinor: 5, MountID: 22, MountNS: hostNS, Mode: 0o100400})
			s.thread(1, nrRead, []uint64{4}, "do_syslog kmsg_read vfs_read"+inCall)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene()
			c.build(s)
			r := s.judge(t, options(t, c.kinds...))
			var got []string
			for _, h := range r.Hangs {
				got = append(got, line(h))
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestElsewhere: what is not asked for is counted, never dropped in silence.
func TestElsewhere(t *testing.T) {
	s := newScene()
	for tid := range 3 {
		s.thread(tid+1, nrStat, []uint64{s.str("/mnt/nfs/f")}, "rpc_wait_bit_killable[sunrpc] nfs4_proc_getattr[nfsv4]"+inCall).State = stateKillable
	}
	r := s.judge(t, options(t))
	if len(r.Hangs) != 0 || r.Summary.Elsewhere["nfs"] != 3 {
		t.Errorf("%d hangs, elsewhere %v", len(r.Hangs), r.Summary.Elsewhere)
	}
	if want := "nothing hangs on cephfs, ceph-fuse, rbd; 3 more threads are blocked on nfs: --fs all"; r.Summary.Verdict != want {
		t.Errorf("verdict %q, want %q", r.Summary.Verdict, want)
	}
}

// TestVictims: who waits for a lock is told from who holds it.
func TestVictims(t *testing.T) {
	build := func(holder int) *Report {
		s := newScene()
		s.thread(10, nrUnlink, []uint64{s.str(cephVol + "/d/a")}, cephStat).State = stateKillable
		v := s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/b")}, lockWalk)
		v.State, v.BlockerTID = stateD, holder
		return s.judge(t, options(t))
	}
	for _, holder := range []int{0, 10} { // by the directory, and by task->blocker
		r := build(holder)
		if len(r.Hangs) != 2 || r.Summary.Roots != 1 || r.Summary.Victims != 1 {
			t.Fatalf("holder %d: %d hangs, %+v", holder, len(r.Hangs), r.Summary)
		}
		root, victim := r.Hangs[0], r.Hangs[1]
		if root.Task.TID != 10 || victim.Role != RoleVictim || string(victim.WaitsBehind) != root.ID || victim.WaitingOn.Kind != "lock" {
			t.Errorf("holder %d: root %d, victim %+v", holder, root.Task.TID, victim)
		}
	}
	// Two that may hold it are proof of neither.
	s := newScene()
	s.thread(10, nrUnlink, []uint64{s.str(cephVol + "/d/a")}, cephStat).State = stateKillable
	s.thread(12, nrUnlink, []uint64{s.str(cephVol + "/d/c")}, cephStat).State = stateKillable
	s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/b")}, lockWalk).State = stateD
	r := s.judge(t, options(t))
	if v := r.Hangs[2]; v.Role != RoleVictim || v.WaitsBehind != "" {
		t.Errorf("a guess: %+v", v)
	}
	// A thread without any file system on its stack, behind one that hangs.
	s = newScene()
	s.thread(10, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat).State = stateKillable
	k := s.thread(11, 9, nil, "rwsem_down_write_slowpath vm_mmap_pgoff"+inCall)
	k.State, k.BlockerTID = stateD, 10
	r = s.judge(t, options(t))
	if len(r.Hangs) != 2 || r.Hangs[1].Role != RoleVictim || string(r.Hangs[1].WaitsBehind) != r.Hangs[0].ID {
		t.Errorf("behind a lock of mm: %d hangs", len(r.Hangs))
	}
}

// TestVolumes: which pod's volume, and which not.
func TestVolumes(t *testing.T) {
	volume := func(s *scene) *Volume {
		r := s.judge(t, options(t))
		if len(r.Hangs) != 1 || r.Hangs[0].Volume == nil {
			t.Fatalf("%d hangs", len(r.Hangs))
		}
		return r.Hangs[0].Volume
	}
	s := newScene()
	s.snap.Kube.VolumeData = []facts.VolumeData{{
		Path:       kroot + "/pods/" + podA + "/volumes/kubernetes.io~csi/pv-1/vol_data.json",
		DriverName: "cephfs.csi.ceph.com", SpecVolID: "pv-1", VolumeHandle: "0001-h",
	}}
	s.thread(1, nrStat, []uint64{s.str(fuseVol + "/f")}, fuseStat)
	v := volume(s)
	if v.PV != "pv-1" || v.Driver != "cephfs.csi.ceph.com" || v.Handle != "0001-h" || v.Plugin != "kubernetes.io/csi" {
		t.Errorf("CSI: %+v", v)
	}
	if v.Pod == nil || v.Pod.Name != "web-0" || v.Pod.Namespace != "shop" || v.Pod.State != "running" || v.Pod.Source != "cri" {
		t.Errorf("pod: %+v", v.Pod)
	}

	// A pod that the runtime does not know is deleted; without the runtime that
	// is not known.
	for sources, want := range map[string]string{"cri": "deleted", "": "unknown"} {
		s = newScene()
		s.snap.Kube.Pods[0].UID, s.snap.Kube.PodSources = podB, strings.Fields(sources)
		s.thread(1, nrStat, []uint64{s.str(cephVol + "/f")}, cephStat).State = stateKillable
		if v := volume(s); v.Pod.State != want || string(v.Pod.UID) != podA || v.Name != "pvc-data" {
			t.Errorf("sources %q: %+v, pod %+v", sources, v, v.Pod)
		}
	}

	// A container sees its volume under another path than the kubelet.
	s = newScene()
	s.mounts[podNS] = []string{"71 1 253:9 / / rw - overlay overlay rw", "72 71 0:53 / /data rw - fuse.ceph-fuse ceph-fuse rw"}
	k := s.thread(1, nrStat, []uint64{s.str("/data/f")}, fuseStat)
	k.MountNS = podNS
	if v := volume(s); v.Pod == nil || string(v.Pod.UID) != podA {
		t.Errorf("container: %+v", v)
	}

	// Two pods on one device: which of them is not known, unless the thread is
	// in one of their containers.
	two := func(cgroup string) *Volume {
		s := newScene()
		s.mounts[hostNS] = append(append([]string(nil), hostMounts...), "53 21 0:53 / "+fuseVol2+" rw - fuse.ceph-fuse ceph-fuse rw")
		s.mounts[podNS] = []string{"71 1 253:9 / / rw - overlay overlay rw", "72 71 0:53 / /data rw - fuse.ceph-fuse ceph-fuse rw"}
		k := s.thread(1, nrStat, []uint64{s.str("/data/f")}, fuseStat)
		k.MountNS = podNS
		s.snap.Processes = []facts.Process{{PID: 1000, Comm: "app", Cgroup: cgroup}}
		snap := s.snapshot()
		snap.Processes = snap.Processes[:1]
		r, err := Judge(snap, options(t))
		if err != nil || len(r.Hangs) != 1 || r.Hangs[0].Volume == nil {
			t.Fatalf("%v, %+v", err, r)
		}
		return r.Hangs[0].Volume
	}
	if v := two(""); v.Pod != nil {
		t.Errorf("two pods: %+v", v.Pod)
	}
	b := strings.ReplaceAll(podB, "-", "_")
	if v := two("0::/kubepods.slice/kubepods-pod" + b + ".slice/cri-containerd-" + strings.Repeat("ab", 32) + ".scope\n"); v.Pod == nil || string(v.Pod.UID) != podB {
		t.Errorf("own container: %+v", v.Pod)
	}
}

// TestStableID: one thread in one call has one ID, whoever looked.
func TestStableID(t *testing.T) {
	id := func(change func(*scene, *events.Task)) string {
		s := newScene()
		k := s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat)
		k.State, k.StartBootNS = stateD, 1_234_567_890
		if change != nil {
			change(s, k)
		}
		r := s.judge(t, options(t))
		if len(r.Hangs) != 1 {
			t.Fatalf("%d hangs", len(r.Hangs))
		}
		return r.Hangs[0].ID
	}
	want := id(nil)
	if got := id(func(s *scene, _ *events.Task) { s.snap.TakenAt = s.snap.TakenAt.AddDate(0, 0, 1) }); got != want {
		t.Errorf("a later report: %s, want %s", got, want)
	}
	live := func(s *scene, k *events.Task) {
		s.flight = []events.Call{{PID: 1000, TID: 1, SyscallNR: nrStat, Args: k.Args, EnteredNS: nowNS - 60_000_000_000, PathKnown: true, Path: cephVol + "/d"}}
	}
	if got := id(live); got != want {
		t.Errorf("live: %s, want %s", got, want)
	}
	for name, change := range map[string]func(*scene, *events.Task){
		"another start": func(_ *scene, k *events.Task) { k.StartBootNS += 20_000_000 },
		"another call":  func(_ *scene, k *events.Task) { k.SyscallNR = nrUnlink },
		"another boot":  func(s *scene, _ *events.Task) { s.snap.Node.BootID = "other" },
	} {
		if got := id(change); got == want {
			t.Errorf("%s: the same ID", name)
		}
	}
}

// TestProcBackend: the same hang by /proc alone, with what is weaker said.
func TestProcBackend(t *testing.T) {
	build := func(proc bool) *Hang {
		s := newScene()
		s.proc = proc
		k := s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat)
		k.State, k.StartBootNS = stateD, 1_234_567_890 // /proc rounds it
		if proc {                                      // it knows no more than what it watched itself
			opts := options(t)
			opts.Threshold = 10_000_000
			return s.judge(t, opts).Hangs[0]
		}
		return s.judge(t, options(t)).Hangs[0]
	}
	bpf, proc := build(false), build(true)
	if bpf.ID != proc.ID || line(bpf) != line(proc) {
		t.Errorf("bpf  %s %s\nproc %s %s", bpf.ID, line(bpf), proc.ID, line(proc))
	}
	if bpf.Blocked.Source != "last_arrival" || bpf.Blocked.ForMS != 30_000 || !bpf.Blocked.AtLeast {
		t.Errorf("bpf: %+v", bpf.Blocked)
	}
	if proc.Blocked.Source != "switch_counts" || proc.Blocked.ForMS != 50 || !proc.Blocked.AtLeast {
		t.Errorf("proc: %+v", proc.Blocked)
	}
	if bpf.Task.Killable == nil || *bpf.Task.Killable || proc.Task.Killable != nil {
		t.Errorf("killable: bpf %v, proc %v", bpf.Task.Killable, proc.Task.Killable)
	}
}

// TestEntryKnown: the tracer's record of the entry outranks last_arrival.
func TestEntryKnown(t *testing.T) {
	s := newScene()
	args := [6]uint64{0xdead}
	s.thread(1, nrStat, args[:], cephStat)
	s.flight = []events.Call{{PID: 1000, TID: 1, SyscallNR: nrStat, Args: args, EnteredNS: nowNS - 60_000_000_000, PathKnown: true, Path: cephVol + "/copied"}}
	h := s.judge(t, options(t)).Hangs[0]
	if h.Reason != ReasonSlowSyscall || h.Blocked.ForMS != 60_000 || h.Blocked.AtLeast || h.Blocked.Source != "entry" || string(h.Path.Value) != cephVol+"/copied" {
		t.Errorf("%s %+v %+v", h.Reason, h.Blocked, h.Path)
	}
	// A record of another call of the same thread is not used.
	s.flight[0].Args[0]++
	h = s.judge(t, options(t)).Hangs[0]
	if h.Reason != ReasonInSyscall || h.Path.Value != "" {
		t.Errorf("stale record: %s %+v", h.Reason, h.Path)
	}
}

// TestVerdicts pins the sentence that is read first.
func TestVerdicts(t *testing.T) {
	s := newScene()
	if v := s.judgeEmpty(t).Summary.Verdict; v != "nothing hangs on cephfs, ceph-fuse, rbd" {
		t.Error(v)
	}
	s.thread(1, nrStat, []uint64{s.str(fuseVol + "/f")}, fuseStat)
	if v, want := s.judge(t, options(t)).Summary.Verdict, "kubelet (pid 1000) hangs in stat on ceph-fuse, volume pv-1 of pod shop/web-0, for at least 30s"; v != want {
		t.Errorf("%q, want %q", v, want)
	}
	s.snap.Kube.Pods[0].UID = podB
	if v, want := s.judge(t, options(t)).Summary.Verdict, "of deleted pod "+podA; !strings.Contains(v, want) {
		t.Errorf("%q lacks %q", v, want)
	}
	s.thread(2, nrStat, []uint64{s.str(fuseVol + "/g")}, fuseStat)
	if v, want := s.judge(t, options(t)).Summary.Verdict, "1 more thread hangs, 2 in all in 1 process"; !strings.Contains(v, want) {
		t.Errorf("%q lacks %q", v, want)
	}
}

func (s *scene) judgeEmpty(t *testing.T) *Report {
	s.thread(99, nrEpoll, []uint64{3}, "ep_poll"+inCall)
	defer func() { s.tasks = nil }()
	return s.judge(t, options(t))
}

func TestNoPass(t *testing.T) {
	if _, err := Judge(&facts.Snapshot{}, options(t)); err == nil {
		t.Error("a snapshot without a pass: no error")
	}
	if _, err := Judge(&facts.Snapshot{Passes: []facts.Pass{{Format: facts.FormatBPFTask, Data: []byte("torn")}}}, options(t)); err == nil {
		t.Error("a torn pass: no error")
	}
}

// BenchmarkJudge10000 judges 10,000 threads blocked on one volume.
func BenchmarkJudge10000(b *testing.B) {
	s := newScene()
	addr := s.str(fuseVol + "/f")
	for tid := range 10_000 {
		s.thread(tid+1, nrStat, []uint64{addr}, fuseStat)
	}
	snap := s.snapshot()
	opts := Options{Threshold: 1e9}
	opts.Kinds, _ = mountsAll()
	b.ReportAllocs()
	for b.Loop() {
		r, err := Judge(snap, opts)
		if err != nil || len(r.Hangs) != 10_000 {
			b.Fatalf("%v", err)
		}
	}
}
