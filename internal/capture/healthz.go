package capture

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

const (
	// healthFresh is how long a kubelet's word is good for.
	healthFresh = 10 * time.Second
	// healthMost bounds the questions to one kubelet: two ports, a second each.
	healthMost      = 2500 * time.Millisecond
	kubeletConfMost = 256 << 10
)

// kubeletState is what is kept of a running kubelet between looks.
type kubeletState struct {
	facts  facts.KubeletProcess
	args   []string // nil: not read
	health *facts.KubeletHealth
	asked  time.Time
}

// askHealth starts to ask the kubelets among the targets and suspects how they
// feel, and returns what waits for the answers and stores them: meanwhile there
// is other work. A kubelet that hangs takes the question and never answers.
func (s *Session) askHealth(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect) (finish func()) {
	answers := make(map[int]*facts.KubeletHealth)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range snap.Processes {
		p := &snap.Processes[i]
		k := s.cache.kubelets[kubeletKey{p.PID, p.StartBootNS}]
		if p.Kubelet == nil || k == nil || !s.concerns(p.PID, suspects) {
			continue
		}
		if k.health != nil && (time.Since(k.asked) < healthFresh || len(suspects) == 0) {
			continue
		}
		k.asked = time.Now()
		pid, args := p.PID, k.args
		wg.Go(func() {
			h := s.kubeletHealth(ctx, pid, args)
			mu.Lock()
			defer mu.Unlock()
			answers[pid] = &h
		})
	}
	return func() {
		wg.Wait()
		for i := range snap.Processes {
			p := &snap.Processes[i]
			k := s.cache.kubelets[kubeletKey{p.PID, p.StartBootNS}]
			if p.Kubelet == nil || k == nil {
				continue
			}
			if h := answers[p.PID]; h != nil {
				k.health = h
			}
			known := k.facts
			known.Healthz = k.health
			p.Kubelet = &known
		}
	}
}

// concerns tells whether a process is a target that was named, or a suspect.
func (s *Session) concerns(pid int, suspects []correlate.Suspect) bool {
	return slices.ContainsFunc(s.opts.Targets.List, func(t facts.Target) bool { return t.PID == pid }) ||
		slices.ContainsFunc(suspects, func(p correlate.Suspect) bool { return p.PID == pid })
}

// kubeletHealth asks one kubelet.
func (s *Session) kubeletHealth(ctx context.Context, pid int, args []string) facts.KubeletHealth {
	unknown := facts.KubeletHealth{SyncLoop: kube.SyncLoopUnknown}
	if args == nil {
		unknown.Detail = "the kubelet's command line, which names its port, cannot be read"
		return unknown
	}
	urls, why := kube.SyncLoopURLs(args, s.kubeletConfig(ctx, pid, args))
	if len(urls) == 0 {
		unknown.Detail = why
		return unknown
	}
	reqs := make([]expendable.Request, len(urls))
	for i, u := range urls {
		reqs[i] = expendable.Request{Op: expendable.OpGet, PID: pid, URL: u}
	}
	got, err := s.opts.Runner.Do(ctx, fmt.Sprintf("healthz:%d", pid), reqs, max(healthMost, childDeadline(ctx)))
	unknown.Detail = "it was not asked"
	if err != nil {
		unknown.Detail = err.Error()
	}
	for i, a := range got {
		if a.Err != "" {
			unknown.URL, unknown.Detail = urls[i], a.Err
			continue
		}
		state, detail := kube.SyncLoopAnswer(a.Code, string(a.Data))
		answer := facts.KubeletHealth{SyncLoop: state, URL: urls[i], Detail: detail}
		if state != kube.SyncLoopUnknown {
			return answer
		}
		unknown = answer
	}
	return unknown
}

// kubeletConfig reads the configuration file of a kubelet; nil: it has none, or
// it cannot be read.
func (s *Session) kubeletConfig(ctx context.Context, pid int, args []string) []byte {
	file := kube.KubeletConfigFile(args)
	if !path.IsAbs(file) {
		return nil
	}
	req := expendable.Request{Op: expendable.OpReadfile, Root: hostRoot(pid), Path: expendable.Raw(file), Max: kubeletConfMost}
	got, err := s.opts.Runner.Do(ctx, fmt.Sprintf("kubelet-config:%d", pid), []expendable.Request{req}, childDeadline(ctx))
	if err != nil || len(got) == 0 || got[0].Err != "" || got[0].Truncated {
		return nil
	}
	return append([]byte{}, got[0].Data...) // not nil, also where it is empty
}
