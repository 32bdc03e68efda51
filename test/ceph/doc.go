// Package ceph is the end-to-end test with real kernel cephfs and rbd clients.
//
// In: bin/hangtrace, a throw-away Ceph cluster (cephlab.sh) and a guest in QEMU
// (vm.sh). Out: for every operation of the table, whether the kernel shows it
// blocked as intended, and whether report and live name it with its path, pod
// and volume. It must never mount anything on the host, and never leave a
// daemon, a guest or a network namespace behind.
package ceph
