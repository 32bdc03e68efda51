package ceph

import (
	"slices"
	"strings"
	"time"
)

// dataHangs are the calls that wait for the OSD.
type dataHangs struct {
	read, sync  call   // attached cephfs
	hidden      call   // detached cephfs
	fused       call   // ceph-fuse
	onDisk      call   // ext4 on an image
	hiddenDisks []call // the same, detached
}

// sceneOSD hangs reads and syncs: what MDS and monitors still answer, open and
// statfs among it, does not help. Over rbd nothing but the OSD frees.
func (l *lab) sceneOSD() {
	defer l.cephlab("thaw")
	d := l.silenceOSD()
	printed := l.reported()
	l.oneImage(printed, d.hiddenDisks)
	silent := []finding{
		{class: "detached_superblock", volume: wetLazy, health: "hung", holder: d.hidden.pid, how: "blocked", nameless: true},
		{class: "detached_superblock", volume: diskLazy, health: "hung", holder: d.hiddenDisks[0].pid, how: "blocked"},
		{class: "hung_mount", volume: disk, health: "hung", holder: d.onDisk.pid, how: "blocked"},
	}
	found := l.scan(append(slices.Clone(silent),
		finding{class: "hung_mount", volume: wetFuse, health: "hung", holder: d.fused.pid, how: "blocked"},
		finding{class: "hung_mount", volume: wet, health: "hung", holder: d.read.pid, how: "blocked"}))
	if !l.in("remedies", func(l *lab) { l.freeData(d, printed, found) }) {
		return
	}
	l.scan(silent)

	l.cephlab("thaw")
	for _, c := range append(slices.Clone(d.hiddenDisks), d.onDisk, d.hidden) {
		l.ended(c, "")
	}
	stale := l.scan([]finding{{class: "stale_rbd_device", volume: diskLazy, health: "unknown"}})
	l.follow(stale[0].Remedies, "rbd device")
	l.scan(nil)
}

// silenceOSD freezes it under calls of every sort, and unmounts two of the
// volumes lazily below theirs.
func (l *lab) silenceOSD() dataHangs {
	l.t.Helper()
	// The first read of a mount asks whether it may read the pool at all, and what
	// is open needs no OSD of ext4.
	l.mustGuest(30*time.Second, "cat "+wet.point()+"/dir/file "+wetLazy.point()+"/dir/file "+wetFuse.point()+"/dir/file && ls -l "+disk.point()+" "+diskLazy.point())
	// To write more than it may the client asks the MDS, whose journal is at the OSD.
	const triggered = "/bin/hangop -after /run/lab/osd.go"
	d := dataHangs{sync: l.launch(triggered, "fsync", wet, "/dir/file")}
	syncDisk := l.launch(triggered, "fsync", diskLazy, "/dirty")
	for _, c := range []call{d.sync, syncDisk} {
		l.mustGuest(20*time.Second, "for i in $(seq 100); do grep -q ready "+c.out+" && exit 0; sleep 0.1; done; exit 1")
	}
	l.cephlab("freeze", "osd")
	l.mustGuest(10*time.Second, "touch /run/lab/osd.go")
	d.read = l.hang("read", wet, "/big", inPage)
	l.waits(d.sync, inWriteback)
	d.hidden = l.hang("read", wetLazy, "/big", inPage)
	d.fused = l.hang("read", wetFuse, "/big", inFUSE, inPage)
	d.onDisk = l.hang("read", disk, "/big", inPage)
	d.hiddenDisks = []call{
		l.hang("read", diskLazy, "/big", inPage),
		l.hang("ls", diskLazy, "/dir", inReaddir),
		syncDisk,
	}
	l.waits(syncDisk, inWriteback, inCommit, inPage)
	l.mustGuest(20*time.Second, "umount -l "+wetLazy.point()+"; umount -l "+diskLazy.point())
	time.Sleep(2 * time.Second) // more than the threshold
	return d
}

// oneImage wants each of the calls to be known as one on the detached image.
func (l *lab) oneImage(printed map[int]advice, calls []call) {
	l.t.Helper()
	for _, c := range calls {
		a := printed[c.pid]
		if a.Volume == nil || a.Volume.PV != diskLazy.volumeName() {
			l.t.Errorf("%s: the volume of the detached image is %+v, want %s", c.out, a.Volume, diskLazy.volumeName())
		}
		if a.Mount == nil || a.Mount.Image != "rbd/"+diskLazy.image() {
			l.t.Errorf("%s: the detached image is %+v, want %s", c.out, a.Mount, diskLazy.image())
		}
		if a.Group == "" || a.Group != printed[calls[0].pid].Group {
			l.t.Errorf("%s: group %q, want that of the others, %q", c.out, a.Group, printed[calls[0].pid].Group)
		}
	}
}

// freeData follows what is printed while the OSD is silent.
func (l *lab) freeData(d dataHangs, printed map[int]advice, found []leftover) {
	l.deadly(printed[d.hidden.pid].Remedies, printed[d.hidden.pid].Warnings, "report: detached cephfs")
	l.deadly(found[0].Remedies, found[0].Warnings, "detached cephfs")
	l.same(printed[d.read.pid].Remedies, found[4].Remedies)
	l.follow(found[4].Remedies, "hung cephfs")
	l.ended(d.read, "EIO")
	l.ended(d.sync, "", "EIO") // the kernel may say success, though what was written is lost
	l.follow(found[3].Remedies, "hung ceph-fuse")
	l.ended(d.fused, "ENOTCONN", "EIO") // what its page got, or the attempt to read it again
	// Of these only the server frees, and that is what is printed.
	l.follow(printed[d.onDisk.pid].Remedies, "report: hung rbd")
	for _, c := range d.hiddenDisks {
		l.follow(printed[c.pid].Remedies, "report: detached rbd")
	}
	l.follow(printed[d.hidden.pid].Remedies, "report: detached cephfs")
	l.follow(found[0].Remedies, "detached cephfs")
	l.follow(found[1].Remedies, "detached rbd")
	l.follow(found[2].Remedies, "hung rbd")
	for _, c := range append(slices.Clone(d.hiddenDisks), d.onDisk, d.hidden) {
		l.blockedStill(c)
	}
}

// deadly wants no signal among the commands: the end of the last reader of a
// detached cephfs stops Linux 6.1 while its OSD is silent. Before any is run.
func (l *lab) deadly(remedies []remedy, warnings []string, what string) {
	l.t.Helper()
	if slices.ContainsFunc(remedies, func(r remedy) bool { return strings.Contains(r.Command, "kill") }) ||
		!strings.Contains(strings.Join(warnings, "\n"), "can crash the kernel") {
		l.t.Fatalf("%s: %+v, warnings %q: want a warning and no kill", what, remedies, warnings)
	}
}

// same wants report and scan to print the same commands.
func (l *lab) same(report, scan []remedy) {
	l.t.Helper()
	if !slices.EqualFunc(report, scan, func(a, b remedy) bool { return a.Command == b.Command }) {
		l.t.Errorf("report says %+v, scan %+v", report, scan)
	}
}
