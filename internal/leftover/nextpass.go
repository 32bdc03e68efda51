package leftover

import (
	"fmt"
	"strings"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// What two kubelets were seen to do with a frozen volume at their clean-up of
// pods that are gone (docs/leftovers.md).
const (
	measuredOld = 17 // v1.17.4
	measuredNew = 34 // v1.34.4
)

// minor reads the minor version of "1.34" or "v1.34.4"; 0 unknown.
func minor(version string) int {
	var major, m int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &m); err != nil || major != 1 {
		return 0
	}
	return m
}

// byVersion says what the kubelet does: for a version that was measured alone,
// else for both, as it is not known where in between it changed.
func (n *node) byVersion(before, after string) string {
	switch m := minor(n.scan.KubeletVersion); {
	case before == after:
		return before
	case m != 0 && m <= measuredOld:
		return before
	case m >= measuredNew:
		return after
	}
	return fmt.Sprintf("as seen with 1.17: %s; with 1.34: %s", before, after)
}

// nextPass says what the clean-up of pods does with a mounted volume.
func (n *node) nextPass(ref kube.VolumeRef, health string) string {
	const (
		hangs = "stats it in the pod clean-up and hangs: no pod on this node starts, stops or is cleaned up"
		asks  = "does not wait for it; the clean-up logs that volumes are still mounted and keeps the directory"
		skips = "does not look at it; the clean-up finds the directory not empty, logs that and keeps it"
	)
	if ref.PodUID == "" {
		return "the pod clean-up does not look at global mounts; unmounting the device will block if the server is silent"
	}
	may := func(s string) string {
		if health == correlate.HealthHung {
			return s
		}
		return asks
	}
	after := ""
	if state, _ := n.podState(ref.PodUID); state != kube.StateDeleted {
		after = "once the pod is deleted, the kubelet "
	}
	switch {
	case ref.Kind == kube.SubPath:
		return after + asks
	case ref.Plugin == "kubernetes.io/csi":
		return after + n.byVersion(may(skips), may(hangs))
	}
	return after + n.byVersion(may(hangs), asks)
}

// nextPassDir says what it does with a directory on which nothing is mounted.
func (n *node) nextPassDir(ref kube.VolumeRef, data bool) string {
	before := "keeps it and logs at every pass that volume paths are still present on disk; nothing hangs"
	if data {
		return n.byVersion(before, "cannot remove it because of vol_data.json and logs that at every pass; nothing hangs")
	}
	return n.byVersion(before, "removes empty directories by itself; one that stays holds files")
}
