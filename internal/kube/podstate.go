package kube

import (
	"slices"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// State is what can be said of a pod.
type State string

// The states.
const (
	StateRunning State = "running" // it has a ready sandbox
	// StateDeleted: a runtime that runs this node's pods does not have it. Its
	// directory may still be there, as the kubelet cannot remove a volume that
	// hangs.
	StateDeleted State = "deleted"
	StateUnknown State = "unknown"
)

// FindPod gives the pod with a UID and its state. The pod may come from a
// source that names it but knows no state; ok is false where no source has it.
//
// Deleted is said only if a CRI source answered, has pods, and this is none of
// them: a runtime without any pod is likely not the one the kubelet uses (a
// containerd beside cri-dockerd), and its silence proves nothing. A pod whose
// sandboxes have all stopped is unknown: ended or about to restart. So is one
// that the kubelet has and the runtime has not: it may wait for its volumes.
func FindPod(k *facts.Kube, uid string) (pod facts.Pod, state State, ok bool) {
	if k == nil || uid == "" {
		return facts.Pod{}, StateUnknown, false
	}
	state = StateUnknown
	criHasPods := false
	for _, p := range k.Pods {
		fromCRI := p.Source == SourceCRI
		criHasPods = criHasPods || fromCRI
		if p.UID != uid {
			continue
		}
		switch {
		case !ok, fromCRI && (pod.Source != SourceCRI || p.State == string(StateRunning)),
			p.Source == SourceKubelet && pod.Source == SourcePodLogs: // logs outlive their pod
			pod, ok = p, true
		}
	}
	switch {
	case pod.Source == SourceCRI:
		if pod.State == string(StateRunning) {
			state = StateRunning
		}
	case pod.Source == SourceKubelet:
		// It waits for its volumes, or to be started: no sandbox yet.
	case criHasPods && slices.Contains(k.PodSources, SourceCRI):
		state = StateDeleted
	}
	return pod, state, ok
}
