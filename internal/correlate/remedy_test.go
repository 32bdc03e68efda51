package correlate

import (
	"slices"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
)

// TestNoKillWithSilentOSD: killing the last reader of a detached cephfs crashed
// a kernel whose OSD was silent; with a silent MDS it does not.
func TestNoKillWithSilentOSD(t *testing.T) {
	for stack, kill := range map[string]bool{
		"folio_wait_bit_common filemap_get_pages ceph_read_iter[ceph] vfs_read":        false,
		"ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph] ceph_read_iter[ceph]": true,
	} {
		s := newScene()
		s.thread(11, nrRead, []uint64{3}, stack).State = stateKillable
		s.file(events.File{FD: 3, Path: "/f", DevMinor: 28, FSType: "ceph", MountID: 99, Mode: 0o100644, Detached: true})
		got := s.judge(t, options(t, "all")).Hangs[0]
		printed := slices.ContainsFunc(got.Remedies, func(r Remedy) bool { return r.Command == "kill -KILL 1000" })
		if warned := slices.Contains(got.Warnings, WarnKillOSD); printed != kill || warned == kill {
			t.Errorf("%s: waits on %s, kill printed %v, warned %v", stack, got.WaitingOn.Kind, printed, warned)
		}
	}
}

// TestNoKillBesideSilentOSD: what ends one thread of a process ends them all, so
// it is not printed for one that waits for an MDS, either.
func TestNoKillBesideSilentOSD(t *testing.T) {
	s := newScene()
	for tid, stack := range map[int]string{
		11: "ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph] ceph_read_iter[ceph]",
		12: "folio_wait_bit_common filemap_get_pages ceph_read_iter[ceph] vfs_read",
	} {
		s.thread(tid, nrRead, []uint64{3}, stack).State = stateKillable
	}
	s.file(events.File{FD: 3, Path: "/f", DevMinor: 28, FSType: "ceph", MountID: 99, Mode: 0o100644, Detached: true})
	hangs := s.judge(t, options(t, "all")).Hangs
	if len(hangs) != 2 {
		t.Fatalf("%d hangs, want 2", len(hangs))
	}
	for _, h := range hangs {
		if slices.ContainsFunc(h.Remedies, func(r Remedy) bool { return r.Command == "kill -KILL 1000" }) || !slices.Contains(h.Warnings, WarnKillOSD) {
			t.Errorf("thread %d: %v, warned %v", h.Task.TID, h.Remedies, h.Warnings)
		}
	}
}

// TestForceUnmount: the process by which a namespace is entered may end with the
// first umount, so that it is entered once.
func TestForceUnmount(t *testing.T) {
	here := func(command string) string { return command }
	if got, want := ForceUnmount("/a b", here), "umount -f '/a b' || (sleep 1; umount -f '/a b')"; got != want {
		t.Errorf("here: %s, want %s", got, want)
	}
	there := func(command string) string { return "nsenter -t 7 -m -- " + command }
	if got, want := ForceUnmount("/a", there), "nsenter -t 7 -m -- sh -c 'umount -f /a || (sleep 1; umount -f /a)'"; got != want {
		t.Errorf("there: %s, want %s", got, want)
	}
}
