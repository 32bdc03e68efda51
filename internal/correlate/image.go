package correlate

import (
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// imageVolume names the volume in an rbd image of which no path tells: its file
// system was unmounted lazily.
func (w *world) imageVolume(image string) *Volume {
	if image == "" || w.kube == nil {
		return nil
	}
	ref, ok := kube.VolumeOfImage(image, w.kube.VolumeData, w.kube.RootDirs)
	if !ok {
		return nil
	}
	return w.volumeOf(ref)
}

// NamelessImage tells whether a thread hangs on an rbd image whose volume only a
// look at every volume's vol_data.json can name.
func NamelessImage(snap *facts.Snapshot, opts Options) bool {
	if !slices.ContainsFunc(snap.Blocks, func(b facts.BlockDevice) bool { return b.Driver == "rbd" && !inTable(snap, b.Device) }) {
		return false // as nearly always: it saves the look at every thread
	}
	w, err := newWorld(snap, opts)
	if err != nil {
		return false
	}
	for i := range w.last {
		t := &w.last[i]
		if !w.still(t) || !w.suspicious(t) {
			continue
		}
		v := w.view(t)
		if pl, ok := w.bestPlace(t, v, w.reason(t, v)); ok && pl.mount != nil && pl.mount.Image != "" && w.volume(t, &pl) == nil {
			return true
		}
	}
	return false
}

// inTable tells whether a mount table of now has a device.
func inTable(snap *facts.Snapshot, device string) bool {
	return slices.ContainsFunc(snap.Mounts, func(t facts.MountTable) bool {
		return !t.Earlier && strings.Contains(t.Text, " "+device+" ")
	})
}
