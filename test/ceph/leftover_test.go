package ceph

import (
	"bytes"
	"crypto/md5"
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

// A vol is the volume of one pod.
type vol struct {
	kind string // as leftover-setup.sh takes it
	name string
	csi  bool // laid out as a CSI driver's, with vol_data.json
	rbd  int  // its device's number
}

// The volumes, named for what becomes of them.
var (
	idle     = vol{kind: "cephfs", name: "idle"}
	answers  = vol{kind: "cephfs", name: "answers", csi: true}
	outside  = vol{kind: "contained", name: "outside"}
	hangs    = vol{kind: "cephfs", name: "hangs"}
	orphan   = vol{kind: "cephfs", name: "orphan", csi: true}
	foreign  = vol{kind: "contained", name: "foreign"}
	alien    = vol{kind: "contained", name: "alien"}
	lazy     = vol{kind: "cephfs", name: "lazy"}
	stuck    = vol{kind: "cephfs", name: "stuck"}
	df       = vol{kind: "cephfs", name: "df"}
	df2      = vol{kind: "cephfs", name: "df2"}
	data     = vol{kind: "cephfs", name: "data"}
	wet      = vol{kind: "cephfs", name: "wet"}
	wetLazy  = vol{kind: "cephfs", name: "wetlazy"}
	wetFuse  = vol{kind: "fuse", name: "wetfuse"}
	fuseHung = vol{kind: "fuse", name: "fusehung"}
	fuseLazy = vol{kind: "fuse", name: "fuselazy"}
	fuseDead = vol{kind: "fuse", name: "fusedead"}
	disk     = vol{kind: "rbd", name: "disk", csi: true, rbd: 0}
	diskLazy = vol{kind: "rbd", name: "disklazy", csi: true, rbd: 1}
	diskIdle = vol{kind: "rbd", name: "diskidle", csi: true, rbd: 2}
	mapped   = vol{kind: "image", name: "mapped", csi: true, rbd: 3}

	vols = []vol{idle, answers, outside, hangs, orphan, foreign, alien, lazy, stuck, df, df2, data, wet, wetLazy,
		fuseHung, fuseLazy, fuseDead, wetFuse, disk, diskLazy, diskIdle, mapped}
)

// uid is made of the name, so that a failure can be read.
func (v vol) uid() string {
	sum := md5.Sum([]byte(v.name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:])
}

func (v vol) volumeName() string {
	if v.csi {
		return "pvc-" + v.name
	}
	return v.name
}

func (v vol) point() string {
	switch {
	case v.csi:
		return pods + v.uid() + "/volumes/kubernetes.io~csi/pvc-" + v.name + "/mount"
	case v.kind == "fuse":
		return pods + v.uid() + "/volumes/example.com~ceph-fuse/" + v.name
	}
	return pods + v.uid() + "/volumes/kubernetes.io~cephfs/" + v.name
}

// image is named as ceph-csi does: by the UUID that the volume's handle ends in.
func (v vol) image() string { return "csi-vol-" + v.uid() }

func (v vol) handle() string { return "handle-" + v.name + "-" + v.uid() }

func (v vol) device() string { return fmt.Sprintf("/dev/rbd%d", v.rbd) }

func (v vol) mountKind() string {
	switch v.kind {
	case "fuse":
		return "ceph-fuse"
	case "rbd", "image":
		return "rbd"
	}
	return "cephfs"
}

// TestCephLeftovers makes every leftover that real cephfs, ceph-fuse and rbd
// can make, and wants scan to find each, with its holder, volume and health,
// and nothing else. It then runs the commands that scan and report print.
func TestCephLeftovers(t *testing.T) {
	needLab(t, append(slices.Clone(guestPrograms), "ldd")...)
	l := newLab(t)
	installTool(l)
	needTool(l)
	l.installPrograms(guestPrograms)
	leaveNothingYet(l)
	for _, scene := range []struct {
		name string
		play func(*lab)
	}{
		{"server answers", (*lab).sceneAnswering},
		{"mds silent", (*lab).sceneMDS},
		{"mds and mon silent", (*lab).sceneMON},
		{"osd silent", (*lab).sceneOSD},
	} {
		if !l.in(scene.name, scene.play) {
			return // the next scene needs what this one was to clear
		}
	}
}

// leaveNothingYet makes pods and their volumes: a healthy node.
func leaveNothingYet(l *lab) {
	l.t.Helper()
	dir := l.t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "image")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(tree, "dir"), 0o755),
		os.WriteFile(filepath.Join(tree, "big"), bytes.Repeat([]byte("x"), 256<<10), 0o644),
		os.WriteFile(filepath.Join(tree, "dirty"), bytes.Repeat([]byte("x"), 256<<10), 0o644),
		os.WriteFile(image, nil, 0o644),
		os.Truncate(image, 16<<20),
	} {
		if err != nil {
			l.t.Fatal(err)
		}
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", tree, image).CombinedOutput(); err != nil {
		l.t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	var table strings.Builder
	for _, v := range vols {
		fmt.Fprintln(&table, v.kind, v.name, v.uid(), v.point())
		if v.mountKind() == "rbd" {
			l.cephlab("rbd", "import", "--no-progress", "--image-feature", "layering", image, "rbd/"+v.image())
		}
	}
	setup, err := os.ReadFile("leftover-setup.sh")
	if err != nil {
		l.t.Fatal(err)
	}
	l.mustGuest(120*time.Second, "MONITOR=10.99.0.1\nVOLUMES='"+strings.TrimSpace(table.String())+"'\n"+string(setup))
}

// background starts a program in the guest, and gives its PID.
func (l *lab) background(command string) int {
	l.t.Helper()
	text := l.mustGuest(20*time.Second, command+" >/dev/null 2>&1 </dev/null &\necho $!")
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		l.t.Fatalf("%s: no pid: %q", command, text)
	}
	return pid
}

// A call is one operation of hangop in the guest.
type call struct {
	pid int
	out string
}

// hang starts an operation on a volume and waits until it is blocked in one of
// the kernel's functions.
func (l *lab) hang(op string, v vol, path string, functions ...string) call {
	l.t.Helper()
	return l.hangAs("/bin/hangop", op, v, path, functions...)
}

// hangAs is hang with a program of another name, or behind nsenter.
func (l *lab) hangAs(program, op string, v vol, path string, functions ...string) call {
	l.t.Helper()
	c := l.launch(program, op, v, path)
	l.waits(c, functions...)
	return c
}

func (l *lab) launch(program, op string, v vol, path string) call {
	l.t.Helper()
	c := call{out: fmt.Sprintf("/run/lab/%s.%s", v.name, op)}
	// exec, or the PID would be that of a shell.
	text := l.mustGuest(20*time.Second, "( exec "+program+" "+op+" "+v.point()+path+" ) >"+c.out+" 2>&1 </dev/null &\necho $!")
	c.pid, _ = strconv.Atoi(strings.TrimSpace(text))
	return c
}

// waits wants a call to block in one of the kernel's functions.
func (l *lab) waits(c call, functions ...string) {
	l.t.Helper()
	var f fact
	for range 60 {
		f = l.facts([]int{c.pid})[0]
		for _, frame := range f.Stack {
			if name, _, _ := strings.Cut(frame, "+"); slices.Contains(functions, name) {
				return
			}
		}
		time.Sleep(250 * time.Millisecond)
	}
	l.t.Fatalf("the lab does not hang as intended: %s: %+v", c.out, f)
}

// number reads a file with a PID.
func (l *lab) number(file string) int {
	l.t.Helper()
	text := l.mustGuest(10*time.Second, "cat "+file)
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		l.t.Fatalf("%s: no number: %q", file, text)
	}
	return n
}

// ended waits for a call to return, and wants one of the errnos ("" for success).
func (l *lab) ended(c call, errnos ...string) {
	l.t.Helper()
	text := l.mustGuest(30*time.Second, "for i in $(seq 100); do grep done "+c.out+" && exit 0; sleep 0.1; done; cat "+c.out+"; exit 1")
	var done struct {
		Errno string `json:"errno"`
	}
	if err := json.Unmarshal([]byte(text), &done); err != nil || !slices.Contains(errnos, done.Errno) {
		l.t.Errorf("%s ended with %q, want errno %q", c.out, strings.TrimSpace(text), errnos)
	}
}

// blockedStill wants a call not to have returned.
func (l *lab) blockedStill(c call) {
	l.t.Helper()
	if o := l.guest(10*time.Second, "grep done "+c.out); o.code == 0 {
		l.t.Errorf("%s has returned: %s", c.out, o.stdout)
	}
}

// forget has the container runtime know a pod no more.
func (l *lab) forget(v vol) {
	l.t.Helper()
	l.mustGuest(10*time.Second, "rm -r /var/log/pods/shop_"+v.name+"_"+v.uid())
}
