// Command bench measures what hangtrace costs, beside what else could be used
// and beside what any program on the same hooks costs at least.
//
// In: the binary, and whatever of strace, perf, bpftrace and ps is installed.
// Out: a table in Markdown on standard output, each bar with the median of what
// was measured and its quartiles, and what had to be left out. It never writes a
// file but the one that --out names, and never leaves a process, a mount or a
// probe behind.
//
// # How it measures
//
// It is a program of its own and no "go test -bench": what is compared are
// processes that attach to others, side by side, and ratios of medians.
//
// The victim is one thread without a runtime (spin.go), pinned to a core, that
// makes so many calls of one kind and tells how long they took: by the clock,
// and of its own CPU time, which does not run while others have the core. What
// a program on a hook costs is CPU time of the caller, and taken from that;
// with strace and perf trace the caller waits, so the clock counts. The rounds
// are short and there are many, so that most pass undisturbed on a busy
// machine. A visit to a tool is: some rounds untraced, some with a pair of
// empty programs on the same hooks (empty.go), the tool's, and both again. The
// ratios are of one visit, whose parts lie within a second; the table has the
// median over the visits. Two of the tools are controls: a process that sleeps,
// alone and with the empty pair in the place of the tool's programs. How far
// from 1 they are is what the method can tell. The tools are visited in an
// order that is shuffled anew in each turn. A visit during which others
// attached or detached programs on system calls is dropped; those who trace
// throughout are told of.
//
// For the snapshot, threads hang on a stopped FUSE daemon. hangtrace report, a
// reader of /proc (procreader.go) and ps run in turn, each as a process from its
// start to its end.
package main
