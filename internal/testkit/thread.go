package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Thread is what procfs shows of a thread without asking its memory.
type Thread struct {
	PID, TID int
	Comm     string
	State    string // one letter
	Wchan    string
	// Syscall is the number of the call it is in, -1 for none, -2 while it
	// runs or when unreadable.
	Syscall int
	// Switches counts how often it left the CPU.
	Switches int
	// Stack is the kernel stack, innermost frame first.
	Stack []string
}

// ReadThread reads one thread. Everything it reads is safe on hung threads.
func ReadThread(pid, tid int) (Thread, error) {
	dir := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
	th := Thread{PID: pid, TID: tid, Syscall: -2}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return th, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			th.Comm = value
		case "State":
			th.State, _, _ = strings.Cut(value, " ")
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			n, _ := strconv.Atoi(value)
			th.Switches += n
		}
	}
	wchan, _ := os.ReadFile(filepath.Join(dir, "wchan"))
	th.Wchan = string(wchan)
	call, _ := os.ReadFile(filepath.Join(dir, "syscall"))
	number, _, _ := strings.Cut(strings.TrimSpace(string(call)), " ")
	if n, err := strconv.Atoi(number); err == nil {
		th.Syscall = n
	}
	stack, _ := os.ReadFile(filepath.Join(dir, "stack"))
	for line := range strings.Lines(string(stack)) {
		if _, frame, ok := strings.Cut(strings.TrimSpace(line), "] "); ok {
			th.Stack = append(th.Stack, frame)
		}
	}
	// Before 5.16 (bc9bbb81730e) a kernel with the ORC unwinder knows no wait
	// channel.
	if th.Wchan == "0" && th.State != "R" && len(th.Stack) > 0 {
		th.Wchan, _, _ = strings.Cut(th.Stack[0], "+")
	}
	return th, nil
}

// Threads reads all threads of a process.
func Threads(pid int) ([]Thread, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var out []Thread
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if th, err := ReadThread(pid, tid); err == nil {
			out = append(out, th)
		}
	}
	return out, nil
}

// idleWaits are the wait channels of a Go program's own threads; a thread in
// one of them has not blocked in its call yet.
var idleWaits = []string{"futex_do_wait", "futex_wait_queue", "futex_wait_queue_me", "ep_poll", "pipe_read", "anon_pipe_read", "hrtimer_nanosleep", "do_nanosleep", "0", ""}

// AwaitBlocked waits until a thread sleeps in one place that is no idle wait,
// without having run between two looks.
func AwaitBlocked(pid, tid int, limit time.Duration) (Thread, error) {
	var last Thread
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		th, err := ReadThread(pid, tid)
		if err != nil {
			return th, err
		}
		if blocked(th) && blocked(last) && th.Switches == last.Switches && th.Wchan == last.Wchan {
			return th, nil
		}
		if time.Now().After(deadline) {
			return th, fmt.Errorf("thread %d is not blocked after %v: state %s in %q", tid, limit, th.State, th.Wchan)
		}
		last = th
	}
}

func blocked(th Thread) bool {
	for _, idle := range idleWaits {
		if th.Wchan == idle {
			return false
		}
	}
	return th.State == "S" || th.State == "D"
}
