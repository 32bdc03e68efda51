package testkit

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// envRequireBPF makes a skip for want of rights a failure.
const envRequireBPF = "HANGTRACE_REQUIRE_BPF"

// NeedRoot skips the test unless it runs as root. Under
// HANGTRACE_REQUIRE_BPF=1 it fails the test instead.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

// NeedBPF skips the test unless it may create BPF maps and load programs of
// every type. Under HANGTRACE_REQUIRE_BPF=1 it fails the test instead.
func NeedBPF(t testing.TB) {
	t.Helper()
	NeedRoot(t)
	if err := probeBPF(); err != nil {
		skip(t, "needs BPF: "+err.Error())
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(envRequireBPF) == "1" {
		t.Fatalf("%s, and %s=1 forbids leaving the test out", why, envRequireBPF)
	}
	t.Skip(why)
}

// probeBPF creates a ring buffer: that needs CAP_BPF and Linux 5.8, as the
// tool's programs do. Before 5.11 it counts as locked memory, as do the maps of
// a tool that has just ended until the kernel gets round to freeing them.
func probeBPF() error {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	// For the probe alone: the tool is to raise its limit itself. Where it must
	// not be raised it is not needed.
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) == nil {
		defer func() { _ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was) }()
	}
	return createRing()
}

func createRing() error {
	const (
		mapCreate   = 0
		typeRingbuf = 27
	)
	attr := struct {
		mapType, keySize, valueSize, maxEntries, flags uint32
		_                                              [13]uint32
	}{mapType: typeRingbuf, maxEntries: uint32(os.Getpagesize())}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, mapCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return os.NewSyscallError("bpf", errno)
	}
	return unix.Close(int(fd))
}
