package correlate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/storage"
)

const (
	inMds   = "ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph]"
	inCaps  = "wait_woken ceph_get_caps[ceph] ceph_read_iter[ceph]"
	inPage  = "folio_wait_bit_common filemap_update_page ceph_read_iter[ceph]"
	inMon   = "wait_generic_request[libceph] ceph_monc_do_statfs[libceph] ceph_statfs[ceph]"
	inBlock = "folio_wait_bit_common filemap_update_page"
	inFuse  = "request_wait_answer[fuse] fuse_simple_request[fuse]"
)

// realClient is a client as a real Linux 6.1 showed it while a server was
// frozen. The captured mounts were /flat (4142), a CSI volume (4143) and an rbd
// image (4144).
func realClient(t *testing.T, scene string, id int) facts.CephState {
	t.Helper()
	const fsid = "6e5a0000-1ab0-4000-8000-00000000ceff"
	name := fmt.Sprintf("%s.client%d", fsid, id)
	files := make(map[string]string)
	for _, file := range storage.CephDebugFiles {
		if text, err := os.ReadFile(filepath.Join("..", "storage", "testdata", "debugfs-6.1", scene, name, file)); err == nil {
			files[file] = string(text)
		}
	}
	c := storage.CephDebugClient(name, files)
	c.AtNS = nowNS
	return c
}

// fdOn opens a file on the cephfs volume.
func (s *scene) fdOn(fd int, path string, ino uint64) {
	s.file(events.File{FD: fd, Path: cephVol + path, DevMinor: 28, Inode: ino, FSType: "ceph", MountID: 33, MountNS: hostNS, Mode: 0o100644})
}

func only(t *testing.T, r *Report) *Hang {
	t.Helper()
	if len(r.Hangs) != 1 {
		t.Fatalf("%d hangs, want 1", len(r.Hangs))
	}
	return r.Hangs[0]
}

// waits sums up whom a hang waits for.
func waits(on *WaitingOn) string {
	if on == nil {
		return "nobody"
	}
	text := fmt.Sprintf("%s %s %s (%s) by %s", on.Kind, on.Name.Or("-"), on.Address.Or("-"), on.State.Or("-"), on.Source)
	if r := on.Request; r != nil {
		age := "?"
		if r.ForMS != nil {
			age = fmt.Sprint(*r.ForMS)
		}
		if r.AtLeast {
			age += "+"
		}
		text += fmt.Sprintf(": %s %s %s %s", r.ID, r.Op, r.Target.Or("-"), age)
	}
	return text
}

func hasEvidence(on *WaitingOn, part string) bool {
	return strings.Contains(strings.Join(on.Evidence, "\n"), part)
}

func TestSilentServerFromDebugfs(t *testing.T) {
	for _, c := range []struct {
		name     string
		scene    func(t *testing.T, s *scene)
		want     string
		evidence string
	}{
		{"readdir by inode", func(t *testing.T, s *scene) {
			s.fdOn(3, "/d4", 0x10000000203)
			s.thread(1, nrGetdents, []uint64{3}, inMds)
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142), realClient(t, "mds", 4143)}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 4 readdir #10000000203 30000+", "joined by the inode"},
		{"open by path", func(t *testing.T, s *scene) {
			s.thread(1, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/d7/file")}, inMds)
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142), realClient(t, "mds", 4143)}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 5 open /d7/file 30000+", "joined by its path"},
		{"lookup of a parent", func(t *testing.T, s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d1/file")}, inMds)
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142)}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 6 lookup /d1 30000+", "joined by the beginning of its path"},
		{"another client may withhold caps", func(t *testing.T, s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d1/file")}, inMds)
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142)}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 6 lookup /d1 30000+", "another client may withhold"},
		{"caps that went stale are the MDS's silence", func(t *testing.T, s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d1/file")}, inMds)
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142)}
			s.snap.KernelLog = []facts.KernelLine{{AtNS: nowNS - 5e9, Text: "ceph: mds0 caps stale"}}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 6 lookup /d1 30000+", "it is silent"},
		{"the same path on two clients is not joined", func(t *testing.T, s *scene) {
			s.thread(1, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/d7/file")}, inMds)
			other := realClient(t, "mds", 4142)
			other.ID = 4999
			s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142), other}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs", "which one is not known"},
		{"nor is the server named when there are two", func(t *testing.T, s *scene) {
			s.thread(1, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/elsewhere")}, inMds)
			other := realClient(t, "mds", 4142)
			other.MDSRequests[0].Rank = 1
			s.snap.Ceph = []facts.CephState{other}
		}, "mds - - (-) by stack", "kernel stack"},
		{"an unsafe request is answered", func(t *testing.T, s *scene) {
			s.thread(1, nrStat, []uint64{s.str(cephVol + "/d1/file")}, inMds)
			c := realClient(t, "mds", 4142)
			for i := range c.MDSRequests {
				c.MDSRequests[i].Unsafe = true
			}
			s.snap.Ceph = []facts.CephState{c}
		}, "mds - - (-) by stack", "kernel stack"},
		{"caps by process", func(t *testing.T, s *scene) {
			s.fdOn(3, "/big", 0x10000000009)
			s.thread(1, nrRead, []uint64{3}, inCaps)
			c := realClient(t, "mds", 4142)
			c.CapWaiters = []facts.CephCapWaiter{{TGID: 7, Ino: 1}, {TGID: 1000, Ino: 0x10000000009, Need: "Fr", Want: "Fc"}}
			s.snap.Ceph = []facts.CephState{c}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs", "waits for caps on inode 0x10000000009: needs Fr, wants Fc"},
		{"data by inode", func(t *testing.T, s *scene) {
			s.fdOn(3, "/big", 0x10000000009)
			s.thread(1, nrRead, []uint64{3}, inPage).State = events.StateUninterruptible
			s.snap.Ceph = []facts.CephState{realClient(t, "osd", 4142), realClient(t, "osd", 4143)}
		}, "osd osd.0 v1:10.99.0.1:6801 (-) by debugfs: 4 read 10000000009.00000000 30000+", "pool cephfs_data, placement group 2.4"},
		{"statfs", func(t *testing.T, s *scene) {
			s.thread(1, 137, []uint64{s.str(cephVol)}, inMon)
			s.snap.Ceph = []facts.CephState{realClient(t, "osd", 4142)}
		}, "mon mon.0 v1:10.99.0.1:6789 (-) by debugfs: 1 statfs - 30000+", "the kind of request"},
		{"of several monitors none is guessed", func(t *testing.T, s *scene) {
			s.thread(1, 137, []uint64{s.str(cephVol)}, inMon)
			c := realClient(t, "osd", 4142)
			c.MONs = append(c.MONs, facts.CephMON{Rank: 1, Address: "v1:10.99.0.2:6789"})
			s.snap.Ceph = []facts.CephState{c}
		}, "mon unknown - (-) by debugfs: 1 statfs - 30000+", "one of mon.0 v1:10.99.0.1:6789, mon.1 v1:10.99.0.2:6789"},
		{"rbd", func(t *testing.T, s *scene) {
			s.snap.Blocks[1].ImageID, s.snap.Blocks[1].ClientID = "102c979f3b4a", "client4144"
			s.file(events.File{FD: 3, Path: rbdVol + "/big", DevMajor: 252, Inode: 12, FSType: "ext4", MountID: 34, MountNS: hostNS, Mode: 0o100644})
			s.thread(1, nrRead, []uint64{3}, inBlock).State = events.StateUninterruptible
			s.snap.Ceph = []facts.CephState{realClient(t, "osd", 4142), realClient(t, "osd", 4144)}
		}, "osd osd.0 v1:10.99.0.1:6801 (-) by debugfs: 35 read rbd_data.102c979f3b4a.0000000000000000 30000+", "rbd image: kube/img"},
		{"the journal's thread", func(t *testing.T, s *scene) {
			s.snap.Blocks[1].ImageID, s.snap.Blocks[1].ClientID = "102c979f3b4a", "client4144"
			j := s.thread(1, -1, nil, "bit_wait_io jbd2_journal_commit_transaction[jbd2] kjournald2[jbd2]")
			j.State, j.Comm, j.ProcessComm, j.Flags = events.StateUninterruptible, "jbd2/rbd0-8", "jbd2/rbd0-8", 0x00200000
			s.snap.Ceph = []facts.CephState{realClient(t, "osd", 4144)}
		}, "osd osd.0 v1:10.99.0.1:6801 (-) by debugfs: 35 read rbd_data.102c979f3b4a.0000000000000000 30000+", "kernel stack"},
		{"a client that was blocklisted", func(t *testing.T, s *scene) {
			s.thread(1, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/d7/file")}, inMds)
			c := realClient(t, "mds", 4142)
			c.Blocklisted = true
			s.snap.Ceph = []facts.CephState{c}
		}, "mds mds.0 v1:10.99.0.1:6811 (session open) by debugfs: 5 open /d7/file 30000+", "blocklisted client.4142"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene()
			c.scene(t, s)
			on := only(t, s.judge(t, options(t, "all"))).WaitingOn
			if got := waits(on); got != c.want {
				t.Errorf("waits on\n%s, want\n%s", got, c.want)
			}
			if !hasEvidence(on, c.evidence) {
				t.Errorf("evidence lacks %q: %q", c.evidence, on.Evidence)
			}
		})
	}
}

// TestDeviceLeadsToClient: once one thread is joined, the others of its mount
// are its client's.
func TestDeviceLeadsToClient(t *testing.T) {
	s := newScene()
	s.fdOn(3, "/d4", 0x10000000203)
	s.thread(1, nrGetdents, []uint64{3}, inMds)
	s.thread(2, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/elsewhere")}, inMds)
	other := realClient(t, "mds", 4143)
	other.MDSRequests[0].Rank = 1 // would make the server ambiguous
	s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142), other}
	r := s.judge(t, options(t, "all"))
	for _, h := range r.Hangs {
		if h.Task.TID == 2 && (h.WaitingOn.Name != "mds.0" || h.WaitingOn.Request != nil) {
			t.Errorf("waits on %s", waits(h.WaitingOn))
		}
	}
	if o := r.Hangs[0].WaitingOn.OpenRequests; o == nil || o.Total != 4 || o.Overdue != 1 || o.Unwaited != nil {
		t.Errorf("open requests %+v: want 4, of one of which the age is known, and nothing said of who waits", o)
	}
}

// TestRequestAgeInLive: a request that was there before is as old as that.
func TestRequestAgeInLive(t *testing.T) {
	opts := options(t, "all")
	opts.Memory = NewMemory()
	judge := func(atNS int64) *Report {
		s := newScene()
		s.thread(1, nrOpenat, []uint64{atFDCWD, s.str(cephVol + "/d7/file")}, inMds)
		c := realClient(t, "mds", 4142)
		c.AtNS = atNS
		s.snap.Ceph = []facts.CephState{c}
		return s.judge(t, opts)
	}
	judge(nowNS)
	r := judge(nowNS + 90e9)
	if age := *only(t, r).WaitingOn.Request.ForMS; age != 90_000 {
		t.Errorf("age %d ms, want 90000", age)
	}
	if o := only(t, r).WaitingOn.OpenRequests; o.Overdue != 4 || *o.OldestMS != 90_000 {
		t.Errorf("%d requests overdue, the oldest %d ms; want all 4", o.Overdue, *o.OldestMS)
	}
}

func cephFuse(s *scene) {
	s.thread(1, nrStat, []uint64{s.str(fuseVol + "/d3/file")}, inFuse)
	s.snap.FuseDaemons = []facts.FuseDaemon{{PID: 77, Comm: "ceph-fuse", State: "S", Number: 53}}
	s.snap.Ceph = []facts.CephState{{
		Source: facts.SourceAdminSocket, AtNS: nowNS, ID: 4155, PID: 77, CephFS: true, Point: fuseVol,
		MDS:         []facts.CephMDS{{Rank: 0, Address: "v2:10.99.0.1:6810", Session: "open"}},
		MDSRequests: []facts.CephMDSRequest{{TID: 6, Op: "lookup", Ino: 0x10000000000, Name: "d3", AgeMS: 31_000, Attempts: 1}},
	}}
}

func TestBehindCephFuse(t *testing.T) {
	s := newScene()
	cephFuse(s)
	r := s.judge(t, options(t, "all"))
	on := only(t, r).WaitingOn
	if on.Kind != "fuse-daemon" || on.PID != 77 || on.DaemonWaitsOn == nil {
		t.Fatalf("waits on %s, pid %d, behind %v", waits(on), on.PID, on.DaemonWaitsOn)
	}
	if got, want := waits(on.DaemonWaitsOn.WaitingOn()), "mds mds.0 v2:10.99.0.1:6810 (session open) by admin_socket: 6 lookup #10000000000/d3 31000"; got != want {
		t.Errorf("behind it\n%s, want\n%s", got, want)
	}
	if len(r.Summary.ByServer) != 1 || r.Summary.ByServer[0].Name != "mds.0 v2:10.99.0.1:6810" {
		t.Errorf("grouped by %v", r.Summary.ByServer)
	}

	// A kernel that numbers no daemon: the mount point that it names tells.
	s = newScene()
	cephFuse(s)
	s.snap.FuseDaemons = []facts.FuseDaemon{{PID: 77, Comm: "ceph-fuse", State: "S"}, {PID: 78, Comm: "ceph-fuse", State: "S"}}
	if on := only(t, s.judge(t, options(t, "all"))).WaitingOn; on.PID != 77 || on.DaemonWaitsOn == nil {
		t.Errorf("pid %d, behind %v; want 77 by its mount point", on.PID, on.DaemonWaitsOn)
	}
}

// TestDaemonItselfHangs: who waits for a daemon that hangs is a victim of what
// the daemon waits for.
func TestDaemonItselfHangs(t *testing.T) {
	s := newScene()
	s.thread(1, nrStat, []uint64{s.str(fuseVol + "/d3/file")}, inFuse)
	s.fdOn(3, "/d4", 0x10000000203)
	d := s.thread(2, nrGetdents, []uint64{3}, inMds)
	s.files[0].PID, d.PID = 77, 77
	s.snap.FuseDaemons = []facts.FuseDaemon{{PID: 77, Comm: "daemon", State: "D", Number: 53}}
	r := s.judge(t, options(t, "all"))
	if len(r.Hangs) != 2 {
		t.Fatalf("%d hangs", len(r.Hangs))
	}
	root, victim := r.Hangs[0], r.Hangs[1]
	if root.Task.PID != 77 || victim.Role != RoleVictim || victim.WaitsBehind != Text(root.ID) {
		t.Errorf("root %d, the other a %s behind %s", root.Task.PID, victim.Role, victim.WaitsBehind)
	}
}

func TestNFSServer(t *testing.T) {
	s := newScene()
	s.thread(1, nrStat, []uint64{s.str("/mnt/nfs/x")}, "rpc_wait_bit_killable[sunrpc] nfs4_do_call_sync[nfsv4]")
	s.snap.NFS = []facts.NFSMount{{
		Namespace: hostNS, Point: "/mnt/nfs", Source: "server:/export", Address: "10.0.0.9:2049",
		Transports: []facts.NFSTransport{{Proto: "tcp", Connects: 3, IdleS: 41, Sends: 120, Receives: 117}},
		Ops:        []facts.NFSOp{{Name: "GETATTR", Requests: 7, Transmissions: 9, MajorTimeouts: 2}},
	}}
	s.snap.Reach = []facts.Reach{{Address: "10.0.0.9:2049", Outcome: facts.ReachRefused, HostNet: true}}
	s.snap.KernelLog = []facts.KernelLine{
		{AtNS: nowNS - 20e9, Text: "nfs: server server not responding, still trying"},
		{AtNS: nowNS - 20e9, Text: "nfs: server server2 not responding, still trying"},
	}
	on := only(t, s.judge(t, options(t, "all"))).WaitingOn
	if got, want := waits(on), "nfs-server server 10.0.0.9:2049 (3 requests have no answer, nothing was sent or received for 41 s) by mountstats"; got != want {
		t.Errorf("waits on\n%s, want\n%s", got, want)
	}
	for _, part := range []string{"GETATTR timed out 2 times", "connected 3 times", "kernel log at 2026-03-01T02:59:40Z: nfs: server server not", "10.0.0.9:2049: refused"} {
		if !hasEvidence(on, part) {
			t.Errorf("evidence lacks %q: %q", part, on.Evidence)
		}
	}
	if hasEvidence(on, "server2") || on.Reach != facts.ReachRefused {
		t.Errorf("reach %q, evidence %q", on.Reach, on.Evidence)
	}
}

func TestKernelLines(t *testing.T) {
	s := newScene()
	s.thread(1, nrStat, []uint64{s.str(cephVol + "/d1/file")}, inMds)
	s.snap.Ceph = []facts.CephState{realClient(t, "mds", 4142)}
	at := func(ago time.Duration, text string) {
		s.snap.KernelLog = append(s.snap.KernelLog, facts.KernelLine{AtNS: nowNS - int64(ago), Text: text})
	}
	at(40*time.Second, "libceph: mds0 (1)10.99.0.1:6811 socket closed (con state OPEN)")
	at(30*time.Second, "libceph: mds01 (1)10.99.0.1:6811 is another")
	at(20*time.Second, "INFO: task kubelet:1 blocked for more than 20 seconds.")
	at(19*time.Second, "INFO: task kubelet:11 blocked for more than 20 seconds.")
	at(10*time.Second, "libceph: mds0 (1)10.99.0.1:6811 socket closed (con state OPEN)")
	on := only(t, s.judge(t, options(t, "all"))).WaitingOn
	var lines []string
	for _, e := range on.Evidence {
		if rest, ok := strings.CutPrefix(e, "kernel log at "); ok {
			lines = append(lines, rest)
		}
	}
	want := []string{"2026-03-01T02:59:40Z: INFO: task kubelet:1 blocked for more than 20 seconds.",
		"2026-03-01T02:59:50Z: libceph: mds0 (1)10.99.0.1:6811 socket closed (con state OPEN)"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q: the latest of each, no other thread's or server's", lines, want)
	}
}

func TestUnanswered(t *testing.T) {
	s := newScene()
	s.thread(1, nrEpoll, nil, "ep_poll do_epoll_wait")
	if wants, err := Unanswered(s.snapshot(), options(t, "all")); err != nil || wants.Hangs || wants.Ceph || len(wants.Daemons) > 0 {
		t.Errorf("an idle node wants %+v, %v", wants, err)
	}
	s = newScene()
	s.thread(1, nrStat, []uint64{s.str(cephVol + "/x")}, inMds)
	if wants, _ := Unanswered(s.snapshot(), options(t, "all")); !wants.Hangs || !wants.Ceph || wants.Caps {
		t.Errorf("a thread in an MDS request wants %+v: no capabilities", wants)
	}
	s = newScene()
	s.fdOn(3, "/big", 9)
	s.thread(1, nrRead, []uint64{3}, inCaps)
	if wants, _ := Unanswered(s.snapshot(), options(t, "all")); !wants.Ceph || !wants.Caps {
		t.Errorf("a thread in ceph_get_caps wants %+v", wants)
	}
	s = newScene()
	cephFuse(s)
	s.snap.FuseDaemons[0].State = "T"
	if wants, _ := Unanswered(s.snapshot(), options(t, "all")); !wants.Hangs || len(wants.Daemons) > 0 {
		t.Errorf("a stopped daemon is asked: %+v", wants)
	}
}

func TestDialable(t *testing.T) {
	for address, want := range map[string]string{
		"v1:10.0.0.1:6811": "10.0.0.1:6811", "v2:[2001:db8::1]:3300": "[2001:db8::1]:3300", "10.0.0.1:2049": "10.0.0.1:2049",
		"any:0.0.0.0:0": "", "": "", "server": "", "v1:10.0.0.1:0/77": "",
	} {
		if got := dialable(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
