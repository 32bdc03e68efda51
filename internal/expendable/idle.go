package expendable

import (
	"slices"
	"time"
)

// mostIdle bounds how many children wait for requests.
const mostIdle = 2

// Warm starts a child before there is anything to ask, where children are
// reused: while it starts, the caller does something else.
func (r *Runner) Warm() {
	if !r.opts.Reuse {
		return
	}
	go func() {
		pid, requests, replies, err := start(r.opts)
		if err != nil {
			return // whoever needs one says so
		}
		p := &process{pid: pid, requests: requests, answers: replies}
		self, _ := r.opts.Proc.Process(pid)
		p.startBootNS = self.StartBootNS
		r.mu.Lock()
		defer r.mu.Unlock()
		r.idle = append(r.idle, p)
	}()
}

// keepIdle frees the key of a child and keeps the child for other requests.
func (r *Runner) keepIdle(p *process) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.opts.Reuse || len(r.idle) >= mostIdle {
		return false
	}
	delete(r.children, p.key)
	r.idle = append(r.idle, p)
	return true
}

// takeIdle gives an idle child to what is reserved.
func (r *Runner) takeIdle(p *process) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.idle) > 0 {
		w := r.idle[len(r.idle)-1]
		r.idle = r.idle[:len(r.idle)-1]
		if gone, _ := w.reap(); gone {
			w.hangUp()
			continue
		}
		p.pid, p.startBootNS, p.requests, p.answers, p.first = w.pid, w.startBootNS, w.requests, w.answers, w.first
		p.reused = true
		return true
	}
	return false
}

// Release ends the children that are asked nothing. One that takes longer to die
// than the grace, as on a busy node, is reaped later.
func (r *Runner) Release() {
	r.mu.Lock()
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, p := range idle {
		p.key = idleName // no other child's
		p.since = time.Now()
		p.hangUp()
		r.end(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range idle {
		if p.abandoned {
			r.dying = append(r.dying, p)
		}
	}
	r.reapDying()
}

// reapDying is for who holds the lock.
func (r *Runner) reapDying() {
	r.dying = slices.DeleteFunc(r.dying, func(p *process) bool {
		gone, _ := p.reap()
		return gone
	})
}
