package ceph

import (
	"strings"
	"time"
)

// The kernel's functions in which the lab's calls wait.
const (
	inMDS, inMON, inFUSE = "ceph_mdsc_wait_request", "wait_generic_request", "request_wait_answer"
	inUmount, inSessions = "ceph_mdsc_pre_umount", "ceph_mdsc_close_sessions"
	inPage, inWriteback  = "folio_wait_bit_common", "folio_wait_writeback"
	inReaddir, inCommit  = "ext4_readdir", "jbd2_log_wait_commit"
)

// sceneAnswering leaves behind what needs no silent server.
func (l *lab) sceneAnswering() {
	cwd := func(v vol) int { return l.background("cd " + v.point() + " && exec sleep 100000") }
	idlePID, diskPID := cwd(idle), cwd(diskIdle)
	l.in("healthy", func(l *lab) { l.scan(nil) })

	l.mustGuest(20*time.Second, "echo '10.99.0.1:6789 name=admin rbd "+mapped.image()+" -' >/sys/bus/rbd/add_single_major; umount -l "+idle.point()+"; umount -l "+diskIdle.point()+"; umount "+outside.point())
	l.forget(answers)
	found := l.scan([]finding{
		{class: "detached_superblock", volume: idle, health: "unknown", holder: idlePID, how: "cwd", nameless: true},
		{class: "detached_superblock", volume: diskIdle, health: "unknown", holder: diskPID, how: "cwd"},
		{class: "foreign_namespace_mount", volume: outside, health: "responding", holder: l.number("/run/lab/outside.container"), how: "namespace"},
		{class: "orphan_mount", volume: answers, health: "responding"},
		{class: "stale_rbd_device", volume: mapped, health: "unknown"},
	}, "--probe")
	for _, f := range found {
		l.follow(f.Remedies, f.Class)
	}
	found = l.scan([]finding{
		{class: "orphan_dir", volume: answers},
		{class: "stale_rbd_device", volume: diskIdle, health: "unknown"},
	})
	for _, f := range found {
		l.follow(f.Remedies, f.Class)
	}
}

// sceneMDS hangs one volume in each way a silent MDS can, and frees those that
// a command can free; the others when the MDS is back.
func (l *lab) sceneMDS() {
	enter := func(v vol) string {
		return "nsenter -t " + words([]int{l.number("/run/lab/" + v.name + ".container")}) + " -m /bin/hangop"
	}
	l.mustGuest(20*time.Second, "umount "+foreign.point()+"; umount "+alien.point())
	l.forget(orphan)
	l.cephlab("freeze", "mds")
	defer l.cephlab("thaw")
	kubelet := l.hangAs("/run/lab/kubelet op", "stat", hangs, "/dir/file", inMDS)
	orphaned := l.hang("open", orphan, "/dir/file", inMDS)
	foreigner := l.hangAs(enter(foreign), "stat", foreign, "/dir/file", inMDS)
	aliens := l.hangAs(enter(alien), "stat", alien, "/dir/file", inMDS)
	hidden := l.hang("stat", lazy, "/dir/file", inMDS)
	umount := l.hang("umount", stuck, "", inUmount, inSessions)
	fused := l.hang("stat", fuseHung, "/dir/file", inFUSE)
	fusedHidden := l.hang("stat", fuseLazy, "/dir/file", inFUSE)
	l.mustGuest(20*time.Second, "umount -l "+lazy.point()+"; umount -l "+fuseLazy.point()+"; kill -KILL $(cat /run/lab/fusedead.daemon)")
	time.Sleep(2 * time.Second) // more than the threshold

	l.in("check", func(l *lab) { l.checkSays("cephfs mds.0 silent ", ": kubelet stat hangs (shop/hangs) +", 1) })
	printed := l.reported()
	found := l.scan([]finding{
		{class: "umount_stuck", volume: stuck, health: "hung", holder: umount.pid, how: "blocked"},
		{class: "hung_mount", volume: hangs, health: "hung", holder: kubelet.pid, how: "blocked"},
		{class: "hung_mount", volume: fuseHung, health: "hung", holder: fused.pid, how: "blocked"},
		{class: "dead_fuse_connection", volume: fuseDead, health: "unknown"},
		{class: "detached_superblock", volume: lazy, health: "hung", holder: hidden.pid, how: "blocked"},
		{class: "detached_superblock", volume: fuseLazy, health: "hung", holder: fusedHidden.pid, how: "blocked"},
		{class: "foreign_namespace_mount", volume: foreign, health: "hung", holder: foreigner.pid, how: "blocked"},
		{class: "orphan_mount", volume: orphan, health: "hung", holder: orphaned.pid, how: "blocked"},
		{class: "foreign_namespace_mount", volume: alien, health: "hung", holder: aliens.pid, how: "blocked"},
	})

	l.in("remedies", func(l *lab) {
		l.follow(printed[kubelet.pid].Remedies, "report: hung mount")
		l.ended(kubelet, "EIO")
		l.follow(printed[fused.pid].Remedies, "report: hung ceph-fuse")
		l.ended(fused, "ECONNABORTED")
		l.follow(found[3].Remedies, "dead daemon")
		l.follow(found[5].Remedies, "detached ceph-fuse")
		l.ended(fusedHidden, "ECONNABORTED")
		l.follow(found[6].Remedies, "mount in a container only")
		l.ended(foreigner, "EIO")
		// The process that it enters by ends with its call, and another one keeps the
		// namespace.
		l.follow(printed[aliens.pid].Remedies, "report: mount in a container only")
		l.ended(aliens, "EIO")
		l.follow(found[7].Remedies, "orphan mount")
		l.ended(orphaned, "EIO")
		// Of these two only the server frees, and that is what is printed.
		l.follow(found[0].Remedies, "umount")
		l.follow(found[4].Remedies, "detached cephfs")
		l.blockedStill(umount)
		l.blockedStill(hidden)
	})
	again := l.scan([]finding{
		{class: "umount_stuck", volume: stuck, health: "hung", holder: umount.pid, how: "blocked"},
		{class: "detached_superblock", volume: lazy, health: "hung", holder: hidden.pid, how: "blocked"},
		{class: "orphan_dir", volume: orphan},
	})
	l.follow(again[2].Remedies, "orphan dir")
	l.in("kill of the last user", func(l *lab) { l.killLast(printed[hidden.pid].Remedies, hidden, umount) })

	l.cephlab("thaw")
	l.ended(umount, "")
	l.scan(nil)
}

// killLast follows the one printed command that frees less than one would
// think: the last user of a detached mount stays behind, as the risk says.
func (l *lab) killLast(remedies []remedy, hidden, umount call) {
	last := remedies[len(remedies)-1]
	if !strings.HasPrefix(last.Command, "kill -KILL ") || !strings.Contains(last.Risk, "stays behind in the unmount") {
		l.t.Fatalf("report: detached cephfs: %+v", remedies)
	}
	l.follow(remedies, "report: detached cephfs")
	time.Sleep(2 * time.Second)
	if f := l.facts([]int{hidden.pid})[0]; f.State != "D" || !strings.Contains(strings.Join(f.Stack, " "), "ceph_kill_sb") {
		l.t.Errorf("killed: %+v, want it in the unmount", f)
	}
	l.scan([]finding{
		{class: "umount_stuck", volume: stuck, health: "hung", holder: umount.pid, how: "blocked"},
		{class: "umount_stuck", volume: lazy, health: "hung", holder: hidden.pid, how: "blocked"},
	})
}

// sceneMON has a hung df keep a hung mount busy: the order of the commands
// matters. The first of them asks the monitors, which are silent.
func (l *lab) sceneMON() {
	l.cephlab("freeze", "mds", "mon")
	defer l.cephlab("thaw")
	stat := l.hang("stat", df, "/dir/file", inMDS)
	statfs := l.hangAs("/run/lab/df op", "statfs", df, "", inMON)
	stat2 := l.hang("stat", df2, "/dir/file", inMDS)
	statfs2 := l.hangAs("/run/lab/df op", "statfs", df2, "", inMON)
	time.Sleep(2 * time.Second)
	printed := l.reported()
	found := l.scan([]finding{
		{class: "hung_mount", volume: df, health: "hung", holder: statfs.pid, how: "blocked"},
		{class: "hung_mount", volume: df2, health: "hung", holder: statfs2.pid, how: "blocked"},
	})
	for range 3 {
		o := l.operator("umount -f " + df.point())
		l.t.Logf("umount -f with df in the way: status %d %s", o.code, o.stderr)
		if o.code == 0 {
			l.t.Error("umount -f succeeds with a hung df: there is no need to kill it")
		}
	}
	l.ended(stat, "EIO")
	l.blockedStill(statfs)
	l.follow(found[0].Remedies[1:], "hung df")
	l.follow(printed[stat2.pid].Remedies[1:], "report: hung df")
	l.ended(stat2, "EIO")
	l.scan(nil)
}
