package kube

import (
	"testing"

	"github.com/hangtrace/hangtrace/internal/facts"
)

func TestVolumeOfImage(t *testing.T) {
	const (
		root  = "/var/lib/kubelet"
		uuid  = "9f8e7d6c-5b4a-4c3d-8e2f-1a0b9c8d7e6f"
		pod   = "5a4b3c2d-1e0f-4a5b-8c6d-7e8f9a0b1c2d"
		other = "0d9e8f7a-1b2c-4d3e-9f40-a1b2c3d4e5f6"
	)
	volume := func(uid, driver, handle string) facts.VolumeData {
		return facts.VolumeData{Path: root + "/pods/" + uid + "/volumes/kubernetes.io~csi/pvc-1/vol_data.json", DriverName: driver, SpecVolID: "pvc-1", VolumeHandle: handle}
	}
	const rbd, handle = "rook-ceph.rbd.csi.ceph.com", "0001-0009-rook-ceph-0000000000000002-" + uuid
	ours := volume(pod, rbd, handle)
	for _, c := range []struct {
		name, image string
		data        []facts.VolumeData
		pod         string
		found       bool
	}{
		{"one pod", "kube/csi-vol-" + uuid, []facts.VolumeData{volume(other, rbd, "0001-x-"+other), ours}, pod, true},
		{"in a namespace of the pool", "kube/ns/csi-vol-" + uuid, []facts.VolumeData{ours}, pod, true},
		{"two pods", "kube/csi-vol-" + uuid, []facts.VolumeData{ours, volume(other, rbd, handle)}, "", true},
		{"another driver", "kube/csi-vol-" + uuid, []facts.VolumeData{volume(pod, "cephfs.csi.ceph.com", handle)}, "", false},
		{"another image", "kube/csi-vol-" + other, []facts.VolumeData{ours}, "", false},
		{"no UUID", "kube/vol", []facts.VolumeData{volume(pod, rbd, "vol")}, "", false},
		{"nothing read", "kube/csi-vol-" + uuid, nil, "", false},
	} {
		ref, ok := VolumeOfImage(c.image, c.data, []string{"/opt/kubelet", root})
		if ok != c.found || ref.PodUID != c.pod || ok && ref.Name != "pvc-1" {
			t.Errorf("%s: %+v, %v", c.name, ref, ok)
		}
	}
}
