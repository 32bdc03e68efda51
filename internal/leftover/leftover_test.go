package leftover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

const (
	gone    = "c0ffee00-7a57-4f6e-9f0e-5c2d8a1b9d42"
	running = "3e5c5b0c-7a57-4f6e-9f0e-5c2d8a1b9d42"
	root    = "/var/lib/kubelet"
	hostNS  = 1
)

// node is a healthy node with one running pod; edit makes it ill.
func judge(t *testing.T, edit func(s *facts.Snapshot, r *correlate.Report)) []*correlate.Leftover {
	t.Helper()
	return judgeWalked(t, nil, edit)
}

// judgeWalked is judge with what a walk over the kernel's structures saw.
func judgeWalked(t *testing.T, walk *events.Walk, edit func(s *facts.Snapshot, r *correlate.Report)) []*correlate.Leftover {
	t.Helper()
	s := &facts.Snapshot{
		TakenAt: time.Unix(1_700_000_000, 0), OwnMountNS: hostNS,
		Mounts: []facts.MountTable{{Namespace: hostNS, PID: 100, Text: "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" +
			"2 1 0:50 / " + root + "/pods/" + running + "/volumes/kubernetes.io~cephfs/data rw - ceph mon:6789:/ rw\n"}},
		Kube: &facts.Kube{
			RootDirs: []string{root}, PodSources: []string{"cri"},
			Pods: []facts.Pod{{UID: running, Name: "web", Namespace: "shop", State: "running", Source: "cri"}},
		},
		Scan: &facts.Scan{
			HostPID: 100, HostNS: hostNS, MinAgeS: 600, Namespaces: []facts.MountNamespace{{ID: hostNS, PID: 100}},
			MountDevices: []string{"8:1", "0:50"},
		},
	}
	r := &correlate.Report{}
	edit(s, r)
	out, err := Judge(s, r, Options{Kinds: mounts.SetOf(mounts.Kinds()...), ThresholdMS: 1000, walk: walk})
	if err != nil {
		t.Fatal(err)
	}
	return out.Leftovers
}

func hang(device, kind string, frames ...string) *correlate.Hang {
	return &correlate.Hang{
		Reason: correlate.ReasonInSyscall, Task: correlate.Task{PID: 7, TID: 8, Comm: "cat"}, Blocked: correlate.Blocked{ForMS: 5000},
		Mount: &correlate.Mount{Device: correlate.Text(device), Kind: correlate.Text(kind)}, KernelStack: frames,
		Syscall: &correlate.Syscall{Name: "newfstatat"},
	}
}

func dirs(age time.Duration, at time.Time, paths ...string) []facts.KubeDir {
	var out []facts.KubeDir
	for _, p := range paths {
		out = append(out, facts.KubeDir{Path: root + "/pods/" + p, MTimeNS: at.Add(-age).UnixNano(), File: strings.HasSuffix(p, ".json")})
	}
	return out
}

func TestJudge(t *testing.T) {
	orphan := []string{gone, gone + "/volumes/kubernetes.io~cephfs/v"}
	csi := []string{gone, gone + "/volumes/kubernetes.io~csi/pv", gone + "/volumes/kubernetes.io~csi/pv/mount", gone + "/volumes/kubernetes.io~csi/pv/vol_data.json"}
	deadFuse := func(s *facts.Snapshot) {
		s.Mounts[0].Text += "3 1 0:60 / /mnt/f rw - fuse.sshfs host: rw\n"
		s.Fuse = []facts.FuseConnection{{Number: 60, Device: "0:60"}}
		s.Scan.FuseBefore, s.Scan.DaemonsNumbered = s.Fuse, true
	}
	rbd := facts.BlockDevice{Device: "253:0", Name: "rbd0", Driver: "rbd", Pool: "p", Image: "i"}
	tests := []struct {
		name string
		edit func(s *facts.Snapshot, r *correlate.Report)
		want correlate.Class // "" nothing
		text string          // in a remedy's command
	}{
		{"healthy", func(*facts.Snapshot, *correlate.Report) {}, "", ""},
		{"directory of a deleted pod", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs = dirs(time.Hour, s.TakenAt, orphan...)
		}, correlate.ClassOrphanDir, "rmdir '" + root},
		{"with vol_data.json", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs = dirs(time.Hour, s.TakenAt, csi...)
		}, correlate.ClassOrphanDir, "vol_data.json' && rmdir"},
		{"pod is just starting", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs = dirs(time.Minute, s.TakenAt, orphan...)
		}, "", ""},
		{"a process runs in the pod", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs, s.Scan.LivePods = dirs(time.Hour, s.TakenAt, orphan...), []string{gone}
		}, "", ""},
		{"nobody knows which pods exist", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs, s.Kube.Pods, s.Kube.PodSources = dirs(time.Hour, s.TakenAt, orphan...), nil, nil
		}, "", ""},
		{"no runtime, but logs", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Dirs, s.Kube.Pods, s.Kube.PodSources = dirs(time.Hour, s.TakenAt, orphan...), nil, []string{"pod-logs"}
		}, correlate.ClassOrphanDir, ""},
		{"hung mount", func(_ *facts.Snapshot, r *correlate.Report) {
			r.Hangs = []*correlate.Hang{hang("0:50", "cephfs")}
		}, correlate.ClassHungMount, "umount -f "},
		{"hung FUSE, and no control file system", func(s *facts.Snapshot, r *correlate.Report) {
			deadFuse(s)
			s.Fuse, s.Scan.FuseBefore = nil, nil
			s.Scan.Daemons = []facts.FuseDaemon{{PID: 9, State: "S", Number: 60}}
			r.Hangs = []*correlate.Hang{hang("0:60", "fuse")}
		}, correlate.ClassHungMount, "connections/60/abort"},
		{"mount of a deleted pod", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Mounts[0].Text = strings.ReplaceAll(s.Mounts[0].Text, running, gone)
			s.Scan.Dirs = dirs(time.Hour, s.TakenAt, orphan...)[:1]
		}, correlate.ClassOrphanMount, "umount '" + root},
		{"ceph requests that stand still", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Ceph = []facts.CephClient{{Name: "f.client4", CephFS: true, MDSC: "6\tmds0\tgetattr\t#1\n7\tmds0\topen\t#2\n", Later: "6\tmds0\tgetattr\t#1\n", LaterMS: 1500}}
		}, correlate.ClassHungMount, "umount -f "},
		{"ceph requests that move", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Ceph = []facts.CephClient{{Name: "f.client4", CephFS: true, MDSC: "6\tmds0\tgetattr\t#1\n", Later: "7\tmds0\tgetattr\t#1\n", LaterMS: 1500}}
		}, "", ""},
		{"silent probe", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Probes = []facts.Probe{{Device: "0:50", Outcome: facts.ProbeSilent}}
		}, correlate.ClassHungMount, "umount -f "},
		{"dead daemon", func(s *facts.Snapshot, _ *correlate.Report) { deadFuse(s) }, correlate.ClassDeadFuse, "umount /mnt/f"},
		{"daemon of a connection that was not there before", func(s *facts.Snapshot, _ *correlate.Report) {
			deadFuse(s)
			s.Scan.FuseBefore = nil
		}, "", ""},
		{"dead daemon, and no control file system", func(s *facts.Snapshot, _ *correlate.Report) {
			deadFuse(s)
			s.Fuse, s.Scan.FuseBefore = nil, nil
		}, correlate.ClassDeadFuse, "umount /mnt/f"},
		{"living daemon, and no control file system", func(s *facts.Snapshot, _ *correlate.Report) {
			deadFuse(s)
			s.Fuse, s.Scan.FuseBefore = nil, nil
			s.Scan.Daemons = []facts.FuseDaemon{{PID: 9, State: "S", Number: 60}}
		}, "", ""},
		{"kernel without numbers", func(s *facts.Snapshot, _ *correlate.Report) {
			deadFuse(s)
			s.Scan.DaemonsNumbered = false
		}, "", ""},
		{"connection without a mount", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Fuse = []facts.FuseConnection{{Number: 61, Device: "0:61", Waiting: 1}}
			s.Scan.FuseBefore, s.Scan.Daemons = s.Fuse, []facts.FuseDaemon{{PID: 9, State: "S", Number: 61}}
		}, correlate.ClassDetached, "connections/61/abort"},
		{"detached cephfs by the count", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.BDIs = []string{"ceph-1", "ceph-2"}
		}, correlate.ClassDetached, "ceph health"},
		{"detached cephfs by a descriptor", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Scan.Files = []facts.HeldFile{{PID: 9, How: "fd 3", Device: "0:70", FSType: "ceph", Detached: true}}
		}, correlate.ClassDetached, "kill -KILL 9"},
		{"only in another namespace", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Mounts = append(s.Mounts, facts.MountTable{Namespace: 2, PID: 200, Text: "5 4 0:80 / /data rw - ceph mon:/ rw\n"})
			s.Scan.Namespaces = append(s.Scan.Namespaces, facts.MountNamespace{ID: 2, PID: 200, Members: []int{200}})
		}, correlate.ClassForeignNamespace, "nsenter -t 200 -m -- umount /data"},
		{"a container's own FUSE", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Mounts = append(s.Mounts, facts.MountTable{Namespace: 2, PID: 200, Text: "5 4 0:80 / /data rw - fuse.s3 s3 rw\n"})
			s.Scan.Namespaces = append(s.Scan.Namespaces, facts.MountNamespace{ID: 2, PID: 200})
		}, "", ""},
		{"stuck umount", func(_ *facts.Snapshot, r *correlate.Report) {
			r.Hangs = []*correlate.Hang{hang("", "cephfs", "ceph_mdsc_close_sessions+0x1 [ceph]", "ceph_kill_sb+0x2 [ceph]", "cleanup_mnt+0x3")}
		}, correlate.ClassUmountStuck, "ceph health"},
		{"mapped and unused image", func(s *facts.Snapshot, _ *correlate.Report) { s.Blocks = []facts.BlockDevice{rbd} }, correlate.ClassStaleRBD, "rbd device unmap -o noudev /dev/rbd0"},
		{"image open", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Blocks, s.Scan.Files = []facts.BlockDevice{rbd}, []facts.HeldFile{{PID: 9, How: "fd 3", Path: "/dev/rbd0"}}
		}, "", ""},
		{"image below LVM", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Blocks = []facts.BlockDevice{rbd, {Device: "252:0", Name: "dm-0", Driver: "dm", Below: []string{"253:0"}}}
		}, "", ""},
		{"raw block volume", func(s *facts.Snapshot, _ *correlate.Report) {
			s.Blocks = []facts.BlockDevice{rbd}
			s.Mounts[0].Text += "9 1 0:6 /rbd0 /var/lib/kubelet/plugins/x rw - devtmpfs devtmpfs rw\n"
		}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := judge(t, test.edit)
			if test.want == "" {
				if len(got) > 0 {
					t.Fatalf("found %s %s: %v", got[0].Class, got[0].Path, got[0].Evidence)
				}
				return
			}
			if len(got) != 1 || got[0].Class != test.want {
				t.Fatalf("found %d, want one %s: %+v", len(got), test.want, got)
			}
			if len(got[0].Evidence) == 0 {
				t.Error("no evidence")
			}
			if !slices.ContainsFunc(got[0].Remedies, func(r correlate.Remedy) bool { return strings.Contains(r.Command, test.text) }) {
				t.Errorf("no remedy with %q: %+v", test.text, got[0].Remedies)
			}
		})
	}
}

// TestNextPass holds what is said of the kubelet against what was measured.
func TestNextPass(t *testing.T) {
	for _, test := range []struct{ version, layout, want, not string }{
		{"v1.17.4", "kubernetes.io~cephfs/v", "and hangs", "1.34"},
		{"1.34", "kubernetes.io~cephfs/v", "does not wait", "and hangs"},
		{"1.17", "kubernetes.io~csi/v/mount", "does not look", "and hangs"},
		{"1.34.4", "kubernetes.io~csi/v/mount", "and hangs", "1.17"},
		{"1.25", "kubernetes.io~csi/v/mount", "as seen with 1.17", ""},
		{"", "kubernetes.io~csi/v/mount", "as seen with 1.17", ""},
	} {
		got := judge(t, func(s *facts.Snapshot, r *correlate.Report) {
			s.Scan.KubeletVersion = test.version
			s.Mounts[0].Text = "2 1 0:50 / " + root + "/pods/" + gone + "/volumes/" + test.layout + " rw - ceph mon:6789:/ rw\n"
			s.Scan.Dirs = dirs(time.Hour, s.TakenAt, gone)
			r.Hangs = []*correlate.Hang{hang("0:50", "cephfs")}
		})
		if len(got) != 1 {
			t.Fatalf("%+v: %d findings", test, len(got))
		}
		next := string(got[0].NextPass)
		if !strings.Contains(next, test.want) || test.not != "" && strings.Contains(next, test.not) {
			t.Errorf("%+v: %q", test, next)
		}
	}
}

// TestQuotes runs no shell: a name with a quote must stay one word.
func TestQuotes(t *testing.T) {
	got := judge(t, func(s *facts.Snapshot, _ *correlate.Report) {
		s.Scan.Dirs = dirs(time.Hour, s.TakenAt, gone, gone+"/volumes/kubernetes.io~cephfs/a'; reboot")
	})
	if len(got) != 1 || !strings.Contains(got[0].Remedies[0].Command, `'"'"'; reboot'`) {
		t.Errorf("%+v", got[0].Remedies)
	}
}

func FuzzStuckRequests(f *testing.F) {
	f.Add("6\tmds0\tgetattr\t#1\n", "6\tmds0\tgetattr\t#1\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		if n := len(stuckRequests(before, after)); n > strings.Count(before, "\n")+1 {
			t.Errorf("%d of %q", n, before)
		}
	})
}
