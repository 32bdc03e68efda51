// Package mounts tells which mount a path lies on and which kind of file
// system that is.
//
// In: the text of /proc/PID/mountinfo and the block devices of sysfs, both read
// by others. Out: a Table that finds the mount of a path as the kernel's path
// walk would, and a History that still knows a volume after it was unmounted
// under a blocked call. It is pure: it never opens, stats or resolves a path,
// because the path it is asked about may hang whoever touches it. Secrets in
// mount options are dropped while parsing, so that no Mount ever holds one.
package mounts
