package correlate

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// volumeData gives the vol_data.json that describes a volume; nil if none was
// read.
func (w *world) volumeData(ref kube.VolumeRef) *facts.VolumeData {
	if w.kube == nil {
		return nil
	}
	for i := range w.kube.VolumeData {
		if v := &w.kube.VolumeData[i]; v.Err == "" && ref.Describes(*v) {
			return v
		}
	}
	return nil
}

// cephPlugin tells whether a volume's plugin or CSI driver is one of ceph's.
func cephPlugin(ref kube.VolumeRef, data *facts.VolumeData) bool {
	driver := ref.Driver
	if data != nil && data.DriverName != "" {
		driver = data.DriverName
	}
	return strings.HasSuffix(driver, "cephfs.csi.ceph.com") || ref.Plugin == "kubernetes.io/cephfs"
}

// volume names the Kubernetes volume behind a place: by the path itself, by the
// mount's point, or by another mount of the same superblock, as a container
// sees its volume under another path than the kubelet.
func (w *world) volume(t *events.Task, pl *place) *Volume {
	if ref, ok := w.volumeRef(string(pl.path.Value)); ok && ref.Name != "" {
		return w.volumeOf(ref)
	}
	if pl.mount == nil {
		return nil
	}
	if ref, ok := w.volumeRef(string(pl.mount.Point)); ok && ref.Name != "" {
		return w.volumeOf(ref)
	}
	if ref, ok := w.sharedVolume(t, pl); ok {
		return w.volumeOf(ref)
	}
	if ref, ok := w.volumeRef(string(pl.path.Value)); ok && ref.PodUID != "" {
		return w.volumeOf(ref)
	}
	return w.imageVolume(pl.mount.Image)
}

// sharedVolume looks through the mounts of the same superblock in every
// namespace. A superblock may serve several pods: the one of the thread's own
// container wins; without that, only a single candidate is a proof.
func (w *world) sharedVolume(t *events.Task, pl *place) (kube.VolumeRef, bool) {
	if pl.mount.Device == "" {
		return kube.VolumeRef{}, false
	}
	_, own := w.container(t.PID)
	var only kube.VolumeRef
	pods := make(map[string]bool)
	for _, ns := range w.history.Namespaces() {
		for _, m := range w.history.Current(ns).ByDevice(string(pl.mount.Device)) {
			ref, ok := w.volumeRef(m.Point)
			if !ok || ref.Name == "" && ref.Handle == "" && ref.HandleSHA256 == "" {
				continue
			}
			if own != "" && ref.PodUID == own {
				return ref, true
			}
			if only.PodUID == "" || ref.PodUID != "" {
				only = ref
			}
			if ref.PodUID != "" {
				pods[ref.PodUID] = true
			}
		}
	}
	if len(pods) > 1 { // which pod's is unknown, the volume is not
		only.PodUID = ""
	}
	return only, only.Root != ""
}

// shareVolumes names the volumes of detached mounts that no table and no path
// names any more by another hang on the same superblock whose path does, if all
// such hangs agree.
func shareVolumes(hangs []*Hang) {
	named := make(map[Text]*Hang)
	for _, h := range hangs {
		if h.Mount == nil || h.Mount.Device == "" || h.Volume == nil {
			continue
		}
		d := h.Mount.Device
		if other, ok := named[d]; ok && (other == nil || other.Volume.Name != h.Volume.Name || other.Mount.Kind != h.Mount.Kind) {
			named[d] = nil
		} else if !ok {
			named[d] = h
		}
	}
	for _, h := range hangs {
		if h.Mount == nil || h.Volume != nil || h.Mount.Attached == nil || *h.Mount.Attached {
			continue
		}
		if same := named[h.Mount.Device]; same != nil {
			own := *h.Mount // shared with others
			own.Kind = same.Mount.Kind
			h.Volume, h.Mount = same.Volume, &own
		}
	}
}

func (w *world) container(pid int) (id, podUID string) {
	p := w.procs[pid]
	if p == nil {
		return "", ""
	}
	return w.parseCgroup(p.Cgroup)
}

// cgroup is what a process's cgroup tells.
type cgroup struct{ containerID, podUID string }

// parseCgroup parses each text once: threads of one process share theirs.
func (w *world) parseCgroup(text string) (id, podUID string) {
	c, ok := w.cgroups[text]
	if !ok {
		c.containerID, c.podUID = kube.ParseCgroup(text)
		w.cgroups[text] = c
	}
	return c.containerID, c.podUID
}

// volumeOf describes a volume; all that lies in it share one Volume.
func (w *world) volumeOf(ref kube.VolumeRef) *Volume {
	ref.Rest = ""
	v := w.volumes[ref]
	if v != nil {
		return v
	}
	v = &Volume{Plugin: Text(ref.Plugin), Name: Text(ref.Name), PV: Text(ref.PV), Driver: Text(ref.Driver), Handle: Text(ref.Handle)}
	if ref.Kind == kube.SubPath {
		v.SubPath = Text(ref.Container + "/" + ref.Index)
	}
	if data := w.volumeData(ref); data != nil {
		v.PV, v.Driver, v.Handle = or(data.SpecVolID, v.PV), or(data.DriverName, v.Driver), or(data.VolumeHandle, v.Handle)
	}
	if ref.PodUID != "" {
		v.Pod = w.pod(ref.PodUID)
	}
	w.volumes[ref] = v
	return v
}

func or(s string, t Text) Text {
	if s != "" {
		return Text(s)
	}
	return t
}

func (w *world) pod(uid string) *Pod {
	p := &Pod{UID: Text(uid), State: string(kube.StateUnknown), Source: "path"}
	known, state, ok := kube.FindPod(w.kube, uid)
	p.State = string(state)
	if ok {
		p.Name, p.Namespace, p.Source = Text(known.Name), Text(known.Namespace), known.Source
	}
	return p
}
