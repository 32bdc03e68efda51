package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// alone runs a scene that stops the whole program, or cannot be dumped by it:
// the dump is taken in the same line right before.
func alone(scene string) {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	switch scene {
	case "systemstack":
		onSystemStack(0)
	case "fault":
		faulting(faultyPage())
	case "vfork":
		vforking(faultyPage())
	case "signal":
		signalled(newSeat("signal").fd)
	default:
		panic(scene)
	}
}

// snap prints where it was called from, and returns 0.
//
//go:noinline
func snap() int {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, false)
	fmt.Printf("thread alone %d\ndump\n%s\nready\n", syscall.Gettid(), buf[:n])
	return 0
}

// onSystemStack blocks in write(2) on the system stack: a heap dump into a pipe
// that nobody reads.
//
//go:noinline
func onSystemStack(n int) {
	var p [2]int
	if err := syscall.Pipe2(p[:], 0); err != nil {
		panic(err)
	}
	debug.WriteHeapDump(uintptr(p[1] + snap()))
}

// faultyPage gives memory whose faults nobody answers (userfaultfd(2)).
func faultyPage() []byte {
	const api, ioctlAPI, ioctlRegister = 0xaa, 0xc018aa3f, 0xc020aa00
	nr := uintptr(323)
	if runtime.GOARCH == "arm64" {
		nr = 282
	}
	fd, _, errno := syscall.RawSyscall(nr, syscall.O_CLOEXEC, 0, 0)
	if errno != 0 {
		fmt.Println("skip userfaultfd:", errno)
		os.Exit(0)
	}
	page, err := syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	hello := [3]uint64{api}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_IOCTL, fd, ioctlAPI, uintptr(unsafe.Pointer(&hello))); errno != 0 {
		fmt.Println("skip userfaultfd:", errno)
		os.Exit(0)
	}
	reg := [4]uint64{uint64(uintptr(unsafe.Pointer(&page[0]))), 1 << 16, 1}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_IOCTL, fd, ioctlRegister, uintptr(unsafe.Pointer(&reg))); errno != 0 {
		fmt.Println("skip userfaultfd:", errno)
		os.Exit(0)
	}
	return page
}

//go:noinline
func faulting(page []byte) byte {
	return touch(page, 100, 1)
}

//go:noinline
func touch(page []byte, n, m int) byte {
	return page[n+m+snap()]
}

// signalled blocks in read(2); the test sends it SIGQUIT, whose report goes to
// a standard error that is full.
//
//go:noinline
func signalled(fd int) {
	var b [1]byte
	syscall.Read(fd+snap(), b[:])
}

// vforking blocks until its child has run another program, which never comes:
// the child waits in setgroups(2) for memory that never comes.
//
//go:noinline
func vforking(page []byte) {
	groups := (*[4]uint32)(unsafe.Pointer(&page[0]))[:]
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: groups}}}
	_, err := syscall.ForkExec("/bin/true", []string{"true"}, attrOf(attr, snap()))
	fmt.Println("forked", err)
}

func attrOf(a *syscall.ProcAttr, _ int) *syscall.ProcAttr { return a }
