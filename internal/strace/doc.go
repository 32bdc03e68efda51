// Package strace shows system calls in strace's lines.
//
// In: the tracer's records (events.Strace) in the order of the ring, and the
// threads that were inside a call before it. Out: lines, tables of counts, and
// what was lost, in place. The order of each thread's calls is kept. It must
// never judge what a call means, and never read /proc itself: paths of
// descriptors come from a function that the caller gives.
package strace
