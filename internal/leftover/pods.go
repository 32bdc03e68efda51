package leftover

import (
	"slices"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// podState says whether a pod is gone, and by whose word. A pod is never said
// to be gone while a process runs in its cgroup. Where no container runtime
// answered, that nobody has heard of it is weaker evidence, and said as such.
func (n *node) podState(uid string) (kube.State, string) {
	if uid == "" {
		return kube.StateUnknown, ""
	}
	if slices.Contains(n.scan.LivePods, uid) {
		return kube.StateRunning, "a process runs in the pod's cgroup"
	}
	_, state, known := kube.FindPod(n.snap.Kube, uid)
	sources := n.snap.Kube.PodSources
	switch {
	case state == kube.StateRunning:
		return state, "the container runtime has a ready sandbox of the pod"
	case state == kube.StateDeleted:
		return state, "the container runtime does not know pod " + uid
	case known:
		return kube.StateUnknown, ""
	case slices.Contains(sources, kube.SourceKubelet):
		return kube.StateDeleted, "the kubelet has no pod " + uid + " in its list (/pods)"
	case slices.Contains(sources, kube.SourceCRI) && slices.Contains(sources, kube.SourcePodLogs):
		return kube.StateDeleted, "no pod " + uid + " at the container runtime, which has no pods at all, and no logs of it in /var/log/pods"
	case slices.Contains(sources, kube.SourcePodLogs):
		return kube.StateDeleted, "no logs of pod " + uid + " in /var/log/pods and no process in its cgroup; no container runtime was asked"
	}
	return kube.StateUnknown, ""
}

// volume names the volume of a path.
func (n *node) volume(ref kube.VolumeRef) *correlate.Volume {
	v := &correlate.Volume{
		Plugin: correlate.Text(ref.Plugin), Name: correlate.Text(ref.Name), PV: correlate.Text(ref.PV),
		Driver: correlate.Text(ref.Driver), Handle: correlate.Text(ref.Handle),
	}
	if ref.Kind == kube.SubPath {
		v.SubPath = correlate.Text(ref.Container + "/" + ref.Index)
	}
	if d := n.volumeData(ref); d != nil {
		v.PV, v.Driver, v.Handle = or(d.SpecVolID, v.PV), or(d.DriverName, v.Driver), or(d.VolumeHandle, v.Handle)
	}
	if ref.PodUID != "" {
		v.Pod = n.pod(ref.PodUID)
	}
	return v
}

func or(s string, t correlate.Text) correlate.Text {
	if s != "" {
		return correlate.Text(s)
	}
	return t
}

func (n *node) volumeData(ref kube.VolumeRef) *facts.VolumeData {
	for i := range n.snap.Kube.VolumeData {
		if v := &n.snap.Kube.VolumeData[i]; ref.Describes(*v) {
			return v
		}
	}
	return nil
}

func (n *node) pod(uid string) *correlate.Pod {
	p := &correlate.Pod{UID: correlate.Text(uid), Source: "path"}
	state, _ := n.podState(uid)
	p.State = string(state)
	if known, _, ok := kube.FindPod(n.snap.Kube, uid); ok {
		p.Name, p.Namespace, p.Source = correlate.Text(known.Name), correlate.Text(known.Namespace), known.Source
	}
	return p
}
