package correlate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
)

// rbdScene is an ext4 over rbd whose OSD is silent: a reader, a sync, the
// journal, and a creat behind the journal.
func rbdScene() (*scene, *events.Walk) {
	s := newScene()
	s.thread(11, nrRead, []uint64{3}, "folio_wait_bit_common filemap_read ext4_file_read_iter[ext4]").State = events.StateUninterruptible
	s.file(events.File{FD: 3, Path: rbdVol + "/f", DevMajor: 252, FSType: "ext4", MountID: 34, Mode: 0o100644})
	s.thread(12, nrFsync, []uint64{3}, "jbd2_log_wait_commit[jbd2] ext4_sync_file[ext4]").State = events.StateUninterruptible
	j := s.thread(13, -1, nil, "folio_wait_bit_common folio_wait_writeback jbd2_journal_commit_transaction[jbd2] kjournald2[jbd2]")
	j.PID, j.Comm, j.Flags, j.State, j.HasRegs = 13, "jbd2/rbd0-8", events.FlagKThread, events.StateUninterruptible, false
	s.thread(14, nrOpenat, []uint64{atFDCWD, s.str(rbdVol + "/n")}, "do_get_write_access[jbd2] ext4_create[ext4]").State = events.StateUninterruptible
	walk := cephWalk()
	walk.OSDRequests = []events.OSDRequest{
		{Addr: 21, Client: 2, TID: 1, OSD: 3, Object: "rbd_data.abc.0001", AgeNS: 40 * second, Write: true, Peer: "v1:10.0.0.6:6801"},
		{Addr: 22, Client: 2, TID: 2, OSD: 3, Object: "rbd_data.abc.0002", AgeNS: 30 * second, Peer: "v1:10.0.0.6:6801"},
		{Addr: 23, Client: 2, TID: 3, OSD: 4, Object: "rbd_data.other.0002", AgeNS: 90 * second, Write: true},
	}
	walk.Pages = []events.PageWait{
		{Addr: 31, Dev: rbdDev, Ino: 12, Path: "/f", Bit: "locked", Waiters: s.waits(11)},
		{Addr: 32, Dev: rbdDev, Ino: 12, Path: "/f", Bit: "writeback", Waiters: s.waits(13)},
	}
	walk.Bits = []events.BitWait{{Addr: 33, Kind: "buffer", Dev: rbdDev, Block: 7, Size: 1024, Waiters: s.waits(14)}}
	return s, walk
}

func TestRBDWaitersAndJournalShareAGroup(t *testing.T) {
	s, walk := rbdScene()
	r := s.walked(t, walk, "rbd")
	if len(r.Hangs) != 4 {
		t.Fatalf("%d hangs, want 4", len(r.Hangs))
	}
	journal := hangOf(t, r, 13)
	for tid, want := range map[int]string{11: "osd osd.3 2", 13: "osd osd.3 1", 12: "lock journal of rbd0 -", 14: "lock journal of rbd0 -"} {
		h := hangOf(t, r, tid)
		id := "-"
		if h.WaitingOn.Request != nil {
			id = h.WaitingOn.Request.ID
		}
		if got := fmt.Sprintf("%s %s %s", h.WaitingOn.Kind, h.WaitingOn.Name, id); got != want {
			t.Errorf("thread %d waits on %s, want %s", tid, got, want)
		}
		if h.Group != r.Hangs[0].Group {
			t.Errorf("thread %d is in group %s, want %s", tid, h.Group, r.Hangs[0].Group)
		}
		if tid == 12 || tid == 14 {
			if string(h.WaitsBehind) != journal.ID {
				t.Errorf("thread %d waits behind %q, want the journal's thread", tid, h.WaitsBehind)
			}
		}
	}
	if journal.Behind == nil || journal.Behind.Threads != 2 {
		t.Errorf("behind the journal: %+v", journal.Behind)
	}
	if len(r.Summary.ByServer) != 1 {
		t.Fatalf("servers %+v, want one", r.Summary.ByServer)
	}
	c := r.Summary.ByServer[0]
	if c.Threads != 4 || c.KernelThreads != 1 || c.Processes != 2 || len(c.Volumes) != 1 || c.Volumes[0].Source != "kube/img" {
		t.Errorf("server %+v", c)
	}
	if want := []string{"shop/web-0"}; !slices.Equal(c.Volumes[0].Pods, want) {
		t.Errorf("pods on the volume are %q, want %q", c.Volumes[0].Pods, want)
	}
	if !strings.Contains(r.Summary.Verdict, "all 4 on volumes of 1 pod wait for osd.3") {
		t.Errorf("verdict %q", r.Summary.Verdict)
	}
}

// TestJournalNotLookedAt: without the journal's thread among the samples, what
// waits for it waits for the image.
func TestJournalNotLookedAt(t *testing.T) {
	s, walk := rbdScene()
	s.tasks = slices.DeleteFunc(s.tasks, func(t events.Task) bool { return t.TID == 13 })
	for _, tid := range []int{12, 14} {
		h := hangOf(t, s.walked(t, walk, "rbd"), tid)
		if h.Role != RoleRoot || h.WaitingOn.Kind != "osd" || !strings.Contains(strings.Join(h.WaitingOn.Evidence, ";"), "rbd image: kube/img") {
			t.Errorf("thread %d: %s, waits on %+v", tid, h.Role, h.WaitingOn)
		}
	}
}

// TestXFSOverRBD: XFS waits for its log and buffers in ways that the walk does
// not see.
func TestXFSOverRBD(t *testing.T) {
	s, walk := rbdScene()
	s.tasks, walk.Pages, walk.Bits = nil, nil, nil
	s.thread(15, nrFsync, []uint64{3}, "xlog_wait_on_iclog[xfs] xfs_file_fsync[xfs]").State = events.StateUninterruptible
	h := s.walked(t, walk, "rbd").Hangs[0]
	text := strings.Join(h.WaitingOn.Evidence, "; ")
	if h.WaitingOn.Kind != "osd" || h.WaitingOn.Name != "osd.3" || !strings.Contains(text, "which of them the thread waits for is not known") {
		t.Errorf("waits on %s %s: %s", h.WaitingOn.Kind, h.WaitingOn.Name, text)
	}
}

// TestPageOfCephFS: a page waits for the oldest request of its file in its own
// direction, and for one in the other only where there is none.
func TestPageOfCephFS(t *testing.T) {
	s := newScene()
	walk := cephWalk()
	request := func(addr, ino uint64, write bool, age uint64) events.OSDRequest {
		return events.OSDRequest{Addr: addr, Client: 1, Dev: cephDev, OSD: 3, TID: addr, Ino: ino, Write: write, AgeNS: age * second}
	}
	walk.OSDRequests = []events.OSDRequest{
		request(1, 5, false, 20), request(2, 5, false, 30), request(3, 5, true, 40), request(4, 6, true, 10), request(5, 7, false, 90),
	}
	for i, c := range []struct {
		ino  uint64
		bit  string
		want string
	}{{5, "locked", "2"}, {5, "writeback", "3"}, {6, "locked", "4"}} {
		tid := 11 + i
		s.thread(tid, nrStat, []uint64{s.str(cephVol + "/f")}, "folio_wait_bit_common filemap_fault ceph_filemap_fault[ceph]")
		walk.Pages = append(walk.Pages, events.PageWait{Addr: uint64(tid), Dev: cephDev, Ino: c.ino, Bit: c.bit, Waiters: s.waits(tid)})
		if q := hangOf(t, s.walked(t, walk), tid).WaitingOn.Request; q == nil || q.ID != c.want {
			t.Errorf("page of inode %d, %s: request %+v, want %s", c.ino, c.bit, q, c.want)
		}
	}
}

// TestDirectionByStack: where the pages that are waited for are not walked, the
// stack tells a write from a read.
func TestDirectionByStack(t *testing.T) {
	for stack, want := range map[string]string{
		"folio_wait_bit_common folio_wait_writeback ext4_sync_file[ext4]": "1",
		"folio_wait_bit_common filemap_read ext4_file_read_iter[ext4]":    "2",
		"xlog_wait_on_iclog[xfs] xfs_file_fsync[xfs]":                     "1",
	} {
		s, walk := rbdScene()
		s.tasks, walk.Pages, walk.Bits = nil, nil, nil
		s.thread(15, nrFsync, []uint64{3}, stack).State = events.StateUninterruptible
		if on := s.walked(t, walk, "rbd").Hangs[0].WaitingOn; on.Request == nil || string(on.Request.ID) != want {
			t.Errorf("%s waits on %+v, want request %s", stack, on, want)
		}
	}
}
