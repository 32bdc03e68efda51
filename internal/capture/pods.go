package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hangtrace/hangtrace/internal/cri"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
)

const (
	// kubeFresh is how long the list of pods is good for.
	kubeFresh = 30 * time.Second
	// criMost bounds the question to the container runtime, which may itself
	// hang.
	criMost     = time.Second
	podLogsMost = 10_000
)

// NoKubeletPods as Options.KubeletPods leaves the kubelet unasked.
const NoKubeletPods = "none"

// askPods begins to ask who is who, unless that is known, and returns what waits
// for it.
func (s *Session) askPods(ctx context.Context) (finish func() podList) {
	if s.cache.pods != nil && time.Since(s.cache.podsRead) < kubeFresh {
		return func() podList { return *s.cache.pods }
	}
	host := s.hostPID()
	answer := beside(func() podList { return s.pods(ctx, host) })
	return func() podList {
		p := <-answer
		known := podList{pods: p.pods, sources: p.sources} // what was not read is said once
		s.cache.pods, s.cache.podsRead = &known, time.Now()
		s.cache.volumeData = make(map[string]*facts.VolumeData)
		return p
	}
}

// pods asks who is who: the directory names of /var/log/pods, which outlive
// their pods for a while, and the container runtime, which knows their state.
func (s *Session) pods(ctx context.Context, host int) (k podList) {
	req := expendable.Request{Op: expendable.OpReaddir, Root: hostRoot(host), Path: "/var/log/pods", Max: podLogsMost}
	answers, err := s.opts.Runner.Do(ctx, "pod-logs", []expendable.Request{req}, childDeadline(ctx))
	switch {
	case err != nil:
		k.skip("/var/log/pods", err)
	case answers[0].Err == "":
		k.sources = append(k.sources, kube.SourcePodLogs)
		for _, e := range answers[0].Entries {
			if p, ok := kube.ParsePodLogDir(string(e.Name)); ok {
				k.pods = append(k.pods, p)
			}
		}
	}
	sockets := s.opts.CRISockets
	if sockets == nil {
		sockets = kube.DefaultSockets()
	}
	s.runtimes(ctx, host, sockets, &k)
	s.kubeletPods(ctx, host, &k)
	return k
}

// podList is who is who, and what could not be asked.
type podList struct {
	pods    []facts.Pod
	sources []string
	skipped []facts.Skipped
}

func (k *podList) skip(what string, err error) {
	k.skipped = append(k.skipped, facts.Skipped{What: what, Why: err.Error()})
}

// kubeletPods asks the kubelet itself, if it is reached from here: its read-only
// port is one of the node's network namespace.
func (s *Session) kubeletPods(ctx context.Context, host int, k *podList) {
	url := s.opts.KubeletPods
	switch url {
	case NoKubeletPods:
		return
	case "":
		own, err := s.opts.Proc.Namespace(os.Getpid(), "net")
		if node, err2 := s.opts.Proc.Namespace(host, "net"); err != nil || err2 != nil || own != node {
			return
		}
		url = kube.DefaultKubeletPods
	}
	ctx, cancel := context.WithTimeout(ctx, min(criMost, childDeadline(ctx)))
	defer cancel()
	pods, err := kube.KubeletPods(ctx, url)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return // the port is closed, as on most nodes
	case err != nil:
		k.skip("pods of the kubelet", err)
		return
	}
	k.sources = append(k.sources, kube.SourceKubelet)
	k.pods = append(k.pods, pods...)
}

// runtimes asks the container runtimes.
func (s *Session) runtimes(ctx context.Context, host int, sockets []string, k *podList) {
	var refused []string
	for _, r := range cri.Ask(ctx, s.opts.Runner, host, sockets, min(criMost, childDeadline(ctx))) {
		switch {
		case r.Absent:
		case r.Refused:
			refused = append(refused, r.Socket)
		case r.Err != "":
			k.skip("container runtime at "+r.Socket, errors.New(r.Err))
		default:
			if !slices.Contains(k.sources, kube.SourceCRI) {
				k.sources = append(k.sources, kube.SourceCRI)
			}
			k.pods = append(k.pods, r.Pods...)
		}
	}
	if len(refused) > 0 { // one word for all of them: they lie behind the same door
		k.skip("container runtimes at "+strings.Join(refused, ", "), fmt.Errorf("connect below %s: %w", hostRoot(host), syscall.EACCES))
	}
}
