// Package symbol turns addresses into names: kernel addresses by kallsyms,
// return addresses of Go programs by the table the Go runtime itself unwinds
// with, those of other programs by frame pointers and ELF symbols.
//
// In: the text of /proc/kallsyms and /proc/PID/maps, an io.ReaderAt of a
// binary, registers, and a function that reads the thread's memory. Out: named
// frames, and where a chain ends early, the reason. All of it may be foreign,
// stale or hostile: every input gives frames or an error in bounded time.
//
// It must never open anything itself, never map a file into memory (a page
// fault on a hung mount would stop the whole program), and never guess a
// frame: a chain is right or it is cut.
package symbol
