// Command cgoprog blocks in C code, and in Go code called from C.
package main

/*
#cgo LDFLAGS: -lpthread
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

extern void goBlock(int);

static void cRead(int fd) { char c; read(fd, &c, 1); }
static void cOuter(int fd) { cRead(fd); }
static void cBack(int fd) { goBlock(fd); }
static void *cThread(void *arg) { goBlock((int)(long)arg); return NULL; }
static void cStart(int fd) {
	pthread_t t;
	pthread_create(&t, NULL, cThread, (void *)(long)fd);
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

var (
	outMu  sync.Mutex
	seated sync.WaitGroup
	names  = map[int]string{}
)

func announce(name string) {
	runtime.LockOSThread()
	outMu.Lock()
	fmt.Printf("thread %s %d\n", name, syscall.Gettid())
	outMu.Unlock()
	seated.Done()
}

//export goBlock
func goBlock(fd C.int) { blockIn(int(fd)) }

//go:noinline
func blockIn(fd int) {
	announce(names[fd])
	var b [1]byte
	syscall.Read(fd, b[:])
}

//go:noinline
func inC(fd int) {
	announce(names[fd])
	C.cOuter(C.int(fd))
}

//go:noinline
func throughC(fd int) { C.cBack(C.int(fd)) }

//go:noinline
func throughCTwice(fd int, n int) {
	if n == 0 {
		throughC(fd)
		return
	}
	throughCTwice(fd, n-1)
}

func seat(name string) int {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		panic(err)
	}
	names[p[0]] = name
	seated.Add(1)
	return p[0]
}

func main() {
	call, back, twice, thread := seat("cgoCall"), seat("cgoBack"), seat("cgoTwice"), seat("cgoThread")
	go inC(call)
	go throughC(back)
	go throughCTwice(twice, 3)
	C.cStart(C.int(thread))
	seated.Wait()
	time.Sleep(200 * time.Millisecond)
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	fmt.Printf("dump\n%s\nready\n", buf[:n])
	os.Stdin.Read(buf)
}
