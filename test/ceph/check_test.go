package ceph

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The parts of the published JSON that are checked, by their published names:
// written down here once more, so that a renamed field is found.
type report struct {
	Schema  string `json:"schema"`
	Hangs   []hang `json:"hangs"`
	Capture struct {
		Backend  string   `json:"backend"`
		Degraded []string `json:"degraded"`
		Skipped  []struct {
			What string `json:"what"`
			Why  string `json:"why"`
		} `json:"skipped"`
	} `json:"capture"`
}

type event struct {
	Schema string `json:"schema"`
	Event  string `json:"event"`
	hang
	DurationNS *uint64           `json:"duration_ns"`
	Ret        *int64            `json:"ret"`
	Lost       map[string]uint64 `json:"lost"`
}

type hang struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	Task   *struct {
		PID          int    `json:"pid"`
		TID          int    `json:"tid"`
		Comm         string `json:"comm"`
		State        string `json:"state"`
		KernelThread bool   `json:"kernel_thread"`
	} `json:"task"`
	Syscall *struct {
		Name string `json:"name"`
	} `json:"syscall"`
	Blocked *struct {
		ForMS int64 `json:"for_ms"`
	} `json:"blocked"`
	Path *struct {
		Value string `json:"value"`
	} `json:"path"`
	Mount *struct {
		Kind     string `json:"kind"`
		Image    string `json:"image"`
		Attached *bool  `json:"attached"`
	} `json:"mount"`
	Volume *struct {
		Pod *struct {
			UID       string `json:"uid"`
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"pod"`
		Plugin string `json:"plugin"`
		Name   string `json:"name"`
		PV     string `json:"pv"`
		Driver string `json:"driver"`
	} `json:"volume"`
	KernelStack []string   `json:"kernel_stack"`
	WaitingOn   *waitingOn `json:"waiting_on"`
	Role        string     `json:"role"`
	WaitsBehind string     `json:"waits_behind"`
	Group       string     `json:"group"`
}

type waitingOn struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"`
	Request *struct {
		ID     string `json:"id"`
		Op     string `json:"op"`
		Target string `json:"target"`
		ForMS  *int64 `json:"for_ms"`
	} `json:"request"`
	OpenRequests *struct {
		Total int `json:"total"`
	} `json:"open_requests"`
	Evidence []string `json:"evidence"`
}

func parseReport(text []byte) (report, error) {
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("report is no JSON: %w", err)
	}
	if r.Schema != "hangtrace.report/v1" {
		return r, fmt.Errorf("schema %q", r.Schema)
	}
	return r, nil
}

func parseEvents(text []byte) ([]event, error) {
	var events []event
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d is no JSON: %w", len(events)+1, err)
		}
		if e.Schema != "hangtrace.event/v1" {
			return nil, fmt.Errorf("line %d: schema %q", len(events)+1, e.Schema)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

// byTID sorts the hangs by their thread.
func byTID(hangs []hang) map[int][]hang {
	m := map[int][]hang{}
	for _, h := range hangs {
		if h.Task != nil {
			m[h.Task.TID] = append(m[h.Task.TID], h)
		}
	}
	return m
}

// strangers are hangs of threads that should not hang. Kernel threads may: the
// flusher really waits for a frozen OSD.
func strangers(hangs []hang, ours []int) []string {
	var bad []string
	for _, h := range hangs {
		switch {
		case h.Task == nil:
			bad = append(bad, fmt.Sprintf("hang %s without a task", h.ID))
		case !h.Task.KernelThread && !slices.Contains(ours, h.Task.TID):
			bad = append(bad, fmt.Sprintf("%s (tid %d) does not hang: %s, stack %s", h.Task.Comm, h.Task.TID,
				h.Reason, strings.Join(h.KernelStack, " ")))
		}
	}
	return bad
}

// complaints compares one hang with what the table says. Times are bounds in ms.
func complaints(want hungOp, h hang, minMS, maxMS int64) []string {
	var bad []string
	differ := func(what, got string, ok bool, want any) {
		if !ok {
			bad = append(bad, fmt.Sprintf("%s is %q, want %v", what, got, want))
		}
	}
	equal := func(what, got, want string) { differ(what, got, got == want, want) }

	equal("reason", h.Reason, want.Reason)
	if h.Syscall == nil {
		differ("syscall", "null", len(want.Syscalls) == 0, want.Syscalls)
	} else {
		differ("syscall", h.Syscall.Name, slices.Contains(want.Syscalls, h.Syscall.Name), want.Syscalls)
	}
	if h.Path == nil {
		differ("path", "null", false, want.fullPath())
	} else {
		equal("path", h.Path.Value, want.fullPath())
	}
	if h.Blocked == nil {
		differ("blocked", "null", false, "a time")
	} else {
		differ("blocked.for_ms", fmt.Sprint(h.Blocked.ForMS), h.Blocked.ForMS >= minMS && h.Blocked.ForMS <= maxMS,
			fmt.Sprintf("%d to %d", minMS, maxMS))
	}
	if h.WaitingOn == nil {
		differ("waiting_on", "null", false, want.WaitsOn)
	} else {
		differ("waiting_on.kind", h.WaitingOn.Kind, slices.Contains(want.WaitsOn, h.WaitingOn.Kind), want.WaitsOn)
	}
	bad = append(bad, serverComplaints(want, h, maxMS)...)
	return append(bad, volumeComplaints(volumes[want.Mount], h)...)
}

// text prints a value that may be null.
func text[T any](p *T) string {
	if p == nil {
		return "null"
	}
	return fmt.Sprint(*p)
}

// serverComplaints compares whom a hang waits for.
func serverComplaints(want hungOp, h hang, maxMS int64) []string {
	on := h.WaitingOn
	if on == nil {
		return nil // said already
	}
	var bad []string
	said := strings.Join(on.Evidence, "; ")
	complain := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if want.Server != "" && on.Name != want.Server {
		complain("waiting_on.name is %q, want %q", on.Name, want.Server)
	}
	if want.Server != "" && !strings.Contains(on.Address, "10.99.0.1:") {
		complain("waiting_on.address is %q", on.Address)
	}
	if want.Evidence != "" && !strings.Contains(said, want.Evidence) {
		complain("evidence is %q, want %q in it", said, want.Evidence)
	}
	if want.State != "" && !strings.Contains(on.State, want.State) {
		complain("waiting_on.state is %q, want %q in it", on.State, want.State)
	}
	if want.Request == nil {
		return bad
	}
	q := on.Request
	if q == nil {
		return append(bad, "waiting_on.request is null")
	}
	if !slices.Contains(want.Request, q.Op) {
		complain("request.op is %q, want %v", q.Op, want.Request)
	}
	if !strings.Contains(q.Target, want.Target) {
		complain("request.target is %q, want %q in it", q.Target, want.Target)
	}
	// The kernel keeps no time of requests to monitors.
	if q.ForMS == nil && on.Kind != "mon" || q.ForMS != nil && (*q.ForMS < 1000 || *q.ForMS > maxMS) {
		complain("request.for_ms is %s, want 1000 to %d", text(q.ForMS), maxMS)
	}
	if on.OpenRequests == nil || on.OpenRequests.Total < 1 {
		complain("open_requests is %v, want one at least", on.OpenRequests)
	}
	return bad
}

// unexplained are hangs on ceph of which nothing but a stack is known: no
// request, page, capability or lock.
func unexplained(hangs []hang) []string {
	var bad []string
	for _, h := range hangs {
		if h.Mount == nil || h.Task == nil || !slices.Contains([]string{"cephfs", "ceph-fuse", "rbd"}, h.Mount.Kind) {
			continue
		}
		on := h.WaitingOn
		switch {
		case on == nil || on.Kind == "unknown":
		case on.Request != nil:
			continue
		case h.Role == "victim" && h.WaitsBehind != "" && len(on.Evidence) > 0:
			continue
		case slices.ContainsFunc(on.Evidence, func(e string) bool {
			return strings.Contains(e, "capabilities") || strings.Contains(e, "umount waits") || strings.Contains(e, "seen twice")
		}):
			continue
		}
		bad = append(bad, fmt.Sprintf("%s (tid %d) is unexplained: %+v, stack %s", h.Task.Comm, h.Task.TID, on, strings.Join(h.KernelStack, " ")))
	}
	return bad
}

// scattered are images whose hangs are not all in one group.
func scattered(hangs []hang) []string {
	groups := make(map[string]string)
	var bad []string
	for _, h := range hangs {
		if h.Mount == nil || h.Mount.Image == "" {
			continue
		}
		if g, ok := groups[h.Mount.Image]; ok && g != h.Group {
			bad = append(bad, fmt.Sprintf("image %s: %s (tid %d) is in group %q, another in %q", h.Mount.Image, h.Task.Comm, h.Task.TID, h.Group, g))
		}
		groups[h.Mount.Image] = h.Group
	}
	return bad
}

func volumeComplaints(want volume, h hang) []string {
	var bad []string
	equal := func(what, got, want string) {
		if got != want {
			bad = append(bad, fmt.Sprintf("%s is %q, want %q", what, got, want))
		}
	}
	if h.Mount == nil {
		bad = append(bad, "mount is null")
	} else {
		equal("mount.kind", h.Mount.Kind, want.Kind)
		equal("mount.image", h.Mount.Image, want.Image)
		if h.Mount.Attached == nil || *h.Mount.Attached == want.Detached {
			bad = append(bad, fmt.Sprintf("mount.attached is %s, want %v", text(h.Mount.Attached), !want.Detached))
		}
	}
	if h.Volume == nil {
		return append(bad, "volume is null")
	}
	v := h.Volume
	equal("volume.name", v.Name, want.Name)
	if want.Plugin != "" {
		equal("volume.plugin", v.Plugin, want.Plugin)
	}
	if want.PV != "" {
		equal("volume.pv", v.PV, want.PV)
		equal("volume.driver", v.Driver, want.Driver)
	}
	if v.Pod == nil {
		return append(bad, "volume.pod is null")
	}
	equal("volume.pod.uid", v.Pod.UID, want.PodUID)
	if want.PodName != "" {
		equal("pod", v.Pod.Namespace+"/"+v.Pod.Name, want.PodName)
	}
	return bad
}
