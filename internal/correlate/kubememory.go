package correlate

import (
	"slices"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// volumesMost bounds what is remembered of volumes.
const volumesMost = 1024

// kubeWith is what is known of pods and volumes at a look: what it read, and of
// other volumes what earlier ones did. A look at which nothing hangs reads
// nothing, and a call may hang and return before the next.
func (m *Memory) kubeWith(k *facts.Kube) *facts.Kube {
	switch {
	case m == nil || m.kube == nil:
		return k
	case k == nil:
		return m.kube
	}
	all := *k
	all.VolumeData = slices.Clip(k.VolumeData)
	known := make(map[string]bool, len(k.VolumeData))
	for _, v := range k.VolumeData {
		known[v.Path] = true
	}
	for _, v := range m.kube.VolumeData {
		if !known[v.Path] && len(all.VolumeData) < volumesMost {
			all.VolumeData = append(all.VolumeData, v)
		}
	}
	return &all
}
