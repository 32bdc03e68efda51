package kube

import (
	"regexp"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// uuidLength is that of a UUID in text, uuidAtEnd one at the end of a name.
const uuidLength = 36

var uuidAtEnd = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// holdsImage tells whether a CSI volume is that in an rbd image ("kube/csi-vol-
// UUID"): ceph-csi ends the image's name and the volume's handle with the same
// UUID, whatever prefix and cluster they begin with.
func holdsImage(v facts.VolumeData, image string) bool {
	name := image[strings.LastIndexByte(image, '/')+1:]
	return strings.HasSuffix(v.DriverName, "rbd.csi.ceph.com") && uuidAtEnd.MatchString(name) && uuidAtEnd.MatchString(v.VolumeHandle) &&
		name[len(name)-uuidLength:] == v.VolumeHandle[len(v.VolumeHandle)-uuidLength:]
}

// VolumeOfImage finds the volume in an rbd image that no mount table shows any
// more, by the vol_data.json files that were left. If several pods have it, the
// volume is named and no pod.
func VolumeOfImage(image string, data []facts.VolumeData, roots []string) (found VolumeRef, ok bool) {
	pods := make(map[string]bool)
	for _, v := range data {
		if v.Err != "" || !holdsImage(v, image) {
			continue
		}
		for _, root := range roots {
			ref, inside := ParsePath(root, v.Path)
			if !inside || !ref.Describes(v) {
				continue
			}
			if !ok || found.PodUID == "" {
				found, ok = ref, true
			}
			if ref.PodUID != "" {
				pods[ref.PodUID] = true
			}
			break
		}
	}
	if len(pods) > 1 {
		found.PodUID = ""
	}
	found.Rest = ""
	return found, ok
}
