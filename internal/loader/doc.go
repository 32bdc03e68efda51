// Package loader puts the BPF programs into the kernel and reads what they say.
//
// In: options and thread group IDs. Out: raw records (package facts), names of
// kernel addresses, drop counts, and what this kernel supports. It is the only
// hand-written importer of cilium/ebpf. It must never know ceph, Kubernetes or
// output forms.
package loader
