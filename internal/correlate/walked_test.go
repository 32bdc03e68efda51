package correlate

import (
	"slices"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
)

const (
	cephDev = events.Dev(28)        // 0:28, of hostMounts
	rbdDev  = events.Dev(252 << 20) // 252:0
	second  = uint64(1e9)
)

// cephWalk is a walk that saw one healthy cephfs client and one rbd image.
func cephWalk() *events.Walk {
	return &events.Walk{
		Superblocks: []events.Superblock{
			{Dev: cephDev, FSType: "ceph", Ceph: &events.CephFS{FSID: "f", ClientID: 7, SessionTimeoutS: 60}},
			{Dev: rbdDev, FSType: "ext4", BlockDev: rbdDev},
		},
		Mounts:   []events.Mount{{Dev: cephDev, ID: 33}},
		Clients:  []events.CephClient{{Addr: 1, FSID: "f", ID: 7, MonRank: 0, MonAddr: "v1:10.0.0.1:6789", MonConn: events.ConnOpen}, {Addr: 2, FSID: "f", ID: 8, MonConn: events.ConnOpen}},
		Sessions: []events.MDSSession{{Dev: cephDev, Rank: 0, State: "open", MapState: "active", Peer: "v1:10.0.0.5:6801", Conn: events.ConnOpen}},
		RBDs:     []events.RBDDevice{{Dev: rbdDev, ID: 0, Pool: "kube", Image: "img", ImageID: "abc", Client: 2}},
		OSDs:     []events.OSDSession{{Client: 1, OSD: 3, Conn: events.ConnOpen}, {Client: 2, OSD: 3, Conn: events.ConnOpen}},
	}
}

// waits makes threads of the scene the waiters of something.
func (s *scene) waits(tids ...int) []events.Waiter {
	var list []events.Waiter
	for _, tid := range tids {
		list = append(list, events.Waiter{TID: tid, PID: 1000, StartNS: 1_000_000_000 + uint64(tid)*10_000_000})
	}
	return list
}

func (s *scene) walked(t *testing.T, w *events.Walk, kinds ...string) *Report {
	t.Helper()
	if len(kinds) == 0 {
		kinds = []string{"all"}
	}
	opts := options(t, kinds...)
	opts.walk = w
	return s.judge(t, opts)
}

func hangOf(t *testing.T, r *Report, tid int) *Hang {
	t.Helper()
	i := slices.IndexFunc(r.Hangs, func(h *Hang) bool { return h.Task.TID == tid })
	if i < 0 {
		t.Fatalf("thread %d is not among the hangs", tid)
	}
	return r.Hangs[i]
}

const mdsStack = "ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph] ceph_lookup[ceph] vfs_statx"

func TestMDSRequestIsNamedWithItsServer(t *testing.T) {
	s := newScene()
	s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/f")}, mdsStack)
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{
		{Addr: 9, Dev: cephDev, TID: 4, OpName: "lookup", Path: "/d", AgeNS: 40 * second, Attempts: 1, Waiters: s.waits(11)},
		{Addr: 10, Dev: cephDev, TID: 3, OpName: "unlink", Path: "/x", AgeNS: 50 * second, Aborted: true},
	}
	h := s.walked(t, walk).Hangs[0]
	on := h.WaitingOn
	if on.Kind != "mds" || on.Name != "mds.0" || on.Address != "v1:10.0.0.5:6801" || on.State != "session open" {
		t.Errorf("waits on %s %s %s (%s)", on.Kind, on.Name, on.Address, on.State)
	}
	if q := on.Request; q == nil || q.ID != "4" || q.Op != "lookup" || q.Target != "/d" || *q.ForMS != 40_000 {
		t.Errorf("request %+v", on.Request)
	}
	if o := on.OpenRequests; o == nil || o.Total != 2 || o.Unwaited == nil || *o.Unwaited != 1 || o.Overdue != 2 || *o.OldestMS != 50_000 {
		t.Errorf("open requests %+v", o)
	}
	if h.Blocked.ForMS != 40_000 || h.Blocked.Source != sourceRequest {
		t.Errorf("blocked %+v", h.Blocked)
	}
}

// TestNextWaitIsNotThisOne: the walk comes after the pass, and a thread that slept
// in an epoll_wait then may wait for a server now.
func TestNextWaitIsNotThisOne(t *testing.T) {
	s := newScene()
	asleep := s.thread(11, nrEpoll, []uint64{3}, "")
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, OpName: "lookup", Path: "/d", AgeNS: second, Waiters: s.waits(11)}}
	walk.MDSRequests[0].Waiters[0].Switches = asleep.Switches() + 1
	if r := s.walked(t, walk); len(r.Hangs) != 0 {
		t.Errorf("a sleep that is over: %+v", r.Hangs[0])
	}
	walk.MDSRequests[0].Waiters[0].Switches = asleep.Switches() // it faults on the events' buffer
	if r := s.walked(t, walk); len(r.Hangs) != 1 {
		t.Errorf("the same wait: %d hangs", len(r.Hangs))
	}
}

func TestMDSTarget(t *testing.T) {
	for want, q := range map[string]events.MDSRequest{
		"/d/f":             {Path: "/d/f", Ino: 5},
		"#0x10000000001/n": {Path1: "n", BaseIno: 0x10000000001},
		"n":                {Path1: "n", BaseIno: 1},
		"#0x1":             {BaseIno: 1},
		"#0x7":             {Ino: 7, BaseIno: 1},
		"":                 {},
	} {
		if got := mdsTarget(&q); got != want {
			t.Errorf("target of %+v is %q, want %q", q, got, want)
		}
	}
}

// TestSilentOrWithholding: the renewal of the session tells an MDS that is
// silent from one that answers and has the request wait for another client.
func TestSilentOrWithholding(t *testing.T) {
	const timeout = int64(60 * second)
	for name, c := range map[string]struct {
		renewed, ttl int64
		age          uint64
		want         string
	}{
		"not answered":               {12e9, 40e9, 30 * second, "it is silent itself"},
		"asked just now":             {1e9, 40e9, 30 * second, ""},
		"answered after the request": {4e9, timeout - 4e9, 30 * second, "another client may withhold"},
		"answered before it":         {14e9, timeout - 14e9, 5 * second, ""},
		"unknown":                    {0, 0, 30 * second, ""},
	} {
		s := newScene()
		s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/f")}, mdsStack)
		walk := cephWalk()
		walk.Sessions[0].RenewedAgoNS, walk.Sessions[0].TTLNS = c.renewed, c.ttl
		walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: c.age, Waiters: s.waits(11)}}
		got := strings.Join(s.walked(t, walk).Hangs[0].WaitingOn.Evidence, "; ")
		said := strings.Contains(got, "silent itself") || strings.Contains(got, "withhold")
		if c.want == "" && said || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestLostConnections(t *testing.T) {
	s := newScene()
	s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/f")}, mdsStack)
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: second, Waiters: s.waits(11)}}
	walk.Sessions[0].Conn, walk.Sessions[0].Laggy = 2, true
	walk.Clients[0].Hunting = true
	on := s.walked(t, walk).Hangs[0].WaitingOn
	if on.State != "session open, connection lost, laggy" {
		t.Errorf("state %q", on.State)
	}
	if !strings.Contains(strings.Join(on.Evidence, ";"), "lost its monitor, too") {
		t.Errorf("evidence %q", on.Evidence)
	}
}

func TestCapWaitNamesTheMDSAndTheOthers(t *testing.T) {
	s := newScene()
	s.thread(11, nrWrite, []uint64{3}, "wait_woken ceph_get_caps[ceph] ceph_write_iter[ceph]")
	s.file(events.File{FD: 3, Path: cephVol + "/f", DevMinor: 28, FSType: "ceph", MountID: 33, Mode: 0o100644})
	walk := cephWalk()
	walk.CapWaits = []events.CapWait{{Addr: 1, Dev: cephDev, Ino: 0x100, TGID: 1000, Need: 0x1000, Want: 0x2000, Waiters: s.waits(11)}}
	on := s.walked(t, walk).Hangs[0].WaitingOn
	text := strings.Join(on.Evidence, "; ")
	if on.Kind != "mds" || on.Name != "mds.0" || !strings.Contains(text, "needs Fw, wants Fb") || !strings.Contains(text, othersMayWithhold) {
		t.Errorf("waits on %s %s: %s", on.Kind, on.Name, text)
	}
	walk.Sessions = append(walk.Sessions, events.MDSSession{Dev: cephDev, Rank: 1, State: "open"})
	if on = s.walked(t, walk).Hangs[0].WaitingOn; on.Name != "unknown" || on.Kind != "mds" {
		t.Errorf("with two sessions: %s %s, want an unknown MDS", on.Kind, on.Name)
	}
}

func TestCapNames(t *testing.T) {
	for want, caps := range map[string]uint32{"none": 0, "p": 1, "pAsLsXsFs": 1 | 1<<2 | 1<<4 | 1<<6 | 1<<8, "Fr": 8 << 8, "FcbLx": 0} {
		if want != "FcbLx" && capNames(caps) != want {
			t.Errorf("caps %#x are %q, want %q", caps, capNames(caps), want)
		}
	}
}

// TestVictimOfDetachedMount: after umount -l the path of a thread that sleeps
// in a directory's lock leads to another file system; the lock's inode does
// not.
func TestVictimOfDetachedMount(t *testing.T) {
	s := newScene()
	s.mounts[hostNS] = slices.DeleteFunc(slices.Clone(hostMounts), func(l string) bool { return strings.HasPrefix(l, "33 ") })
	s.thread(11, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/d/new")}, mdsStack)
	v := s.thread(12, nrStat, []uint64{s.str(cephVol + "/d/other")}, "walk_component path_lookupat vfs_statx")
	v.State = events.StateUninterruptible
	walk := cephWalk()
	walk.Mounts[0].Detached = true
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, OpName: "create", Path: "/d/new", AgeNS: 40 * second, Waiters: s.waits(11)}}
	walk.Locks = []events.Lock{{Addr: 5, Kind: "i_rwsem", Dev: cephDev, Ino: 6, Path: "/d", OwnerTID: 11, OwnerComm: "kubelet", Waiters: s.waits(12)}}
	r := s.walked(t, walk, "cephfs")
	root, victim := hangOf(t, r, 11), hangOf(t, r, 12)
	if victim.Mount.Kind != "cephfs" || victim.Mount.Attached == nil || *victim.Mount.Attached {
		t.Errorf("victim's mount %+v, want a detached cephfs", victim.Mount)
	}
	if victim.Role != RoleVictim || string(victim.WaitsBehind) != root.ID || victim.WaitingOn.Name != "i_rwsem of /d" {
		t.Errorf("victim is %s behind %q, waits on %s", victim.Role, victim.WaitsBehind, victim.WaitingOn.Name)
	}
	if root.Behind == nil || root.Behind.Threads != 1 || root.Behind.Processes != 1 || victim.Behind != nil {
		t.Errorf("behind the root %+v, behind the victim %+v", root.Behind, victim.Behind)
	}
	if victim.Group != root.Group || root.Group != Text(root.ID) {
		t.Errorf("groups %s and %s, want %s", root.Group, victim.Group, root.ID)
	}
}

// TestChainOfLocksAndCycle follows 13 -> 12 -> 11 to its end, and names a
// circle.
func TestChainOfLocksAndCycle(t *testing.T) {
	const lock = "rwsem_down_write_slowpath down_write do_unlinkat"
	scene := func(first string) *scene {
		s := newScene()
		s.thread(11, nrUnlink, []uint64{s.str(cephVol + "/d/a")}, first).State = events.StateUninterruptible
		s.thread(12, nrUnlink, []uint64{s.str(cephVol + "/d/b")}, lock).State = events.StateUninterruptible
		s.thread(13, nrUnlink, []uint64{s.str(cephVol + "/e/c")}, lock).State = events.StateUninterruptible
		return s
	}
	s := scene(mdsStack)
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: 40 * second, Waiters: s.waits(11)}}
	walk.Locks = []events.Lock{
		{Addr: 5, Kind: "i_rwsem", Dev: cephDev, Ino: 6, Path: "/d", OwnerTID: 11, Waiters: s.waits(12)},
		{Addr: 6, Kind: "i_rwsem", Dev: cephDev, Ino: 7, Path: "/e", OwnerTID: 12, Waiters: s.waits(13)},
	}
	r := s.walked(t, walk)
	root := hangOf(t, r, 11)
	for _, tid := range []int{12, 13} {
		if h := hangOf(t, r, tid); string(h.WaitsBehind) != root.ID {
			t.Errorf("thread %d waits behind %q, want the end of the chain", tid, h.WaitsBehind)
		}
	}
	if root.Behind == nil || root.Behind.Threads != 2 {
		t.Errorf("behind the root: %+v, want 2 threads", root.Behind)
	}
	s = scene(lock)
	walk.MDSRequests = nil
	walk.Locks = append(walk.Locks, events.Lock{Addr: 7, Kind: "i_rwsem", Dev: cephDev, Ino: 8, Path: "/", OwnerTID: 13, Waiters: s.waits(11)})
	r = s.walked(t, walk)
	for _, tid := range []int{11, 12, 13} {
		h := hangOf(t, r, tid)
		if h.WaitsBehind != "" || !strings.Contains(strings.Join(h.WaitingOn.Evidence, ";"), "wait for each other") {
			t.Errorf("thread %d of the circle: behind %q, %q", tid, h.WaitsBehind, h.WaitingOn.Evidence)
		}
	}
}

// TestLockHeldForReading: the kernel keeps the last reader only, and that is
// believed where it hangs on the same file system.
func TestLockHeldForReading(t *testing.T) {
	s := newScene()
	s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/a")}, mdsStack)
	s.thread(12, nrUnlink, []uint64{s.str(cephVol + "/d/b")}, "rwsem_down_write_slowpath down_write do_unlinkat").State = events.StateUninterruptible
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: 40 * second, Waiters: s.waits(11)}}
	walk.Locks = []events.Lock{{Addr: 5, Kind: "i_rwsem", Dev: cephDev, Ino: 6, Path: "/d", OwnerTID: 11, ReadOwned: true, Waiters: s.waits(12)}}
	r := s.walked(t, walk)
	if h := hangOf(t, r, 12); string(h.WaitsBehind) != hangOf(t, r, 11).ID {
		t.Errorf("waits behind %q", h.WaitsBehind)
	}
	walk.MDSRequests[0].Waiters = nil
	s.moved[11] = true // it does not hang: the kernel's note is stale
	if h := hangOf(t, s.walked(t, walk), 12); h.WaitsBehind != "" {
		t.Errorf("waits behind %q, want nobody known", h.WaitsBehind)
	}
}

func TestUmountWaitsForItsClient(t *testing.T) {
	s := newScene()
	u := s.thread(11, nrUmount, []uint64{s.str(cephVol)}, "ceph_mdsc_close_sessions[ceph] ceph_kill_sb[ceph] deactivate_super cleanup_mnt task_work_run exit_to_user_mode_loop")
	u.State = events.StateUninterruptible
	walk := cephWalk()
	walk.Queues = []events.QueueWait{{Addr: 1, Dev: cephDev, How: events.WaitUmount, Waiters: s.waits(11)}}
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, OpName: "unlink", Path: "/x", AgeNS: 50 * second, Aborted: true}}
	on := s.walked(t, walk).Hangs[0].WaitingOn
	if on.Kind != "mds" || on.Name != "mds.0" || on.Request == nil || on.Request.ID != "4" || !strings.Contains(on.Evidence[0], "umount waits") {
		t.Errorf("waits on %+v", on)
	}
}

// TestSameRequest: three threads wait for one request: the oldest stands for
// them.
func TestSameRequest(t *testing.T) {
	s := newScene()
	for _, tid := range []int{11, 12, 13} {
		s.thread(tid, nrStat, []uint64{s.str(cephVol + "/d/f")}, mdsStack)
	}
	walk := cephWalk()
	walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: 40 * second, Waiters: s.waits(11, 12, 13)}}
	r := s.walked(t, walk)
	if b := r.Hangs[0].Behind; b == nil || b.Threads != 2 || r.Hangs[1].Behind != nil {
		t.Errorf("behind the first %+v, the second %+v", b, r.Hangs[1].Behind)
	}
}

// TestNeedsInodes: a thread in cephfs code that no walk explains may be queued
// at an inode; one that is explained is not, nor one elsewhere.
func TestNeedsInodes(t *testing.T) {
	for _, c := range []struct {
		stack string
		want  bool
	}{
		{mdsStack, true},
		{"ceph_something[ceph] vfs_read", true},
		{"rpc_wait_bit_killable[sunrpc] nfs4_proc_getattr[nfsv4]", false},
		{"folio_wait_bit_common filemap_read ext4_file_read_iter[ext4]", false},
	} {
		s := newScene()
		s.thread(11, nrStat, []uint64{s.str(cephVol + "/d/f")}, c.stack)
		if got := NeedsInodes(s.snapshot(), []Suspect{{PID: 1000, TID: 11}}, nil); got != c.want {
			t.Errorf("%s: %v, want %v", c.stack, got, c.want)
		}
	}
}

func TestWaitInFuse(t *testing.T) {
	for stack, want := range map[string]bool{
		"request_wait_answer[fuse] __fuse_simple_request[fuse] fuse_lookup_name[fuse]": true,
		mdsStack: false,
	} {
		s := newScene()
		s.thread(11, nrStat, []uint64{s.str(fuseVol + "/f")}, stack)
		if got := WaitInFuse(s.snapshot(), []Suspect{{PID: 1000, TID: 11}}, nil); got != want {
			t.Errorf("%s: %v, want %v", stack, got, want)
		}
	}
}

// TestLiveSummaryGroupsByServer: the last line of a live session says for whom
// what still hangs waits.
func TestLiveSummaryGroupsByServer(t *testing.T) {
	s := newScene()
	for _, tid := range []int{11, 12} {
		s.thread(tid, nrStat, []uint64{s.str(cephVol + "/d/f")}, mdsStack)
	}
	opts := options(t, "all")
	opts.walk = cephWalk()
	opts.walk.MDSRequests = []events.MDSRequest{{Addr: 9, Dev: cephDev, TID: 4, AgeNS: 40 * second, Waiters: s.waits(11, 12)}}
	tracker := NewTracker(opts)
	if _, err := tracker.Observe(s.snapshot()); err != nil {
		t.Fatal(err)
	}
	sum := tracker.Summary(s.snap.TakenAt).Summary
	if len(sum.ByServer) != 1 || sum.ByServer[0].Threads != 2 || !strings.HasSuffix(sum.Verdict, "all 2 on volumes of 1 pod wait for mds.0 v1:10.0.0.5:6801") {
		t.Errorf("servers %+v, verdict %q", sum.ByServer, sum.Verdict)
	}
}
