package correlate

import (
	"slices"
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// TestVolumeOfDetachedImage: after umount -l the image names the volume.
func TestVolumeOfDetachedImage(t *testing.T) {
	const uuid = "9f8e7d6c-5b4a-4c3d-8e2f-1a0b9c8d7e6f"
	s := newScene()
	s.mounts[hostNS] = slices.DeleteFunc(slices.Clone(hostMounts), func(l string) bool { return strings.Contains(l, "/dev/rbd0") })
	s.snap.Blocks[1].Image = "csi-vol-" + uuid
	s.thread(11, nrRead, []uint64{3}, "folio_wait_bit_common filemap_read ext4_file_read_iter[ext4]").State = events.StateUninterruptible
	s.file(events.File{FD: 3, Path: "/f", DevMajor: 252, FSType: "ext4", MountID: 34, Mode: 0o100644, Detached: true})
	opts := options(t, "rbd")
	if !NamelessImage(s.snapshot(), opts) {
		t.Error("nobody wants to know what is in the image")
	}
	h := s.judge(t, opts).Hangs[0]
	if h.Mount.Image != "kube/csi-vol-"+uuid || *h.Mount.Attached || h.Volume != nil {
		t.Errorf("nothing read: mount %+v, volume %+v", h.Mount, h.Volume)
	}
	s.snap.Kube.VolumeData = []facts.VolumeData{{Path: kroot + "/pods/" + podA + "/volumes/kubernetes.io~csi/pv-9/vol_data.json",
		DriverName: "rbd.csi.ceph.com", SpecVolID: "pv-9", VolumeHandle: "0001-0009-rook-ceph-0000000000000002-" + uuid}}
	if h = s.judge(t, opts).Hangs[0]; h.Volume == nil || h.Volume.PV != "pv-9" || h.Volume.Pod == nil || h.Volume.Pod.Name != "web-0" {
		t.Errorf("volume %+v, want pv-9 of web-0", h.Volume)
	}
	if NamelessImage(s.snapshot(), opts) {
		t.Error("the image has a name already")
	}
}
