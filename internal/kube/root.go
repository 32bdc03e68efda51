package kube

import (
	"path"
	"slices"
	"strings"
)

// RootOf finds the kubelet's root directory in the path of a pod's volume or
// of a CSI volume's global mount, for paths as a container sees them and for
// kubelets whose flags could not be read.
func RootOf(name string) (string, bool) {
	if !path.IsAbs(name) {
		return "", false
	}
	segs := strings.Split(path.Clean(name)[1:], "/")
	for i := range segs {
		if podPlace(segs[i:]) || pluginPlace(segs[i:]) {
			return "/" + path.Join(segs[:i]...), true
		}
	}
	return "", false
}

// podPlace tells whether segs is pods/UID/{volumes,...}/...
func podPlace(segs []string) bool {
	return len(segs) > 3 && segs[0] == "pods" && isPodUID(segs[1]) &&
		slices.Contains([]string{"volumes", "volumeDevices", "volume-subpaths"}, segs[2])
}

// pluginPlace tells whether segs is plugins/kubernetes.io/PLUGIN/...
func pluginPlace(segs []string) bool {
	return len(segs) > 3 && segs[0] == "plugins" && segs[1] == "kubernetes.io"
}

// RootsOf finds the kubelet root directories in force from a node's mount
// points, each once, in order. Unlike the kubelet's command line, a mount table
// can always be read.
func RootsOf(points []string) []string {
	var roots []string
	for _, p := range points {
		if root, ok := RootOf(p); ok && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	slices.Sort(roots)
	return roots
}
