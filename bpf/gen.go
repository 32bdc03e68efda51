// Package bpf holds the BPF programs in C, their compiled objects for amd64 and
// arm64, and the Go bindings that bpf2go made of them.
//
// In: the C sources and the wire types of hangtrace.h. Out: embedded objects
// for package loader. It must never import anything of ours.
package bpf

//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include" Snapshot snapshot.bpf.c
//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include" -type seed Trace trace.bpf.c
//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include" Walk walk.bpf.c
//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I/usr/include" -type call_row -type strace_count -type strace_slot -type sleep Strace strace.bpf.c
