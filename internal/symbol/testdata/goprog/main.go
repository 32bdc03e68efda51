// Command goprog blocks threads in known places and prints its own goroutine
// dump, for tests that unwind it from outside. It must build with Go 1.13.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// seat is where one thread blocks: in read(2) on a pipe that stays empty.
type seat struct {
	name string
	fd   int
}

var (
	seated sync.WaitGroup
	outMu  sync.Mutex
	keep   [][2]int
)

//go:noinline
func (s *seat) block() {
	runtime.LockOSThread()
	outMu.Lock()
	fmt.Printf("thread %s %d\n", s.name, syscall.Gettid())
	outMu.Unlock()
	seated.Done()
	var b [1]byte
	syscall.Read(s.fd, b[:])
}

func plain(s *seat) { plainer(s, 1, "two") }

//go:noinline
func plainer(s *seat, n int, t string) int {
	s.block()
	return n + len(t)
}

// inlineOuter to inlineInner vanish into inlined.
func inlineInner(s *seat, n int) int {
	if n > 3 {
		return n
	}
	s.block()
	return n + 1
}
func inlineMiddle(s *seat, n int) int { return inlineInner(s, n) + 1 }
func inlineOuter(s *seat, n int) int  { return inlineMiddle(s, n) + 1 }

//go:noinline
func inlined(s *seat) {
	n := inlineOuter(s, 1)
	fmt.Fprintln(os.Stderr, n)
}

// sitter is called through the wrapper that promotes chair's method.
type sitter interface{ sit() }
type chair struct{ s *seat }
type armchair struct {
	pad int
	chair
}

//go:noinline
func (c chair) sit() { c.s.block() }

//go:noinline
func callSitter(s sitter) { s.sit() }

func wrapper(s *seat)     { callSitter(&armchair{chair: chair{s}}) }
func methodValue(s *seat) { call(chair{s}.sit) }

//go:noinline
func call(f func()) { f() }

func closure(s *seat) {
	n := 0
	call(func() { n++; call(func() { s.block(); n++ }) })
}

func deferred(s *seat) {
	defer fmt.Fprintln(os.Stderr, "first")
	defer func() { s.block() }()
	fmt.Fprintln(os.Stderr, "body")
}

// loopDefer makes defers that are not open-coded.
func loopDefer(s *seat) {
	for i := 0; i < 2; i++ {
		i := i
		defer func() {
			if i == 0 {
				s.block()
			}
		}()
	}
}

func panicking(s *seat) {
	defer func() { recover(); fmt.Fprintln(os.Stderr, "recovered") }()
	defer func() { s.block() }()
	thrower(s.name)
}

//go:noinline
func thrower(name string) { panic(name) }

func nilDeref(s *seat) {
	defer func() { recover() }()
	defer func() { s.block() }()
	var none *seat
	fmt.Fprintln(os.Stderr, derefer(none))
}

//go:noinline
func derefer(s *seat) int { return s.fd }

//go:noinline
func deep(s *seat, n int) int {
	if n == 0 {
		s.block()
		return 0
	}
	return deep(s, n-1) + 1
}

// shallow blocks near the bottom of a stack that grew and may shrink.
func shallow(s *seat) {
	bigFrames(nil, 2000)
	s.block()
}

//go:noinline
func bigFrames(s *seat, n int) byte {
	var pad [2048]byte
	pad[n%2048] = byte(n)
	if n > 0 {
		return bigFrames(s, n-1) + pad[(n*7)%2048]
	}
	if s != nil {
		s.block()
	}
	return pad[1]
}

func reflected(s *seat) {
	reflect.ValueOf(plainer).Call([]reflect.Value{reflect.ValueOf(s), reflect.ValueOf(1), reflect.ValueOf("x")})
}

func madeFunc(s *seat) {
	f := reflect.MakeFunc(reflect.TypeOf(func() {}), func([]reflect.Value) []reflect.Value { s.block(); return nil })
	f.Interface().(func())()
}

func locked(s *seat) {
	runtime.LockOSThread()
	s.block()
}

func openFIFO(s *seat) {
	path := fmt.Sprintf("%s/fifo.%d", os.TempDir(), os.Getpid())
	if err := syscall.Mkfifo(path, 0600); err != nil {
		panic(err)
	}
	runtime.LockOSThread()
	outMu.Lock()
	fmt.Printf("thread %s %d\n", s.name, syscall.Gettid())
	outMu.Unlock()
	seated.Done()
	os.Open(path)
}

var scenes = map[string]func(*seat){
	"plain": plain, "inlined": inlined, "wrapper": wrapper, "methodValue": methodValue, "closure": closure,
	"deferred": deferred, "loopDefer": loopDefer, "panicking": panicking, "nilDeref": nilDeref,
	"deep": func(s *seat) { deep(s, 300) }, "deeper": func(s *seat) { deep(s, 3000) },
	"shallow": shallow, "bigFrames": func(s *seat) { bigFrames(s, 40) },
	"reflected": reflected, "madeFunc": madeFunc, "locked": locked, "openFIFO": openFIFO,
}

func newSeat(name string) *seat {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		panic(err)
	}
	keep = append(keep, p)
	return &seat{name, p[0]}
}

func finalized(s *seat) {
	x := &struct{ a, b *int }{new(int), new(int)}
	runtime.SetFinalizer(x, func(interface{}) { s.block() })
}

func park() {
	var mu sync.Mutex
	mu.Lock()
	c := make(chan int)
	go func() { <-c }()
	go func() {
		select {
		case <-make(chan int):
		case <-make(chan string):
		}
	}()
	go func() { mu.Lock() }()
	go func() { time.Sleep(time.Hour) }()
	runtime.Gosched()
}

func main() {
	if len(os.Args) > 1 {
		alone(os.Args[1])
		return
	}
	for name, f := range scenes {
		seated.Add(1)
		go f(newSeat(name))
	}
	timer := newSeat("timer")
	seated.Add(2)
	time.AfterFunc(1, func() { timer.block() })
	finalized(newSeat("finalizer"))
	park()
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	seated.Wait()
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	time.Sleep(200 * time.Millisecond)
	debug.SetGCPercent(-1)
	buf := make([]byte, 4<<20)
	n := runtime.Stack(buf, true)
	fmt.Printf("dump\n%s\nready\n", buf[:n])
	os.Stdin.Read(buf)
	runtime.KeepAlive(keep)
}
