package ceph

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// lists are the phases of the test without a walk: what is left then are the
// kernel client's own lists in debugfs.
var lists = []struct {
	name   string
	freeze []string
	ops    []listed
}{
	{"mds", []string{"mds"}, []listed{
		{hungOp{Name: "lookup by path", Op: "stat", Mount: flatMount, Path: "nosuch", States: "D", Frames: mdsWait}, "mds.0", ":68", "lookup"},
		{hungOp{Name: "readdir by inode", Op: "ls", Mount: csiMount, Path: "d8", States: "D", Frames: mdsWait}, "mds.0", ":68", "readdir"},
	}},
	{"osd and mon", []string{"osd", "mon"}, []listed{
		{hungOp{Name: "read by inode", Op: "read", Mount: csiMount, Path: "listed", States: "D", Frames: pageWait}, "osd.0", ":68", "read"},
		{hungOp{Name: "read of ext4 on rbd", Op: "read", Mount: rbdMount, Path: "listed", States: "D", Frames: pageWait}, "osd.0", ":68", "read"},
		{hungOp{Name: "statfs", Op: "statfs", Mount: flatMount, States: "S", Frames: []string{"wait_generic_request"}}, "mon.0", ":6789", "statfs"},
	}},
}

// listed is an op and whom it must be said to wait for.
type listed struct {
	hungOp
	server, port, request string
}

// withoutWalk hangs a few operations and asks a hangtrace that has /proc alone
// for the server, its address and the request.
func (l *lab) withoutWalk() {
	needTool(l)
	for _, p := range lists {
		l.in(p.name, func(l *lab) {
			// Files that no other phase uses, known and not cached.
			l.mustGuest(30*time.Second, "rm -rf /run/lab; mkdir -p /run/lab; cat "+flatMount+"/warm >/dev/null; cd "+csiMount+"; "+
				"for f in listed "+rbdMount+"/listed; do [ -e $f ] || dd if=/dev/urandom of=$f bs=64k count=1 2>/dev/null; done; "+
				"sync; echo 3 >/proc/sys/vm/drop_caches; ls -ld listed d8 "+rbdMount+"/listed")
			ph := phase{Name: p.name}
			for _, o := range p.ops {
				ph.Ops = append(ph.Ops, o.hungOp)
			}
			ops := l.start(ph)
			l.cephlab(append([]string{"freeze"}, p.freeze...)...)
			defer l.cephlab("thaw")
			l.mustGuest(10*time.Second, "touch "+triggerOps)
			l.blocked("blocked", ops)
			o := l.guest(150*time.Second, toolPath+" report --backend proc --pid all --fs all --probe-network "+within(120*time.Second)+" -o json")
			var r listedReport
			if err := json.Unmarshal([]byte(o.stdout), &r); o.code != 3 || err != nil {
				l.t.Fatalf("exit status %d, %v: %s%s", o.code, err, o.stdout, o.stderr)
			}
			for i, op := range ops {
				want := p.ops[i]
				l.in(op.Name, func(l *lab) { l.checkListed(want, op.pid, r) })
			}
		})
	}
}

// listedReport is what this test wants to know of a report.
type listedReport struct {
	Hangs []struct {
		Task struct {
			TID int `json:"tid"`
		} `json:"task"`
		On struct {
			Name, Address, Source, Reach string
			Request                      struct {
				Op      string `json:"op"`
				ForMS   int64  `json:"for_ms"`
				AtLeast bool   `json:"at_least"`
			}
			Evidence []string
		} `json:"waiting_on"`
	} `json:"hangs"`
}

func (l *lab) checkListed(want listed, tid int, r listedReport) {
	for _, h := range r.Hangs {
		if h.Task.TID != tid {
			continue
		}
		on := h.On
		if on.Name != want.server || !strings.Contains(on.Address, "10.99.0.1"+want.port) || on.Source != "debugfs" {
			l.t.Errorf("waits for %q %q by %q, want %s 10.99.0.1%s... by debugfs", on.Name, on.Address, on.Source, want.server, want.port)
		}
		// A frozen server's kernel still takes connections.
		if on.Reach != "reachable" {
			l.t.Errorf("its address is %q, want reachable", on.Reach)
		}
		// Read-ahead may ask for several objects: then which one is not known.
		several := strings.Contains(strings.Join(on.Evidence, " "), "which of them this thread waits for is not known: ") &&
			strings.Contains(strings.Join(on.Evidence, " "), " "+want.request+" ")
		if q := on.Request; several && q.Op == "" {
			return
		} else if !strings.Contains(q.Op, want.request) || q.ForMS < 1000 || !q.AtLeast {
			l.t.Errorf("request %+v, want a %s of at least 1 s", q, want.request)
		}
		if l.t.Failed() {
			l.t.Logf("%+v", h)
		}
		return
	}
	l.t.Errorf("no hang of thread %d", tid)
}

func TestListedAreInTheTable(t *testing.T) {
	for _, p := range lists {
		for _, o := range p.ops {
			if _, ok := volumes[o.Mount]; !ok || o.server == "" {
				t.Errorf("%s: no volume or server", o.Name)
			}
		}
	}
}
