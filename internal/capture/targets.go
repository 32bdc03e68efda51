package capture

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// Targets are the processes to look at.
type Targets struct {
	// All means every process; List is then empty.
	All bool
	// KernelThreads includes kernel threads: asked for by "all".
	KernelThreads bool
	List          []facts.Target
}

// ErrNoTarget is in the chain of errors that mean: nothing matches the query.
var ErrNoTarget = errors.New("no such process")

// AmbiguousError says that a name matches several processes.
type AmbiguousError struct {
	Query string
	PIDs  []int
}

func (e *AmbiguousError) Error() string {
	list := make([]string, len(e.PIDs))
	for i, pid := range e.PIDs {
		list[i] = strconv.Itoa(pid)
	}
	return fmt.Sprintf("%d processes are called %q: %s", len(e.PIDs), e.Query, strings.Join(list, ", "))
}

// FindTargets finds the processes that the queries name: a PID, a process name,
// "cgroup:PATH", "pod:UID" or "all". No query at all means every process, user
// space only.
func FindTargets(p *proc.FS, queries []string) (Targets, error) {
	if len(queries) == 0 {
		return Targets{All: true}, nil
	}
	var t Targets
	for _, q := range queries {
		if q == "all" {
			return Targets{All: true, KernelThreads: true}, nil
		}
		found, err := find(p, q)
		if err != nil {
			return Targets{}, err
		}
		for _, f := range found {
			if !slices.ContainsFunc(t.List, func(o facts.Target) bool { return o.PID == f.PID }) {
				t.List = append(t.List, f)
			}
		}
	}
	return t, nil
}

func find(p *proc.FS, query string) ([]facts.Target, error) {
	if pid, err := strconv.Atoi(query); err == nil {
		if pid <= 0 {
			return nil, fmt.Errorf("pid %d: %w", pid, ErrNoTarget)
		}
		if _, err := p.Process(pid); err != nil {
			return nil, fmt.Errorf("pid %d: %w", pid, ErrNoTarget)
		}
		return []facts.Target{{PID: pid, Query: query}}, nil
	}
	if path, ok := strings.CutPrefix(query, "cgroup:"); ok {
		return byCgroup(p, query, func(text string) bool { return inCgroup(text, path) })
	}
	if uid, ok := strings.CutPrefix(query, "pod:"); ok {
		return byCgroup(p, query, func(text string) bool {
			_, pod := kube.ParseCgroup(text)
			return pod == uid
		})
	}
	return byName(p, query)
}

func byName(p *proc.FS, name string) ([]facts.Target, error) {
	found, err := p.ByName(name)
	if err != nil {
		return nil, fmt.Errorf("process %q: %w", name, err)
	}
	if len(found) == 0 && name == "kubelet" {
		return findKubelet(p)
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("process %q: %w", name, ErrNoTarget)
	case 1:
		return []facts.Target{{PID: found[0].PID, Query: name}}, nil
	}
	// A process and the children it forked share a name until they execute
	// something: then the first one is meant.
	if root, ok := commonAncestor(found); ok {
		return []facts.Target{{PID: root, Query: name}}, nil
	}
	e := &AmbiguousError{Query: name}
	for _, f := range found {
		e.PIDs = append(e.PIDs, f.PID)
	}
	return nil, e
}

// commonAncestor is the one process of the list that all others descend from
// directly.
func commonAncestor(list []facts.Process) (int, bool) {
	in := make(map[int]bool, len(list))
	for _, p := range list {
		in[p.PID] = true
	}
	root := 0
	for _, p := range list {
		if in[p.PPID] {
			continue
		}
		if root != 0 {
			return 0, false
		}
		root = p.PID
	}
	return root, root != 0
}

// findKubelet finds the programs that contain a kubelet under another name.
func findKubelet(p *proc.FS) ([]facts.Target, error) {
	pids, err := p.PIDs()
	if err != nil {
		return nil, fmt.Errorf("process %q: %w", "kubelet", err)
	}
	for _, pid := range pids {
		proc, err := p.Process(pid)
		if err != nil {
			continue
		}
		if label, ok := kube.IsKubelet(proc.Comm, proc.Exe); ok {
			return []facts.Target{{PID: pid, Query: "kubelet", Matched: label}}, nil
		}
	}
	return nil, fmt.Errorf("process %q (nor k3s, kubelite, hyperkube): %w", "kubelet", ErrNoTarget)
}

func byCgroup(p *proc.FS, query string, match func(text string) bool) ([]facts.Target, error) {
	pids, err := p.PIDs()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	var found []facts.Target
	for _, pid := range pids {
		if text, err := p.Cgroup(pid); err == nil && match(text) {
			found = append(found, facts.Target{PID: pid, Query: query})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", query, ErrNoTarget)
	}
	return found, nil
}

// inCgroup tells whether one of the lines of /proc/PID/cgroup is the group or
// below it. A path may be given with the mount point of the hierarchy.
func inCgroup(text, group string) bool {
	group = strings.TrimSuffix(group, "/")
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, prefix := range []string{"", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/" + f[1]} {
			if g := prefix + f[2]; g == group || strings.HasPrefix(g, group+"/") {
				return true
			}
		}
	}
	return false
}
