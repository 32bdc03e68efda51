package ceph

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The parts of scan's JSON that are checked, by their published names.
type scanned struct {
	Schema    string     `json:"schema"`
	Leftovers []leftover `json:"leftovers"`
	Checked   struct {
		Walker bool `json:"walker"`
	} `json:"checked"`
}

type leftover struct {
	Class string `json:"class"`
	Path  string `json:"path"`
	Mount *struct {
		Kind string `json:"kind"`
	} `json:"mount"`
	Volume *struct {
		Name   string `json:"name"`
		PV     string `json:"pv"`
		Handle string `json:"handle"`
		Pod    *struct {
			UID   string `json:"uid"`
			State string `json:"state"`
		} `json:"pod"`
	} `json:"volume"`
	Health   string   `json:"health"`
	Evidence []string `json:"evidence"`
	Holders  []struct {
		PID  int    `json:"pid"`
		Comm string `json:"comm"`
		How  string `json:"how"`
	} `json:"holders"`
	Remedies []remedy `json:"remedies"`
	Warnings []string `json:"warnings"`
}

// A remedy is a command that the tool prints.
type remedy struct {
	Command string `json:"command"`
	Frees   string `json:"frees"`
	Risk    string `json:"risk"`
}

// finding is what scan must say of one leftover.
type finding struct {
	class  string
	volume vol
	health string // "" for a directory, which has none
	// holder is a process that must be named, and how it holds it.
	holder int
	how    string
	// nameless: nothing says any more which volume it was.
	nameless bool
}

// scan runs hangtrace scan until it finds what is wanted, no more and no less,
// and gives the findings in that order. What has just been freed may take a
// moment to go.
func (l *lab) scan(want []finding, args ...string) []leftover {
	l.t.Helper()
	var last output
	var bad []string
	for range 4 {
		last = l.guest(120*time.Second, toolPath+" scan -o json --min-age 0s "+within(60*time.Second)+" "+strings.Join(args, " "))
		var s scanned
		if err := json.Unmarshal([]byte(last.stdout), &s); err != nil || s.Schema != "hangtrace.scan/v1" {
			l.t.Fatalf("scan: %v: %s%s", err, last.stdout, last.stderr)
		}
		if code := map[bool]int{true: 0, false: 3}[len(s.Leftovers) == 0]; last.code != code {
			l.t.Fatalf("scan: exit status %d, want %d", last.code, code)
		}
		var found []leftover
		if found, bad = match(want, s.Leftovers); len(bad) == 0 {
			return found
		}
		time.Sleep(time.Second)
	}
	l.t.Fatalf("scan: %s\n%s%s", strings.Join(bad, "; "), last.stdout, last.stderr)
	return nil
}

// match finds each wanted finding among those of a scan, and complains about
// what is missing, different or too much.
func match(want []finding, got []leftover) (found []leftover, bad []string) {
	rest := slices.Clone(got)
	for _, w := range want {
		i := slices.IndexFunc(rest, func(f leftover) bool { return w.isFor(f) })
		if i < 0 {
			bad = append(bad, fmt.Sprintf("no %s of %s", w.class, w.volume.name))
			continue
		}
		bad = append(bad, w.complaints(rest[i])...)
		found = append(found, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	for _, f := range rest {
		bad = append(bad, fmt.Sprintf("too much: %s %s", f.Class, f.Path))
	}
	return found, bad
}

// isFor tells whether a finding is the wanted one, right or wrong in detail.
func (w finding) isFor(f leftover) bool {
	switch {
	case f.Class != w.class:
		return false
	case w.nameless:
		return f.Volume == nil && f.Mount != nil && f.Mount.Kind == w.volume.mountKind()
	case w.class == "stale_rbd_device":
		return f.Path == w.volume.device()
	}
	return f.Volume != nil && f.Volume.Name == w.volume.volumeName()
}

func (w finding) complaints(f leftover) []string {
	var bad []string
	differ := func(what, got, want string) {
		if got != want {
			bad = append(bad, fmt.Sprintf("%s of %s: %s is %q, want %q", w.class, w.volume.name, what, got, want))
		}
	}
	differ("health", f.Health, w.health)
	if f.Mount != nil {
		differ("kind", f.Mount.Kind, w.volume.mountKind())
	}
	if w.holder != 0 && !slices.ContainsFunc(f.Holders, func(h struct {
		PID  int    `json:"pid"`
		Comm string `json:"comm"`
		How  string `json:"how"`
	}) bool {
		return h.PID == w.holder && h.How == w.how && h.Comm != ""
	}) {
		bad = append(bad, fmt.Sprintf("%s of %s: holders %+v, want %d by %s", w.class, w.volume.name, f.Holders, w.holder, w.how))
	}
	if v := f.Volume; v != nil {
		if w.volume.csi {
			differ("pv", v.PV, "pvc-"+w.volume.name)
			differ("handle", v.Handle, w.volume.handle())
		}
		if v.Pod == nil {
			bad = append(bad, w.class+": no pod")
		} else {
			differ("pod", v.Pod.UID, w.volume.uid())
		}
	}
	return bad
}
