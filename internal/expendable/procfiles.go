package expendable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hangtrace/hangtrace/internal/proc"
)

const (
	procTextLimit = 64 << 10
	procFileLimit = 8 << 20
	cmdlineLimit  = 128 << 10
)

// procFileAllowed names the further files of a process that may be asked for by name.
// The environment is not among them: it holds secrets.
func procFileAllowed(name Raw) bool {
	return name == "auxv" || name == "maps" || name == "io"
}

func (c child) dir(pid int) string {
	return c.proc + "/" + strconv.Itoa(pid)
}

func (c child) threads(req Request, emit func(Answer)) (Answer, error) {
	for _, tid := range req.TIDs {
		t := Thread{TID: tid}
		dir := c.dir(req.PID) + "/task/" + strconv.Itoa(tid)
		call, err1 := readText(dir+"/syscall", procTextLimit)
		stack, err2 := readText(dir+"/stack", procTextLimit)
		// Last, for its switch counts decide whether the others are of one wait.
		status, err3 := readText(dir+"/status", procTextLimit)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Err = err.Error()
		}
		t.Status = proc.SwitchLines(string(status))
		t.Syscall, t.Stack = string(bytes.TrimSpace(call)), string(bytes.TrimRight(stack, "\n"))
		emit(Answer{Threads: []Thread{t}})
	}
	return Answer{}, nil
}

func (c child) cmdline(req Request, _ func(Answer)) (Answer, error) {
	text, err := readText(c.dir(req.PID)+"/cmdline", bound(req.Max, cmdlineLimit, cmdlineLimit))
	if err != nil || len(text) == 0 {
		return Answer{}, err
	}
	var a Answer
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte{0}), []byte{0}) {
		a.Args = append(a.Args, Raw(arg))
	}
	return a, nil
}

func (c child) procFile(req Request, _ func(Answer)) (Answer, error) {
	path := c.dir(req.PID) + "/" + string(req.Path)
	if !procFileAllowed(req.Path) {
		return Answer{}, fmt.Errorf("read %s: not a file that is read", path)
	}
	text, err := readText(path, procFileLimit)
	return Answer{Data: text}, err
}

// readText reads a file of /proc, whose size is not known before, up to limit.
func readText(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, _, err := readUpTo(f, limit)
	return text, err
}

// ThreadNow is one look at a thread.
type ThreadNow struct {
	State string // one letter
	// Switches counts how often it left a CPU: it has not run between two looks
	// that show the same number.
	Switches uint64
}

// LookAt looks at a thread, for handlers.
func LookAt(pid, tid int) (now ThreadNow, err error) {
	text, err := readText(fmt.Sprintf("/proc/%d/task/%d/status", pid, tid), procTextLimit)
	if err != nil {
		return now, err
	}
	found := 0
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case string(name) == "State" && len(value) > 0:
			now.State = string(value[:1])
		case bytes.HasSuffix(name, []byte("voluntary_ctxt_switches")):
			n, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil {
				return now, err
			}
			now.Switches += n
			found++
		}
	}
	if found != 2 {
		return now, fmt.Errorf("status of thread %d has no switch counts", tid)
	}
	return now, nil
}

// CallAndStack reads the call a thread is in, with its registers, and its
// kernel stack, for handlers: both may block.
func CallAndStack(pid, tid int) (call, stack string, err error) {
	dir := fmt.Sprintf("/proc/%d/task/%d/", pid, tid)
	a, err1 := readText(dir+"syscall", procTextLimit)
	b, err2 := readText(dir+"stack", procTextLimit)
	return string(a), string(b), errors.Join(err1, err2)
}
