package kube

import (
	"path"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// The value of facts.Pod.Source for each source of pods.
const (
	SourceCRI     = "cri"
	SourcePodLogs = "pod-logs"
	SourceKubelet = "kubelet"
)

// ParsePodLogDir reads the name of a directory in /var/log/pods:
// NAMESPACE_NAME_UID (since Kubernetes 1.14; before, the UID alone, which names
// nobody). Namespaces and names are DNS labels and have no underscore. The
// directory stays a while after the pod is deleted, so it tells no state.
func ParsePodLogDir(name string) (facts.Pod, bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !isPodUID(parts[2]) {
		return facts.Pod{}, false
	}
	return facts.Pod{Namespace: parts[0], Name: parts[1], UID: parts[2], Source: SourcePodLogs}, true
}

// ParseContainerLogLink reads a link in /var/log/containers: its name is
// PODNAME_NAMESPACE_CONTAINER-CONTAINERID.log, its target a file in
// /var/log/pods/NAMESPACE_NAME_UID/CONTAINER/, which alone has the UID.
func ParseContainerLogLink(name, target string) (facts.Pod, bool) {
	stem, ok := strings.CutSuffix(path.Base(name), ".log")
	parts := strings.Split(stem, "_")
	if !ok || len(parts) != 3 {
		return facts.Pod{}, false
	}
	dash := strings.LastIndexByte(parts[2], '-')
	if dash <= 0 || !isHex(parts[2][dash+1:], 64) {
		return facts.Pod{}, false
	}
	pod, ok := ParsePodLogDir(path.Base(path.Dir(path.Dir(target))))
	if !ok || pod.Name != parts[0] || pod.Namespace != parts[1] {
		return facts.Pod{}, false
	}
	pod.Containers = map[string]string{parts[2][dash+1:]: parts[2][:dash]}
	return pod, true
}
