// Package correlate judges: events and facts in, hangs out.
//
// In: the samples of one or more passes (package events) and the facts read of
// the node (package facts). Out: Report and Event values that say what is hung,
// since when, on which mount of which pod's volume. It is pure: the clock is
// part of the facts. It must never open a file, call time.Now, or import
// loader or bpf.
package correlate
