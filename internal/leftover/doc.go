// Package leftover finds what was left behind on a node: mounts and pod
// directories of pods that are gone, file systems that no mount table shows,
// unmounts that never end, daemons that died under their mounts.
//
// In: a facts.Snapshot with its Scan, and the hangs that package correlate
// found in it. Out: a correlate.Scan, and before that the Questions that the
// capture must still answer. It is pure: it never reads anything, and never
// runs a remedy. It is a package of its own because it judges things and not
// threads: correlate asks what a thread waits for, this one what exists that
// should not, with or without anybody blocked on it.
package leftover
