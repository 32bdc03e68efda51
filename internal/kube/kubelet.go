package kube

import (
	"path"
	"strings"
)

// microk8sRoot is the root directory of MicroK8s' kubelet, which its arguments
// file names, not its command line.
const microk8sRoot = "/var/snap/microk8s/common/var/lib/kubelet"

// IsKubelet tells from a process's name (comm, cut at 15 bytes) and executable
// whether it runs a kubelet. The label says so in words where the name does
// not. RKE2 and k0s are not here: they start a kubelet as a process of its own.
func IsKubelet(comm, exe string) (label string, ok bool) {
	base := path.Base(strings.TrimSuffix(exe, " (deleted)"))
	switch {
	case comm == "kubelet":
		return "kubelet", true
	case comm == "k3s-server" || comm == "k3s-agent":
		return "k3s runs the kubelet", true
	case comm == "k3s" && (base == "k3s" || exe == ""):
		// Before it has named itself, or started under its own name.
		return "k3s runs the kubelet", true
	case comm == "kubelite":
		return "kubelite (MicroK8s) runs the kubelet", true
	case comm == "hyperkube":
		return "hyperkube may run the kubelet", true
	}
	// A kubelet that was renamed keeps its executable; a k3s executable alone
	// proves nothing, kubectl and crictl are the same file.
	switch base {
	case "kubelet":
		return comm + " runs the kubelet's executable", true
	case "kubelite":
		return "kubelite (MicroK8s) runs the kubelet", true
	}
	return "", false
}

// KubeletRoot finds the kubelet's root directory in a command line. The source
// is the flag that names it, or "default". No configuration file has it: the
// kubelet takes it from --root-dir only. k3s passes --kubelet-arg on; its
// --data-dir does not move the kubelet (since 0.10). A relative root is given
// as it stands: it is relative to the kubelet's working directory.
func KubeletRoot(args []string) (root, source string) {
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			continue
		}
		name = strings.TrimLeft(name, "-")
		if !hasValue && i+1 < len(args) && (name == "root-dir" || name == "kubelet-root-dir" || name == "kubelet-arg") {
			value = args[i+1]
			i++
		}
		switch name {
		case "root-dir", "kubelet-root-dir": // the second is k0s's
			root, source = value, "--"+name
		case "kubelet-arg":
			inner, innerValue, ok := strings.Cut(strings.TrimLeft(value, "-"), "=")
			if ok && inner == "root-dir" {
				root, source = innerValue, "--kubelet-arg"
			}
		}
	}
	if root != "" {
		return path.Clean(root), source // of a flag given twice, the last
	}
	if len(args) > 0 && path.Base(args[0]) == "kubelite" {
		return microk8sRoot, "default of MicroK8s"
	}
	return DefaultRoot, "default"
}
