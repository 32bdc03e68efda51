package expendable

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lineLimit   = 8 << 20  // one answer
	totalLimit  = 64 << 20 // all answers of one child
	wordsLimit  = 2 << 10  // what is no answer: a panic
	programName = "hangtrace"
)

// process is a child from its reservation to its end. Runner.mu guards what
// is above the empty line.
type process struct {
	key         string
	pid         int // 0 before it is started
	startBootNS uint64
	doing       string
	since       time.Time
	abandoned   bool

	requests *os.File
	answers  *os.File
	words    []byte
	// first is the index of the next request: those of earlier turns are before
	// it.
	first int
	// reused tells that it was idle before it got these requests.
	reused bool
}

type answers struct {
	list  []Answer
	final []bool
	// asking, if set, is called at the first partial answer.
	asking func()
}

// start is what os/exec would do, without its goroutine that waits for the
// child's end and without a handle that could be waited for by accident.
func start(opts Options) (pid int, requests, replies *os.File, err error) {
	in, requests, err := os.Pipe()
	if err != nil {
		return 0, nil, nil, err
	}
	defer in.Close()
	replies, out, err := os.Pipe()
	if err != nil {
		requests.Close()
		return 0, nil, nil, err
	}
	defer out.Close()
	pid, err = syscall.ForkExec(opts.Exe, append([]string{programName}, opts.Args...), &syscall.ProcAttr{
		// Not where the program was started: that may be the hung mount.
		Dir: "/",
		Env: []string{
			"GOMAXPROCS=1", "GOMEMLIMIT=64MiB", "GOTRACEBACK=single",
			// A signal to a thread in a FUSE call makes the call unkillable.
			"GODEBUG=asyncpreemptoff=1",
		},
		// Standard error goes the same way as the answers: an abandoned child
		// must not hold the terminal or pipe of the program open.
		Files: []uintptr{in.Fd(), out.Fd(), out.Fd()},
		// A session of its own: Ctrl-C is for the program, which kills the
		// child itself; if the program dies, the kernel does.
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		requests.Close()
		replies.Close()
		return 0, nil, nil, fmt.Errorf("execute %s: %w", opts.Exe, err)
	}
	return pid, requests, replies, nil
}

// converse sends the requests and reads answers until all have come, the
// context ends or the child does. whole tells that the child has answered all
// of them and can be asked more.
func (p *process) converse(ctx context.Context, opts Options, reqs []Request, got *answers) (whole bool, err error) {
	stop := context.AfterFunc(ctx, func() {
		// Both ends are pipes, which have deadlines.
		past := time.Unix(1, 0)
		_ = p.requests.SetDeadline(past)
		_ = p.answers.SetDeadline(past)
	})
	defer stop()
	input, err := encode(hello{Name: childName(p.key), Proc: opts.Proc.Root(), First: p.first, Requests: len(reqs)}, reqs)
	if err != nil {
		return false, err
	}
	sent := make(chan error, 1)
	go func() {
		// What it could not send it will not answer.
		_, err := p.requests.Write(input)
		sent <- err
	}()
	err = p.listen(got)
	answered := !slices.Contains(got.final, false)
	if !answered { // then it may not read them, either
		_ = p.requests.SetDeadline(time.Unix(1, 0))
	}
	unsent := <-sent
	p.first += len(reqs)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return answered && unsent == nil && err == nil && len(p.words) == 0 && stop(), err
}

func encode(h hello, reqs []Request) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(h); err != nil {
		return nil, err
	}
	for _, req := range reqs {
		if err := enc.Encode(req); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	return b.Bytes(), nil
}

// listen adds up the answers. Lines that are none are the child's last words.
func (p *process) listen(got *answers) error {
	lines := bufio.NewScanner(p.answers)
	lines.Buffer(make([]byte, 64<<10), lineLimit)
	missing, total := len(got.list), 0
	for missing > 0 && lines.Scan() {
		line := lines.Bytes()
		if total += len(line); total > totalLimit {
			return fmt.Errorf("answers of child %d: more than %d bytes", p.pid, totalLimit)
		}
		var a Answer
		if json.Unmarshal(line, &a) != nil {
			p.words = append(p.words, line[:min(len(line), wordsLimit-len(p.words))]...)
			continue
		}
		if a.Index -= p.first; a.Index < 0 || a.Index >= len(got.list) || got.final[a.Index] {
			return fmt.Errorf("answers of child %d: answer to request %d not expected", p.pid, a.Index)
		}
		got.list[a.Index].Index = a.Index
		got.list[a.Index].add(a)
		if a.Partial && got.asking != nil {
			got.asking()
			got.asking = nil
		}
		if !a.Partial {
			got.final[a.Index] = true
			missing--
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("answers of child %d: %w", p.pid, err)
	}
	return nil
}

// hangUp closes this side of the pipes.
func (p *process) hangUp() {
	_ = p.requests.Close()
	_ = p.answers.Close()
}

// kill needs no pidfd: the PID is not given out again before reap.
func (p *process) kill() {
	_ = unix.Kill(p.pid, unix.SIGKILL)
}

// reap tells whether the child is gone, without ever waiting for it. It must
// not be called again once it said so.
func (p *process) reap() (gone bool, how string) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil: // ECHILD: somebody else reaped it
			return true, ""
		case pid == 0:
			return false, ""
		case status.Signaled():
			return true, "by signal " + status.Signal().String()
		default:
			return true, fmt.Sprintf("with status %d", status.ExitStatus())
		}
	}
}

// lastWords is what is known of an early end.
func (p *process) lastWords(ended string) string {
	if len(p.words) > 0 {
		return fmt.Sprintf(", saying %q", p.words)
	}
	if ended == "" {
		return ""
	}
	return " " + ended
}
