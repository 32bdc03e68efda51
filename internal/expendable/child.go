package expendable

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hello is the first line on the child's input, and the first line of each
// further turn.
type hello struct {
	Name string `json:"name"` // what the child calls itself
	Proc string `json:"proc"` // where /proc is
	// First is the index of the first request of the turn: what a handler of an
	// earlier turn says too late is then no answer to this one.
	First int `json:"first,omitempty"`
	// Requests is how many there are in the turn; 0: not known.
	Requests int `json:"requests,omitempty"`
}

// helloPrefix begins a hello and no request.
const helloPrefix = `{"name":`

// idleName is the name of a child that is asked nothing: none that a later run
// takes for one that hangs.
const idleName = namePrefix + "idle"

// A Handler does a request inside the child, where it may block for ever. It
// may emit parts of the answer before it returns the rest.
type Handler func(req Request, emit func(Answer)) (Answer, error)

// Main is the child: it reads requests until its input ends and returns the
// exit code. more adds operations to those of this package.
func Main(stdin io.Reader, stdout io.Writer, more map[Op]Handler) int {
	in := bufio.NewReaderSize(stdin, 64<<10)
	var h hello
	line, err := in.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &h) != nil {
		fmt.Fprintln(stdout, ChildCommand+" is started by the program itself, not by hand")
		return 2
	}
	settle()
	handlers := builtin(h.Proc)
	maps.Copy(handlers, more)
	for {
		setName(h.Name)
		if line, err = turn(in, h, handlers, stdout); err != nil {
			return 1
		}
		if h = (hello{}); json.Unmarshal(line, &h) != nil {
			return 0 // the parent is done, or gone
		}
	}
}

// turn does the requests that follow one hello and returns the next, or nothing
// at the end of the input.
func turn(in *bufio.Reader, h hello, handlers map[Op]Handler, stdout io.Writer) (next []byte, err error) {
	for index := h.First; ; index++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, nil
		}
		if bytes.HasPrefix(line, []byte(helloPrefix)) {
			return line, nil
		}
		answer := serve(handlers, index, line, stdout)
		if index+1 == h.First+h.Requests {
			setName(idleName)
		}
		if err := write(stdout, answer); err != nil {
			return nil, err
		}
	}
}

func builtin(proc string) map[Op]Handler {
	c := child{proc: proc}
	return map[Op]Handler{
		OpStrings: c.strings, OpMemory: c.memory, OpThreads: c.threads, OpCmdline: c.cmdline,
		OpProcFile: c.procFile, OpReaddir: c.readdir, OpReadfile: c.readfile, OpResolve: c.resolve,
		OpTree: c.tree, OpPins: c.pins, OpProbe: c.probe, OpRead: c.readDevice, OpGet: c.get,
		OpAdmin: c.adminSocket, OpDial: c.connect,
	}
}

// child is what the built-in operations share.
type child struct {
	proc string
}

// settle makes the process one that nobody misses. Each step may fail without
// harm; the parent copes with a child that skipped them.
func settle() {
	// The attribute set at the start does not survive the exec of a file with
	// capabilities.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	closeInherited()
}

// setName is how a later run finds the child. It must be the first thread that
// bears the name, and this one may be another.
func setName(name string) {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		if b, err := unix.BytePtrFromString(name); err == nil {
			_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
		}
	}
}

// closeInherited closes what was open before the program started: an abandoned
// child must not keep a pipe or a file of the shell open. What the Go runtime
// opened has the close-on-exec flag.
func closeInherited() {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

func serve(handlers map[Op]Handler, index int, line []byte, stdout io.Writer) (answer Answer) {
	defer func() {
		if r := recover(); r != nil {
			answer = Answer{Err: fmt.Sprintf("panic: %v", r)}
		}
		answer.Index, answer.Partial = index, false
	}()
	var req Request
	if err := json.Unmarshal(line, &req); err != nil {
		return Answer{Err: fmt.Sprintf("request: %v", err)}
	}
	handler, ok := handlers[req.Op]
	if !ok {
		return Answer{Err: fmt.Sprintf("operation %q: unknown", req.Op)}
	}
	answer, err := handler(req, func(part Answer) {
		part.Index, part.Partial = index, true
		_ = write(stdout, part)
	})
	if err != nil {
		answer.Err = err.Error()
	}
	return answer
}

// write hands a line over at once: what was answered before a hang must not
// sit in a buffer.
func write(w io.Writer, a Answer) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
