package expendable

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The operations that only the tests' child knows.
const (
	opHang  Op = "test-hang"  // opens Path, a FIFO, and never comes back
	opExit  Op = "test-exit"  // ends the child
	opPanic Op = "test-panic" // panics in the handler
	opCrash Op = "test-crash" // panics elsewhere
	opSelf  Op = "test-self"  // describes the child
	opJunk  Op = "test-junk"  // answers a request that was not asked
	opWork  Op = "test-work"  // computes for Len ms
	opLate  Op = "test-late"  // says more after its answer, as soon as the FIFO at Path is opened
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		os.Exit(Main(os.Stdin, os.Stdout, testOps()))
	}
	if len(os.Args) > 1 && os.Args[1] == wordServe {
		panic(serveAlone())
	}
	os.Exit(m.Run())
}

type self struct {
	PID       int
	Comm, Cwd string
	Env       []string
	FDs       []int // without close-on-exec
	Session   int
	Deathsig  int
}

func testOps() map[Op]Handler {
	return map[Op]Handler{
		opHang: func(req Request, emit func(Answer)) (Answer, error) {
			if req.Len > 0 {
				emit(Answer{Data: make([]byte, req.Len)})
			}
			_, err := syscall.Open(string(req.Path), syscall.O_RDONLY, 0)
			return Answer{}, err
		},
		opWork: func(req Request, _ func(Answer)) (Answer, error) {
			for begin := time.Now(); time.Since(begin) < time.Duration(req.Len)*time.Millisecond; {
			}
			return Answer{}, nil
		},
		opExit:  func(Request, func(Answer)) (Answer, error) { os.Exit(3); return Answer{}, nil },
		opPanic: func(Request, func(Answer)) (Answer, error) { panic("the handler") },
		opCrash: func(Request, func(Answer)) (Answer, error) {
			go panic("another goroutine")
			select {}
		},
		opJunk: func(_ Request, emit func(Answer)) (Answer, error) {
			os.Stdout.WriteString(`{"index":7}` + "\n")
			select {}
		},
		opLate: func(req Request, emit func(Answer)) (Answer, error) {
			go func() {
				_, _ = os.Open(string(req.Path))
				emit(Answer{Code: 1})
			}()
			return Answer{}, nil
		},
		opSelf: func(Request, func(Answer)) (Answer, error) {
			s := self{PID: os.Getpid(), Env: os.Environ()}
			comm, _ := os.ReadFile("/proc/" + strconv.Itoa(os.Getpid()) + "/comm")
			s.Comm = strings.TrimSpace(string(comm))
			s.Cwd, _ = os.Getwd()
			s.Session, _ = unix.Getsid(0)
			s.Session -= os.Getpid()
			for fd := range 1024 {
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
					s.FDs = append(s.FDs, fd)
				}
			}
			text, err := json.Marshal(s)
			return Answer{Result: text}, err
		},
	}
}
