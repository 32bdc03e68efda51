package leftover

import (
	"slices"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

func ceph(minor uint32, state string) events.Superblock {
	return events.Superblock{Dev: events.Dev(minor), FSType: "ceph", Active: 1, Ceph: &events.CephFS{FSID: "f", ClientID: uint64(minor), ServerPath: "/v", MountState: state}}
}

func detachedMount(minor uint32) events.Mount {
	return events.Mount{Dev: events.Dev(minor), Detached: true}
}

func nothing(*facts.Snapshot, *correlate.Report) {}

// TestInTransit: a superblock without a mount may be on its way in or out.
func TestInTransit(t *testing.T) {
	stopping := ceph(70, "mounted")
	stopping.Stopping, stopping.Active = true, 0
	w := &events.Walk{Superblocks: []events.Superblock{ceph(71, "mounting"), stopping}}
	if got := judgeWalked(t, w, nothing); len(got) > 0 {
		t.Errorf("found %s: %v", got[0].Class, got[0].Evidence)
	}
	w.Mounts = []events.Mount{detachedMount(71)}
	got := judgeWalked(t, w, nothing)
	if len(got) != 1 || got[0].Class != correlate.ClassDetached || !strings.Contains(strings.Join(got[0].Evidence, " "), "client71 of cluster f on /v") {
		t.Errorf("lazily unmounted: %+v", got)
	}
}

// TestLastHolder: the last process to hold a detached cephfs with a silent
// server is not to be killed, the others may be.
func TestLastHolder(t *testing.T) {
	w := &events.Walk{Superblocks: []events.Superblock{ceph(70, "mounted")}, Mounts: []events.Mount{detachedMount(70)}}
	held := facts.HeldFile{PID: 9, How: "cwd", Device: "0:70", FSType: "ceph", Detached: true}
	for _, test := range []struct {
		name         string
		hung, second bool
		kills, warns int
	}{
		{"server answers, as far as is known", false, true, 1, 0},
		{"one waits", true, false, 0, 1},
		{"another has its directory there", true, true, 2, 1},
	} {
		got := judgeWalked(t, w, func(s *facts.Snapshot, r *correlate.Report) {
			if test.hung {
				r.Hangs = []*correlate.Hang{hang("0:70", "cephfs")}
			}
			if test.second {
				s.Scan.Files = []facts.HeldFile{held}
			}
		})
		if len(got) != 1 || got[0].Class != correlate.ClassDetached {
			t.Fatalf("%s: %+v", test.name, got)
		}
		kills := len(slices.DeleteFunc(slices.Clone(got[0].Remedies), func(r correlate.Remedy) bool { return !strings.HasPrefix(r.Command, "kill -KILL ") }))
		warns := len(slices.DeleteFunc(slices.Clone(got[0].Warnings), func(s string) bool { return !strings.Contains(s, "stays behind in the unmount") }))
		if kills != test.kills || warns != test.warns {
			t.Errorf("%s: %d kills, %d warnings, want %d and %d: %+v %q", test.name, kills, warns, test.kills, test.warns, got[0].Remedies, got[0].Warnings)
		}
	}
}

// TestStuckUmountsApart: the kernel's queues tell two unmounts apart that no
// mount table and no stack does.
func TestStuckUmountsApart(t *testing.T) {
	w := &events.Walk{Superblocks: []events.Superblock{ceph(70, "mounted"), ceph(71, "mounted")}}
	var hangs []*correlate.Hang
	for i, dev := range []events.Dev{70, 71} {
		h := hang("", "cephfs", "ceph_mdsc_pre_umount+0xbd", "ceph_kill_sb+0x2f")
		h.Reason, h.Task.PID, h.Task.TID = correlate.ReasonAfterSyscall, 20+i, 20+i
		hangs = append(hangs, h)
		w.Queues = append(w.Queues, events.QueueWait{Dev: dev, How: events.WaitUmount, Waiters: []events.Waiter{{TID: 20 + i, PID: 20 + i}}})
	}
	got := judgeWalked(t, w, func(_ *facts.Snapshot, r *correlate.Report) { r.Hangs = hangs })
	if len(got) != 2 {
		t.Fatalf("%d findings: %+v", len(got), got)
	}
	for i, l := range got {
		want := []string{"0:70", "0:71"}[i]
		if l.Class != correlate.ClassUmountStuck || string(l.Mount.Device) != want || len(l.Holders) != 1 || l.Holders[0].PID != 20+i {
			t.Errorf("%s on %s held by %+v, want %s", l.Class, l.Mount.Device, l.Holders, want)
		}
	}
}

// TestEveryPlace: after umount -f all mounts of the superblock serve errors, so
// that each gets its command; in a container's namespace by nsenter.
func TestEveryPlace(t *testing.T) {
	got := judge(t, func(s *facts.Snapshot, r *correlate.Report) {
		s.Mounts[0].Text += "3 1 0:50 / " + root + "/plugins/kubernetes.io/csi/d/h/globalmount rw - ceph mon:6789:/ rw\n"
		r.Hangs = []*correlate.Hang{hang("0:50", "cephfs")}
	})
	if len(got) != 1 || len(got[0].Remedies) != 3 || !strings.HasSuffix(got[0].Remedies[2].Command, "/globalmount") {
		t.Errorf("hung at two places: %+v", got)
	}
	got = judge(t, func(s *facts.Snapshot, _ *correlate.Report) {
		for _, m := range []facts.MountNamespace{{ID: 2, PID: 200}, {ID: 3, PID: 300}} {
			s.Scan.Namespaces = append(s.Scan.Namespaces, m)
			s.Mounts = append(s.Mounts, facts.MountTable{Namespace: m.ID, PID: m.PID, Text: "7 1 0:51 / /data rw - ceph mon:6789:/ rw\n"})
		}
	})
	if len(got) != 1 || len(got[0].Remedies) != 3 || got[0].Remedies[1].Command != "nsenter -t 200 -m -- umount /data" ||
		got[0].Remedies[2].Command != "nsenter -t 300 -m -- umount /data" || !strings.Contains(strings.Join(got[0].Warnings, " "), "/proc/200/root/dev/") {
		t.Errorf("in two containers: %+v", got)
	}
}
