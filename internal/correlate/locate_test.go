package correlate

import (
	"slices"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
)

// TestMountOfThePod: a page fault of which only the file in its superblock is
// known is on the pod's mount, and not on the global mount that has the same
// files, as long as just one pod has it.
func TestMountOfThePod(t *testing.T) {
	const (
		global = kroot + "/plugins/kubernetes.io/csi/cephfs.csi.ceph.com/0123/globalmount"
		other  = kroot + "/pods/" + podB + "/volumes/kubernetes.io~csi/pv-1/mount"
	)
	line := func(id, root, point string) string {
		return id + " 21 0:28 " + root + " " + point + " rw,relatime - ceph 10.99.0.1:6789:/vol1 rw,name=admin"
	}
	base := slices.DeleteFunc(slices.Clone(hostMounts), func(l string) bool { return l[:2] == "33" || l[:2] == "51" })
	for _, c := range []struct {
		name, want string
		mounts     []string
	}{
		{"one pod", fuseVol, []string{line("70", "/", global), line("71", "/sub", fuseSub), line("72", "/", fuseVol)}},
		{"two pods", global, []string{line("70", "/", global), line("72", "/", fuseVol), line("73", "/", other)}},
		{"no pod", global, []string{line("70", "/", global)}},
	} {
		s := newScene()
		s.mounts[hostNS] = append(slices.Clone(base), c.mounts...)
		f := s.thread(11, -1, nil, "folio_wait_bit_common filemap_fault ceph_filemap_fault[ceph] handle_mm_fault asm_exc_page_fault")
		f.State = events.StateUninterruptible
		walk := cephWalk()
		walk.Pages = []events.PageWait{{Addr: 31, Dev: cephDev, Ino: 12, Path: "/d/f", Bit: "locked", Waiters: s.waits(11)}}
		h := s.walked(t, walk).Hangs[0]
		if h.Path.Value != Text(c.want+"/d/f") || h.Mount.Point != Text(c.want) {
			t.Errorf("%s: path %s, mount %s, want %s", c.name, h.Path.Value, h.Mount.Point, c.want)
		}
	}
}
