package ceph

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// follow runs the commands of a finding in the order in which they are printed,
// word for word; also those that only show something.
func (l *lab) follow(remedies []remedy, what string) {
	l.t.Helper()
	if len(remedies) == 0 {
		l.t.Errorf("%s: no remedy", what)
	}
	for _, r := range remedies {
		o := l.execute(r.Command)
		l.t.Logf("%s: %s\n  status %d %s%s", what, r.Command, o.code, o.stdout, o.stderr)
		if o.code != 0 {
			l.t.Errorf("%s: %s: status %d", what, r.Command, o.code)
		}
	}
}

// execute runs one printed command. The ceph command is for wherever there is a
// key to the cluster, which is not the node.
func (l *lab) execute(command string) output {
	l.t.Helper()
	if args, ok := strings.CutPrefix(command, "ceph "); ok {
		return l.script(60*time.Second, "", "cephlab.sh", append([]string{"ceph"}, strings.Fields(args)...)...)
	}
	o := l.operator(command)
	if strings.HasPrefix(command, "hangtrace scan") && o.code == 3 {
		o.code = 0 // it found something, as it should
	}
	return o
}

// advice is what report prints of one hang: what to do, and about what.
type advice struct {
	Mount *struct {
		Image string `json:"image"`
	} `json:"mount"`
	Volume *struct {
		PV string `json:"pv"`
	} `json:"volume"`
	Group    string   `json:"group"`
	Remedies []remedy `json:"remedies"`
	Warnings []string `json:"warnings"`
}

// reported gives report's advice by thread, and wants each wait explained.
func (l *lab) reported() map[int]advice {
	l.t.Helper()
	o := l.guest(150*time.Second, toolPath+" report --pid all --fs all "+within(100*time.Second)+" -o json")
	var r struct {
		Hangs []struct {
			Task struct {
				TID int `json:"tid"`
			} `json:"task"`
			advice
		} `json:"hangs"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || o.code != 3 {
		l.t.Fatalf("report: status %d, %v: %s%s", o.code, err, o.stdout, o.stderr)
	}
	whole, err := parseReport([]byte(o.stdout))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, bad := range slices.Concat(unexplained(whole.Hangs), scattered(whole.Hangs)) {
		l.t.Error(bad)
	}
	by := map[int]advice{}
	for _, h := range r.Hangs {
		by[h.Task.TID] = h.advice
	}
	return by
}

// checkSays wants the line of hangtrace check to begin and go on like that. On a
// slow machine a look may miss the pod's name.
func (l *lab) checkSays(begin, middle string, code int) {
	l.t.Helper()
	var o output
	for range 3 {
		o = l.guest(150*time.Second, toolPath+" check "+within(100*time.Second))
		line := strings.TrimSuffix(o.stdout, "\n")
		l.t.Logf("check: %d %s", o.code, line)
		if o.code == code && len(line) <= 80 && strings.HasPrefix(line, begin) && strings.Contains(line, middle) {
			return
		}
	}
	l.t.Errorf("check: status %d %q, want %d and %q...%q", o.code, o.stdout, code, begin, middle)
}
