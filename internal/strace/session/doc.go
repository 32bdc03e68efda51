// Package session runs hangtrace strace: it drives the tracer's programs, the
// snapshot of what was in flight before them, and the lines of package strace.
//
// In: targets and strace's choices. Out: lines to a writer, and a count of what
// hung. It must never judge, and never wait for a target.
package session
