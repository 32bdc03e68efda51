// Package capture looks at the node: it runs the passes over the threads in the
// order that is safe, and then reads what the threads in question need.
//
// In: the target processes and a capture backend. Out: a facts.Snapshot, whole
// even when a step failed or ran out of time: what was not read is named in it.
// It orders the gatherers (loader, proc, expendable, storage, kube) and must
// never judge what hangs: package correlate says which threads are worth
// reading more about, and what.
package capture
