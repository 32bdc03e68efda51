// Package kube reads the traces Kubernetes leaves on a node: the grammar of the
// kubelet's directory, vol_data.json, pod log names, cgroup names, the process
// names and flags of kubelets, and the container runtime's list of pods.
//
// In: paths, file contents and command lines that others read; the path of a
// CRI socket. Out: which volume and pod they speak of. It is pure but for
// ListPods, which dials a unix socket and never waits longer than its context.
// It must never open a file or touch a path it parses: a volume's path may hang
// whoever touches it.
package kube
