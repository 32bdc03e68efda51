package expendable

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hello is the first line on the child's input.
type hello struct {
	Name string `json:"name"` // what the child calls itself
	Proc string `json:"proc"` // where /proc is
}

// A Handler does a request inside the child, where it may block for ever. It
// may emit parts of the answer before it returns the rest.
type Handler func(req Request, emit func(Answer)) (Answer, error)

// Main is the child: it reads requests until its input ends and returns the
// exit code. more adds operations to those of this package.
func Main(stdin io.Reader, stdout io.Writer, more map[Op]Handler) int {
	in := bufio.NewReaderSize(stdin, 64<<10)
	var h hello
	if line, err := in.ReadBytes('\n'); err != nil || json.Unmarshal(line, &h) != nil {
		fmt.Fprintln(stdout, ChildCommand+" is started by the program itself, not by hand")
		return 2
	}
	settle(h.Name)
	handlers := builtin(h.Proc)
	for op, handler := range more {
		handlers[op] = handler
	}
	for index := 0; ; index++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return 0 // the parent is done, or gone
		}
		answer := serve(handlers, index, line, stdout)
		if write(stdout, answer) != nil {
			return 1
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
func settle(name string) {
	// The attribute set at the start does not survive the exec of a file with
	// capabilities.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	closeInherited()
	// A later run finds the child by this name. It must be the first thread
	// that bears it, and this one may be another.
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
