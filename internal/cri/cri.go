// Package cri asks container runtimes for their pods from a child that can be
// given up.
//
// In: a runner of expendable children, the process whose root directory is the
// node's, and the sockets there. Out: what each runtime answered. It must never
// touch a socket outside that child: the paths lead through /proc/PID/root,
// where anything may be mounted.
package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

// Op is the operation that Handle does in the child.
const Op expendable.Op = "cri"

// Reply is what became of asking at one socket.
type Reply struct {
	Socket string      `json:"socket"`
	Pods   []facts.Pod `json:"pods,omitempty"`
	// Absent tells that no container runtime listens there, Refused that these
	// rights do not lead there.
	Absent  bool `json:"absent,omitempty"`
	Refused bool `json:"refused,omitempty"`
	// Err is why there is no answer, or none about containers; "" if there is.
	Err string `json:"err,omitempty"`
}

// Ask asks at each socket, all at once, below the root of a process. It returns
// one reply for each, within the deadline.
func Ask(ctx context.Context, runner *expendable.Runner, host int, sockets []string, deadline time.Duration) []Reply {
	req := expendable.Request{
		Op: Op, Root: expendable.Raw(fmt.Sprintf("/proc/%d/root", host)), Names: sockets, Max: int(deadline.Milliseconds()),
	}
	answers, err := runner.Do(ctx, "cri", []expendable.Request{req}, deadline)
	if err == nil && answers[0].Err != "" {
		err = errors.New(answers[0].Err)
	}
	known := make(map[string]Reply)
	if len(answers) > 0 {
		for _, t := range answers[0].Texts {
			var r Reply
			if json.Unmarshal(t.Data, &r) == nil {
				known[t.Name] = r
			}
		}
	}
	list := make([]Reply, len(sockets))
	for i, s := range sockets {
		r, ok := known[s]
		if !ok {
			r = Reply{Err: "no answer"}
			if err != nil && !errors.Is(err, expendable.ErrDeadline) {
				r.Err = err.Error()
			}
		}
		r.Socket = s
		list[i] = r
	}
	return list
}

// Handle asks in the child. Each socket's reply is given as it comes: another
// may never come.
func Handle(req expendable.Request, emit func(expendable.Answer)) (expendable.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(req.Max)*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, socket := range req.Names {
		wg.Go(func() {
			text, err := json.Marshal(ask(ctx, string(req.Root)+socket))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			emit(expendable.Answer{Texts: []expendable.Text{{Name: socket, Data: text}}})
		})
	}
	wg.Wait()
	return expendable.Answer{}, failed
}

func ask(ctx context.Context, path string) Reply {
	pods, err := kube.ListPods(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, kube.ErrNoCRI):
		return Reply{Absent: true}
	case errors.Is(err, os.ErrPermission):
		return Reply{Refused: true, Err: err.Error()}
	case errors.Is(err, kube.ErrNoContainers), err == nil:
		return Reply{Pods: pods}
	}
	return Reply{Err: err.Error()}
}
