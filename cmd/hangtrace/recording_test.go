package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

const (
	recordedPod = "3e5c5b0c-7a57-4f6e-9f0e-5c2d8a1b9d42"
	recordedPV  = "pvc-orders"
)

// TestMakeRecordings makes testdata/recordings of real hangs, as root and only
// when asked to (HANGTRACE_MAKE_RECORDINGS=1): the scripts replay them.
func TestMakeRecordings(t *testing.T) {
	if os.Getenv("HANGTRACE_MAKE_RECORDINGS") != "1" {
		t.Skip("makes new recordings only with HANGTRACE_MAKE_RECORDINGS=1")
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ops     []string
		command []string
		thaw    bool
	}{
		"stat":  {[]string{"stat"}, []string{"report"}, false},
		"proc":  {[]string{"stat"}, []string{"report", "--backend", "proc"}, false},
		"ops":   {[]string{"stat", "read", "getdents", "fault", "unlink", "openat-dirfd"}, []string{"report"}, false},
		"lived": {[]string{"stat"}, []string{"live", "-d", "5s"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			raw := filepath.Join(t.TempDir(), "raw.rec")
			recordHang(t, raw, c.ops, c.command, c.thaw)
			anonymise(t, raw, filepath.Join(wd, "testdata/recordings", name+".rec"))
		})
	}
}

func recordHang(t *testing.T, file string, ops, command []string, thaw bool) {
	s := testkit.New(t)
	tree, err := testkit.NewKubeletTree(s.Dir)
	check(t, err)
	_, err = tree.Pod(recordedPod, "", "")
	check(t, err)
	point, err := tree.CSIMount(recordedPod, testkit.CSIVolume{
		PV: recordedPV, Driver: "cephfs.csi.ceph.com", Handle: "0001-0009-rook-ceph-" + recordedPV, Node: "node-1",
	})
	check(t, err)
	fs, err := s.MountHangFS(testkit.HangFSOptions{MountPoint: point})
	check(t, err)
	v, err := s.StartVictim("ops", append([]string{point}, ops...)...)
	check(t, err)
	check(t, fs.Freeze())
	_, err = v.Hang(len(ops))
	check(t, err)
	time.Sleep(1500 * time.Millisecond)
	args := append(append([]string{}, command...), "--pid", strconv.Itoa(v.PID), "--kubelet-root", tree.Root, "--record", file)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "hangtrace"
	if thaw {
		go func() {
			time.Sleep(2500 * time.Millisecond)
			fs.Thaw()
		}()
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitHung {
		t.Fatalf("%v, want exit code 3", err)
	}
	fs.Thaw()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// anonymise takes the machine out of a recording and leaves the testkit.
func anonymise(t *testing.T, from, to string) {
	in, err := os.Open(from)
	check(t, err)
	defer in.Close()
	rd, err := record.NewReader(in)
	check(t, err)
	out, err := os.Create(to)
	check(t, err)
	defer out.Close()
	w, err := record.NewWriter(out, rd.Header(), false)
	check(t, err)
	for {
		f, err := rd.Next()
		if errors.Is(err, io.EOF) {
			check(t, w.Close())
			const most = 1 << 20 // a walk sees the whole node: something else hung, too
			if info, err := out.Stat(); err != nil || info.Size() > most {
				t.Errorf("%s has more than %d bytes: record on a quiet machine", to, most)
			}
			return
		}
		check(t, err)
		if f.Snapshot != nil {
			withoutMachine(f.Snapshot)
		}
		switch f.Kind {
		case record.KindSnapshot:
			err = w.Snapshot(f.Snapshot)
		case record.KindRaw:
			err = w.Raw(f.Format, f.AtNS, f.Data)
		case record.KindSymbols:
			err = w.Symbols(f.Symbols)
		case record.KindNotice:
			if !strings.Contains(f.Notice, "/proc/1/root") {
				err = w.Notice(f.AtNS, f.Notice)
			}
		case record.KindLost:
			err = w.Lost(f.AtNS, f.Lost)
		}
		check(t, err)
	}
}

var fuseLine = regexp.MustCompile(` (\d+:\d+) / (/\S*sandbox-\S*) .* - fuse\.`)

func withoutMachine(s *facts.Snapshot) {
	s.Node.Hostname, s.Node.BootID = "node-1", "00000000-0000-4000-8000-000000000001"
	s.Node.Kernel, _, _ = strings.Cut(s.Node.Kernel, "-")
	wd, _ := os.Getwd()
	root := filepath.Dir(filepath.Dir(wd)) + "/"
	for i := range s.UserStacks {
		for j := range s.UserStacks[i].Frames {
			f := &s.UserStacks[i].Frames[j]
			if _, module, ok := strings.Cut(f.File, "/pkg/mod/"); ok {
				f.File = module
			}
			if _, standard, ok := strings.Cut(f.File, "/go/src/"); ok {
				f.File = standard
			}
			f.File = strings.Replace(f.File, root, "github.com/hangtrace/hangtrace/", 1)
		}
	}
	kept := make(map[string]bool)
	for i := range s.Mounts {
		var lines strings.Builder
		for line := range strings.Lines(s.Mounts[i].Text) {
			if m := fuseLine.FindStringSubmatch(line); m != nil {
				kept[m[1]] = true
				lines.WriteString(line)
			} else if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
				fmt.Fprintf(&lines, "%s %s %s / / rw,relatime - ext4 /dev/vda1 rw\n", f[0], f[1], f[2])
			}
		}
		s.Mounts[i].Text = lines.String()
	}
	var fuse []facts.FuseConnection
	for _, c := range s.Fuse {
		if kept[c.Device] {
			fuse = append(fuse, c)
		}
	}
	s.Fuse, s.Blocks, s.Skipped = fuse, nil, nil
	var degraded []string
	for _, d := range s.Degraded {
		if strings.HasPrefix(d, "backend proc") {
			degraded = append(degraded, d)
		}
	}
	s.Degraded = degraded
	var processes []facts.Process
	for _, p := range s.Processes {
		if p.Comm == testkit.VictimName {
			p.Cgroup = "0::/system.slice/kubelet.service\n"
			p.Exe = "/usr/bin/kubelet"
			processes = append(processes, p)
		}
	}
	s.Processes = processes
	for i := range s.Maps {
		var lines strings.Builder
		for line := range strings.Lines(s.Maps[i].Text) {
			if strings.Contains(line, recordedPod) {
				lines.WriteString(line)
			}
		}
		s.Maps[i].Text = lines.String()
	}
}
