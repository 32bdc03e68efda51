// Package victim is the program that hangs, or never should be said to.
//
// In: a mode and its arguments, and the words "go" and "quit" on standard
// input. Out: JSON lines, one for each thread before it blocks and one when it
// returns, so that a test knows what to expect. It must never hang anything but
// itself, and knows nothing of the tool.
package victim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// Line is one line of a victim's output.
type Line struct {
	// Event is EventPrepared once, then EventBlocking for each thread right
	// before its call and EventReturned after it.
	Event string `json:"event"`
	TID   int    `json:"tid,omitempty"`
	Op    string `json:"op,omitempty"`
	// Path is the absolute path the call is about, whichever way it names it.
	Path string `json:"path,omitempty"`
	// Errno is what the call returned; 0 is success.
	Errno int `json:"errno,omitempty"`
	// Text is for people.
	Text string `json:"text,omitempty"`
}

// The events of a Line.
const (
	EventPrepared = "prepared"
	EventBlocking = "blocking"
	EventReturned = "returned"
)

// printer writes lines from many threads.
type printer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (p *printer) print(l Line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Encode(l)
}

// blocking prints the line of the calling thread, which must be locked.
func (p *printer) blocking(op, path string) {
	p.print(Line{Event: EventBlocking, TID: unix.Gettid(), Op: op, Path: path})
}

func (p *printer) returned(op, path string, err error) {
	var errno unix.Errno
	errors.As(err, &errno)
	p.print(Line{Event: EventReturned, TID: unix.Gettid(), Op: op, Path: path, Errno: int(errno)})
}

// session is one run of a victim.
type session struct {
	*printer
	words *bufio.Scanner
	args  []string
}

// Run runs the mode that args[0] names until its input ends or says "quit".
func Run(args []string, in io.Reader, out io.Writer) error {
	modes := map[string]func(*session) error{
		"ops": runOps, "idle": runIdle, "sleep": runSleep, "jam": runJam,
		"exit": runExit, "umount": runUmount, "iouring": runIOURing, "crowd": runCrowd, "rest": runRest, "naps": runNaps, "closes": runCloses,
		"kubelet": runKubelet,
	}
	if len(args) == 0 || modes[args[0]] == nil {
		return fmt.Errorf("unknown victim mode in %q", args)
	}
	return modes[args[0]](&session{
		printer: &printer{out: json.NewEncoder(out)},
		words:   bufio.NewScanner(in),
		args:    args[1:],
	})
}

// await reads words until one of them is the wanted one; false means the end.
func (s *session) await(word string) bool {
	for s.words.Scan() {
		switch s.words.Text() {
		case word:
			return true
		case "quit":
			return false
		}
	}
	return false
}

// prepared says so, and waits for "go".
func (s *session) prepared() bool {
	s.print(Line{Event: EventPrepared})
	return s.await("go")
}
