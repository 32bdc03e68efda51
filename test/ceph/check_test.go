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
	Schema string `json:"schema"`
	Hangs  []hang `json:"hangs"`
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
		Kind string `json:"kind"`
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
	KernelStack []string `json:"kernel_stack"`
	WaitingOn   *struct {
		Kind string `json:"kind"`
	} `json:"waiting_on"`
	Role        string `json:"role"`
	WaitsBehind string `json:"waits_behind"`
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
	return append(bad, volumeComplaints(volumes[want.Mount], h)...)
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
