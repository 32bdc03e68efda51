package ceph

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fuseScript hangs a real ceph-fuse on the host, in a mount namespace of its own
// and in the cluster's network, in two ways, kills it, and prints what the tool
// says of each. Whatever happens, the daemon dies and the MDS runs again.
const fuseScript = `
set -u
dir=$(mktemp -d /tmp/hangtrace-fuse.XXXXXX)
mkdir "$dir/m"
ceph-fuse -f -c "$CONF" "$dir/m" >"$dir/log" 2>&1 &
fuse=$!
leave() { kill -CONT $fuse; kill -KILL $fuse; ./cephlab.sh thaw; umount -l "$dir/m"; rm "$dir/log"; rmdir "$dir/m" "$dir"; }
trap 'leave 2>/dev/null' EXIT
trap 'exit 1' INT TERM HUP
for i in $(seq 200); do grep -q " $dir/m " /proc/self/mountinfo && break; sleep 0.1; done
ask() { echo "--- $1"; shift; timeout 40 "$TOOL" "$@" --deadline 20s -o json; }
./cephlab.sh freeze mds
timeout 100 stat "$dir/m/nosuch1" >/dev/null 2>&1 &
sleep 3
ask mds report --pid all --fs ceph-fuse
./cephlab.sh thaw
sleep 2
kill -STOP $fuse
timeout 100 stat "$dir/m/nosuch2" >/dev/null 2>&1 &
sleep 3
ask stopped report --pid all --fs ceph-fuse
kill -CONT $fuse
sleep 1
kill -KILL $fuse
sleep 1
ask killed scan --fs ceph-fuse
echo "--- end $dir/m"
`

// fuse wants a frozen MDS, a stopped daemon and a dead one to be told apart.
func (l *lab) fuse() {
	for _, c := range []string{"ceph-fuse", "unshare"} {
		_, err := exec.LookPath(c)
		need(l.t, err == nil, "command "+c)
	}
	tool, err := filepath.Abs("../../bin/hangtrace")
	if err != nil {
		l.t.Fatal(err)
	}
	o := l.script(180*time.Second, "", "cephlab.sh", "netns", "env", "CONF="+l.run+"/ceph.conf", "TOOL="+tool,
		"unshare", "-m", "--propagation", "private", "sh", "-c", fuseScript)
	said := make(map[string]string)
	for part := range strings.SplitSeq(o.stdout, "--- ") {
		name, text, _ := strings.Cut(part, "\n")
		said[name] = text
	}
	point := ""
	for name := range said {
		if rest, ok := strings.CutPrefix(name, "end "); ok {
			point = rest
		}
	}
	if point == "" {
		l.t.Fatalf("the script did not end: status %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	l.in("mds frozen", func(l *lab) {
		h := l.onFuse(said["mds"], point)
		if d := h.On.Daemon; !strings.HasPrefix(h.On.Name, "ceph-fuse[") || h.On.State == "daemon stopped (state T)" || d == nil ||
			d.Name != "mds.0" || !strings.Contains(d.Address, "10.99.0.1:68") || d.Source != "admin_socket" {
			l.t.Errorf("waits for %+v, behind it %+v; want a running ceph-fuse, and mds.0 with its address behind it", h.On, d)
		}
	})
	l.in("daemon stopped", func(l *lab) {
		h := l.onFuse(said["stopped"], point)
		if !strings.HasPrefix(h.On.Name, "ceph-fuse[") || !strings.Contains(h.On.State, "daemon stopped") || h.On.Daemon != nil {
			l.t.Errorf("waits for %+v, behind it %+v; want a stopped ceph-fuse and nobody behind it", h.On, h.On.Daemon)
		}
	})
	l.in("daemon killed", func(l *lab) {
		var scan struct {
			Leftovers []struct{ Class, Path string }
		}
		if err := json.Unmarshal([]byte(said["killed"]), &scan); err != nil {
			l.t.Fatalf("%v: %s", err, said["killed"])
		}
		for _, left := range scan.Leftovers {
			if left.Class == "dead_fuse_connection" && left.Path == point {
				return
			}
		}
		l.t.Errorf("no dead connection at %s: %s", point, said["killed"])
	})
}

// onFuseHang is what this test wants to know of a hang.
type onFuseHang struct {
	Mount struct{ Point string } `json:"mount"`
	On    struct {
		Name, State string
		Daemon      *struct{ Name, Address, Source string } `json:"daemon_waits_on"`
	} `json:"waiting_on"`
}

func (l *lab) onFuse(text, point string) onFuseHang {
	var r struct{ Hangs []onFuseHang }
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		l.t.Fatalf("%v: %s", err, text)
	}
	for _, h := range r.Hangs {
		if h.Mount.Point == point {
			return h
		}
	}
	l.t.Fatalf("no hang on %s: %s", point, text)
	return onFuseHang{}
}
