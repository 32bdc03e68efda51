package main

// straceMissing are strace's options that are not here, with the reason.
var straceMissing = map[string]string{
	"E": "no command is started", "env": "no command is started", "u": "no command is started", "user": "no command is started",
	"b": "nothing is attached that could be let go", "detach-on": "nothing is attached that could be let go",
	"D": "the tracer runs in the foreground", "daemonize": "the tracer runs in the foreground",
	"I": "Ctrl-C always ends at once", "interruptible": "Ctrl-C always ends at once",
	"O": "there is no overhead of ptrace to subtract", "summary-syscall-overhead": "there is no overhead of ptrace to subtract",
	"x": "strings print as without it", "strings-in-hex": "strings print as without it", "X": "constants print as names", "const-print-style": "constants print as names",
	"i": "the instruction pointer is not shown", "instruction-pointer": "the instruction pointer is not shown",
	"n": "numbers of calls are not shown", "syscall-number": "numbers of calls are not shown",
	"A": "a file is written anew", "output-append-mode": "a file is written anew", "d": "there is no debugging output", "debug": "there is no debugging output",
	"V": "hangtrace version tells the version", "version": "hangtrace version tells the version",
	"seccomp-bpf": "calls that are not traced cost next to nothing", "Y": "names of processes are not shown", "decode-pids": "names of processes are not shown",
	"inject": "no call is changed", "fault": "no call is changed",
	"abbrev": "-v shows everything", "verbose": "structures are always decoded", "raw": "arguments are always decoded",
	"read": "data is shown up to -s", "write": "data is shown up to -s", "kvm": "exits of virtual CPUs are not shown", "tips": "there are no tips",
}
