package ceph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCeph needs root, the packages of test/vm/install.sh and some minutes:
// HANGTRACE_TEST_CEPH=1 asks for it, `make test-ceph` sets that.
func TestCeph(t *testing.T) {
	needLab(t, "ceph-fuse", "mkfs.xfs")
	l := newLab(t)
	populate(l)
	installTool(l)
	t.Run("healthy", func(t *testing.T) { l := *l; l.t = t; l.healthy() })
	t.Run("without a walk", func(t *testing.T) { l := *l; l.t = t; l.withoutWalk() })
	t.Run("ceph-fuse", func(t *testing.T) { l := *l; l.t = t; l.fuse() })
	t.Run("walks under load", func(t *testing.T) { l := *l; l.t = t; l.walksUnderLoad() })
	for _, p := range phases {
		t.Run(p.Name, func(t *testing.T) { l := *l; l.t = t; l.phase(p) })
	}
}

// need skips without what is missing; where nothing may be skipped, it fails.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("HANGTRACE_REQUIRE_BPF") == "1" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("left out: missing: %s", what)
}

// populate makes the pods and volumes of the table.
func populate(l *lab) {
	l.t.Helper()
	dir := l.t.TempDir()
	image, tree := filepath.Join(dir, "image"), filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		l.t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 256<<10) // zeros would become a hole
	for _, name := range []string{"big", "dirty"} {
		if err := os.WriteFile(filepath.Join(tree, name), big, 0o644); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		l.t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", tree, image).CombinedOutput(); err != nil {
		l.t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	l.cephlab("rbd", "import", "--no-progress", "--image-feature", "layering", image, "rbd/vol")
	// XFS wants 300 MB; what is a hole here is none in the cluster either.
	xfs := filepath.Join(dir, "xfs")
	if err := os.WriteFile(xfs, nil, 0o644); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Truncate(xfs, 300<<20); err != nil {
		l.t.Fatal(err)
	}
	// Options that kernels from 5.10 on know.
	if out, err := exec.Command("mkfs.xfs", "-q", "-m", "bigtime=0,inobtcount=0", "-i", "nrext64=0", xfs).CombinedOutput(); err != nil {
		l.t.Fatalf("mkfs.xfs: %v: %s", err, out)
	}
	l.cephlab("rbd", "import", "--no-progress", "--image-feature", "layering", xfs, "rbd/volx")

	setup, err := os.ReadFile("guest-setup.sh")
	if err != nil {
		l.t.Fatal(err)
	}
	l.mustGuest(90*time.Second, strings.Join([]string{
		"MONITOR=10.99.0.1", "DIRS='d1 d2 d3 d4 d5 d6 d7 d8'",
		"FLAT_UID=" + flatUID, "CSI_UID=" + csiUID, "RBD_UID=" + rbdUID, "GONE_UID=" + goneUID, "LAZY_UID=" + lazyUID, "XFS_UID=" + xfsUID,
		"CSI_PV=" + csiPV, "CSI_HANDLE=" + csiHandle, "RBD_PV=" + rbdPV, "RBD_HANDLE=" + rbdHandle,
		string(setup)}, "\n"))
}

// toolPath is where the guest finds the tool.
const toolPath = "/bin/hangtrace"

// installTool copies bin/hangtrace into the guest.
func installTool(l *lab) {
	l.t.Helper()
	file := os.Getenv("HANGTRACE_BIN")
	if file == "" {
		file = "../../bin/hangtrace"
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return // needTool tells
	}
	if err := os.WriteFile(filepath.Join(l.run, "share", "hangtrace"), program, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.mustGuest(30*time.Second, "cp /share/hangtrace "+toolPath+" && "+toolPath+" version")
}

func needTool(l *lab) {
	l.t.Helper()
	need(l.t, l.guest(10*time.Second, "test -x "+toolPath).code == 0, "bin/hangtrace (try: make build)")
}

// healthy is the control: threads wait in all sorts of ways, none hangs.
func (l *lab) healthy() {
	needTool(l)
	o := l.guest(150*time.Second, toolPath+" report --pid all --fs all "+within(120*time.Second)+" -o json")
	if o.code != 0 {
		l.t.Errorf("exit status %d on a healthy node, want 0\n%s", o.code, o.stderr)
	}
	r, err := parseReport([]byte(o.stdout))
	if err != nil {
		l.t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
	}
	for _, bad := range strangers(r.Hangs, nil) {
		l.t.Error(bad)
	}
}

// A started op is one with its process in the guest.
type started struct {
	hungOp
	pid int
	out string // its file in the guest
}

const (
	triggerOps, triggerVictims, triggerLate = "/run/lab/go.ops", "/run/lab/go.victims", "/run/lab/go.late"
)

// phase makes servers silent, starts the ops, and asks report and live.
func (l *lab) phase(p phase) {
	l.mustGuest(30*time.Second, "rm -rf /run/lab; mkdir -p /run/lab; cat "+flatMount+"/warm "+csiMount+"/warm")
	for _, words := range p.Before {
		l.cephlab(words...)
	}
	ops := l.start(p)
	isLate := func(s started) bool {
		return slices.ContainsFunc(p.Late, func(o hungOp) bool { return o.Name == s.Name })
	}
	early := slices.DeleteFunc(slices.Clone(ops), isLate)
	late := slices.DeleteFunc(slices.Clone(ops), func(s started) bool { return !isLate(s) })
	// Just before the freeze: what the client may answer from its cache expires.
	if len(p.Warm) > 0 {
		l.mustGuest(30*time.Second, "ls -ld "+strings.Join(p.Warm, " "))
	}

	for _, words := range p.Silence {
		l.cephlab(words...)
	}
	healed := p.Heal == nil
	heal := func() {
		for _, words := range p.Heal {
			l.cephlab(words...)
		}
		healed = true
	}
	defer func() {
		if !healed {
			heal()
		}
	}()
	since := time.Now()
	l.mustGuest(10*time.Second, "touch "+triggerOps)
	l.blocked("blocked", early[:len(p.Ops)])
	if len(p.Victims) > 0 {
		l.mustGuest(10*time.Second, "touch "+triggerVictims)
		l.blocked("blocked victims", early[len(p.Ops):])
	}
	for _, m := range p.Detach {
		l.mustGuest(10*time.Second, "umount -l "+m)
	}
	time.Sleep(2 * time.Second) // more than the threshold
	l.mustGuest(p.Settle+30*time.Second, fmt.Sprintf("sleep %d", int(p.Settle.Seconds())))

	l.in("report", func(l *lab) { needTool(l); l.report(early, since) })
	if p.Live {
		l.live(p, ops, late, since, heal)
	} else {
		heal()
	}
	if p.Degraded {
		l.in("degraded", func(l *lab) { l.degraded(early, since) })
	}
	if p.Heal != nil {
		l.in("healed", func(l *lab) { l.returned(ops) })
	}
}

func (l *lab) in(name string, f func(*lab)) bool {
	return l.t.Run(name, func(t *testing.T) { l := *l; l.t = t; f(&l) })
}

// start makes a process of each op; all are prepared (files open, mapped) when
// it returns, and wait for their trigger.
func (l *lab) start(p phase) []started {
	l.t.Helper()
	var script strings.Builder
	script.WriteString("start() { hangop -after \"$2\" \"$3\" \"$4\" >\"$1\" 2>&1 </dev/null & echo $!; }\n")
	var ops []started
	add := func(list []hungOp, trigger string) {
		for _, o := range list {
			s := started{hungOp: o, out: fmt.Sprintf("/run/lab/%d.out", len(ops))}
			ops = append(ops, s)
			fmt.Fprintf(&script, "start %s %s %s %s\n", s.out, trigger, o.Op, o.fullPath())
		}
	}
	add(p.Ops, triggerOps)
	add(p.Victims, triggerVictims)
	add(p.Late, triggerLate)
	pids := strings.Fields(l.mustGuest(30*time.Second, script.String()))
	if len(pids) != len(ops) {
		l.t.Fatalf("started %v, want %d", pids, len(ops))
	}
	for i := range ops {
		ops[i].pid, _ = strconv.Atoi(pids[i])
	}
	l.mustGuest(60*time.Second, `for i in $(seq 500); do
		n=$(cat /run/lab/*.out | grep -c ready); [ "$n" = `+strconv.Itoa(len(ops))+` ] && exit 0; sleep 0.1
	done; grep . /run/lab/*.out; exit 1`)
	return ops
}

// blocked waits until the kernel shows every op where the table says, and makes
// a subtest of each.
func (l *lab) blocked(name string, ops []started) {
	l.t.Helper()
	var facts []fact
	for range 40 {
		facts = l.facts(pidsOf(ops))
		if !slices.ContainsFunc(ops, func(o started) bool { return !isBlocked(o.hungOp, facts[slices.Index(pidsOf(ops), o.pid)]) }) {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	ok := l.in(name, func(l *lab) {
		for i, o := range ops {
			l.in(o.Name, func(l *lab) {
				if !isBlocked(o.hungOp, facts[i]) {
					l.t.Errorf("%s %s does not hang in %v: %+v", o.Op, o.fullPath(), o.Frames, facts[i])
				}
			})
		}
	})
	if !ok {
		l.t.Fatal("the lab does not hang as intended: nothing can be said about the tool")
	}
}

func isBlocked(o hungOp, f fact) bool {
	return f.State != "" && strings.Contains(o.States, f.State) &&
		slices.ContainsFunc(f.Stack, func(frame string) bool {
			function, _, _ := strings.Cut(frame, "+")
			return slices.Contains(o.Frames, function)
		})
}

func pidsOf(ops []started) []int {
	var pids []int
	for _, o := range ops {
		pids = append(pids, o.pid)
	}
	return pids
}

// report asks for a snapshot and checks each op.
func (l *lab) report(ops []started, since time.Time) {
	o := l.guest(150*time.Second, toolPath+" report --pid all --fs all "+within(120*time.Second)+" -o json")
	took := time.Since(since).Milliseconds() + 2000 // the clocks of host and guest drift
	if o.code != 3 {
		l.t.Errorf("exit status %d, want 3\n%s", o.code, o.stderr)
	}
	r, err := parseReport([]byte(o.stdout))
	if err != nil {
		l.t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
	}
	for _, bad := range strangers(r.Hangs, pidsOf(ops)) {
		l.t.Error(bad)
	}
	for _, bad := range slices.Concat(unexplained(r.Hangs), scattered(r.Hangs)) {
		l.t.Error(bad)
	}
	found := byTID(r.Hangs)
	for _, op := range ops {
		l.in(op.Name, func(l *lab) {
			hangs := found[op.pid]
			if len(hangs) != 1 {
				l.t.Fatalf("%s %s (tid %d) is reported %d times, want once", op.Op, op.fullPath(), op.pid, len(hangs))
			}
			l.check(op, ops, found, hangs[0], took)
		})
	}
}

// check compares one hang with the table.
func (l *lab) check(op started, ops []started, found map[int][]hang, h hang, maxMS int64) {
	l.t.Helper()
	want := op.hungOp
	for _, bad := range complaints(want, h, 1000, maxMS) {
		l.t.Error(bad)
	}
	if want.Behind != "" {
		root := rootOf(want.Behind, ops, found)
		if h.Role != "victim" || len(root) == 0 || h.WaitsBehind != root[0].ID {
			l.t.Errorf("role %q behind %q, want a victim of %s", h.Role, h.WaitsBehind, want.Behind)
		}
	} else if h.Role != "root" || h.WaitsBehind != "" {
		l.t.Errorf("role %q behind %q, want a root", h.Role, h.WaitsBehind)
	}
	if l.t.Failed() {
		text, _ := json.MarshalIndent(h, "", "  ")
		l.t.Logf("hang: %s", text)
	}
}

// rootOf finds the hangs of an op by its name, or those of the journal.
func rootOf(name string, ops []started, found map[int][]hang) []hang {
	if name == "jbd2" {
		for _, list := range found {
			if strings.HasPrefix(list[0].Task.Comm, "jbd2/rbd0") {
				return list
			}
		}
		return nil
	}
	i := slices.IndexFunc(ops, func(o started) bool { return o.Name == name })
	return found[ops[i].pid]
}

// live attaches to all ops, triggers the late ones once the probes are there,
// heals where the phase says so once everything is announced, and ends the tool
// as Ctrl-C does once everything has returned.
func (l *lab) live(p phase, ops, late []started, since time.Time, heal func()) {
	hasTool := l.guest(10*time.Second, "test -x "+toolPath).code == 0
	if hasTool {
		l.startLive(ops)
	}
	l.mustGuest(10*time.Second, "touch "+triggerLate)
	l.blocked("blocked late", late)
	if hasTool {
		l.awaitEvents("hang_seen", len(ops))
	} else {
		time.Sleep(3 * time.Second)
	}
	if p.Heal != nil {
		heal()
	}
	l.in("live", func(l *lab) {
		needTool(l)
		if p.Heal != nil {
			l.awaitEvents("hang_ended", len(ops))
		}
		l.mustGuest(30*time.Second, `kill -INT $(cat /run/lab/live.pid)
		for i in $(seq 200); do [ -e /run/lab/live.rc ] && exit 0; sleep 0.1; done; exit 1`)
		took := time.Since(since).Milliseconds() + 2000
		if rc := strings.TrimSpace(l.mustGuest(10*time.Second, "cat /run/lab/live.rc")); rc != "3" {
			l.t.Errorf("exit status %s, want 3: %s", rc, l.guest(10*time.Second, "cat /run/lab/live.err").stdout)
		}
		text := l.mustGuest(30*time.Second, "cat /run/lab/live")
		events, err := parseEvents([]byte(text))
		if err != nil {
			l.t.Fatalf("%v: %s", err, text)
		}
		l.checkEvents(p, ops, events, took)
	})
}

// startLive returns once the probes are attached.
func (l *lab) startLive(ops []started) {
	l.t.Helper()
	var pids strings.Builder
	for _, o := range ops {
		fmt.Fprintf(&pids, " --pid %d", o.pid)
	}
	l.mustGuest(60*time.Second, `( sh -c 'echo $$ >/run/lab/live.pid; exec `+toolPath+pids.String()+` --fs all --duration 400s -o ndjson \
		--ready-file /run/lab/ready' >/run/lab/live 2>/run/lab/live.err </dev/null; echo $? >/run/lab/live.rc ) >/dev/null 2>&1 &
	for i in $(seq 300); do [ -e /run/lab/ready ] && exit 0; [ -e /run/lab/live.rc ] && break; sleep 0.1; done
	cat /run/lab/live /run/lab/live.err; exit 1`)
}

// awaitEvents waits until the live tracer has said so many of a kind. What does
// not come is the checks' to tell.
func (l *lab) awaitEvents(kind string, n int) {
	l.t.Helper()
	l.guest(150*time.Second, fmt.Sprintf(`end=$(($(date +%%s) + 100))
	while [ "$(date +%%s)" -lt "$end" ]; do
		[ "$(grep -c '"event":"%s"' /run/lab/live)" -ge %d ] && exit 0; [ -e /run/lab/live.rc ] && exit 1; sleep 0.2
	done; exit 1`, kind, n))
}

func (l *lab) checkEvents(p phase, ops []started, events []event, maxMS int64) {
	var seen []hang
	ended := map[int]event{}
	for _, e := range events {
		switch e.Event {
		case "hang_seen":
			seen = append(seen, e.hang)
		case "hang_ended":
			if e.Task != nil {
				ended[e.Task.TID] = e
			}
		case "lost":
			l.t.Errorf("records were lost: %v", e.Lost)
		}
	}
	for _, bad := range strangers(seen, pidsOf(ops)) {
		l.t.Error(bad)
	}
	found := byTID(seen)
	for _, op := range ops {
		if op.Behind == "jbd2" {
			continue // live watches the ops alone, and so does not see the journal's thread
		}
		l.in(op.Name, func(l *lab) {
			if len(found[op.pid]) != 1 {
				l.t.Fatalf("%s %s (tid %d) has %d hang_seen events, want 1", op.Op, op.fullPath(), op.pid, len(found[op.pid]))
			}
			l.check(op, ops, found, found[op.pid][0], maxMS)
			if e, ok := ended[op.pid]; p.Heal != nil && (!ok || e.DurationNS == nil || *e.DurationNS < uint64(time.Second)) {
				text, _ := json.Marshal(e)
				l.t.Errorf("no hang_ended of more than 1 s: %s", text)
			}
		})
	}
}

// returned checks that the thaw ended every op: a lab that stays hung would make
// the next phase meaningless.
func (l *lab) returned(ops []started) {
	for _, o := range ops {
		l.in(o.Name, func(l *lab) {
			// A killed MDS that comes back waits for its clients first.
			l.mustGuest(150*time.Second, "for i in $(seq 1200); do grep -q done "+o.out+" && exit 0; sleep 0.1; done; cat "+o.out+"; exit 1")
		})
	}
}
