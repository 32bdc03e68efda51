package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const labFSID = "6e5a0000-1ab0-4000-8000-00000000ceff"

// debugfs reads a client as a real Linux 6.1 showed it.
func debugfs(t *testing.T, scene string, id int) facts.CephState {
	t.Helper()
	name := fmt.Sprintf("%s.client%d", labFSID, id)
	files := make(map[string]string)
	for _, file := range CephDebugFiles {
		if text, err := os.ReadFile(filepath.Join("testdata", "debugfs-6.1", scene, name, file)); err == nil {
			files[file] = string(text)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no files of %s", name)
	}
	return CephDebugClient(name, files)
}

func TestCephDebugMDS(t *testing.T) {
	want := facts.CephState{
		Source: facts.SourceDebugfs, FSID: labFSID, ID: 4142, CephFS: true,
		MDS:  []facts.CephMDS{{Rank: 0, Address: "v1:10.99.0.1:6811", State: "up:active", Session: "open"}},
		OSDs: []facts.CephOSD{{ID: 0, Address: "v1:10.99.0.1:6801", State: "exists, up"}},
		Pools: []facts.CephPool{{ID: 1, Name: "cephfs_meta"}, {ID: 2, Name: "cephfs_data"}, {ID: 3, Name: "rbd"},
			{ID: 4, Name: "device_health_metrics"}},
		MDSRequests: []facts.CephMDSRequest{
			{TID: 4, Op: "readdir", Ino: 0x10000000203},
			{TID: 5, Op: "open", Ino: 0x1000000020c, Name: "file", Path: "d7/file"},
			{TID: 6, Op: "lookup", Ino: 0x10000000000, Name: "d1", Path: "d1"},
			{TID: 7, Op: "lookup", Ino: 0x10000000000, Name: "d8", Path: "d8"},
		},
	}
	if diff := cmp.Diff(want, debugfs(t, "mds", 4142)); diff != "" {
		t.Error(diff)
	}
}

func TestCephDebugOSD(t *testing.T) {
	c := debugfs(t, "osd", 4144)
	want := []facts.CephOSDRequest{
		{TID: 35, OSD: 0, Pool: 3, PG: "3.6", Object: "rbd_data.102c979f3b4a.0000000000000000", Op: "read", Attempts: 1},
		{TID: 36, OSD: 0, Pool: 3, PG: "3.2", Object: "rbd_header.102c979f3b4a", Op: "watch-ping", Attempts: 1},
		{TID: 18446462598732840961, OSD: 0, Pool: 3, PG: "3.2", Object: "rbd_header.102c979f3b4a", Op: "WC/0", Attempts: 0, Linger: true},
	}
	if diff := cmp.Diff(want, c.OSDRequests); diff != "" {
		t.Error(diff)
	}
	if c.CephFS || len(c.MONs) != 1 || c.MONs[0] != (facts.CephMON{Rank: 0, Address: "v1:10.99.0.1:6789"}) {
		t.Errorf("cephfs %v, monitors %v", c.CephFS, c.MONs)
	}
	if c := debugfs(t, "osd", 4142); len(c.MONRequests) != 1 || c.MONRequests[0] != (facts.CephMONRequest{TID: 1, Op: "statfs"}) {
		t.Errorf("requests to monitors: %v", c.MONRequests)
	}
}

func TestCephCapWaiters(t *testing.T) {
	text, err := os.ReadFile("testdata/debugfs-6.1/caps/caps")
	must(t, err)
	_, rest, ok := strings.Cut(string(text), CephCapsWaiters+"\n")
	if !ok {
		t.Fatal("no line " + CephCapsWaiters)
	}
	want := []facts.CephCapWaiter{{TGID: 976, Ino: 0x10000000009, Need: "Fr", Want: "Fc"}}
	if diff := cmp.Diff(want, CephCapWaiters(rest)); diff != "" {
		t.Error(diff)
	}
}

// TestMDSTarget holds the awkward names: the format does not quote them.
func TestMDSTarget(t *testing.T) {
	for _, c := range []struct {
		line string
		want facts.CephMDSRequest
	}{
		{"9\tmds1\tgetattr\t #1", facts.CephMDSRequest{TID: 9, Rank: 1, Op: "getattr", Ino: 1}},
		{"9\t(no request)\tgetattr\t #1", facts.CephMDSRequest{TID: 9, Rank: -1, Op: "getattr", Ino: 1}},
		{"9\tmds0\tcreate\t(unsafe) #1/f (a/f)", facts.CephMDSRequest{TID: 9, Op: "create", Ino: 1, Name: "f", Path: "a/f", Unsafe: true}},
		{"9\tmds0\trename\t #1/n (a/n) #2/o (b/o)", facts.CephMDSRequest{TID: 9, Op: "rename", Ino: 1, Name: "n", Path: "a/n", Ino2: 2, Name2: "o", Path2: "b/o"}},
		{"9\tmds0\topen\t #1/x (1).txt (a/x (1).txt)", facts.CephMDSRequest{TID: 9, Op: "open", Ino: 1, Name: "x (1).txt", Path: "a/x (1).txt"}},
		{"9\tmds0\tlookup\t #1/a\tb (c/a\tb)", facts.CephMDSRequest{TID: 9, Op: "lookup", Ino: 1, Name: "a\tb", Path: "c/a\tb"}},
		{"9\tmds0\tlookupsnap\t #10/.snap ()", facts.CephMDSRequest{TID: 9, Op: "lookupsnap", Ino: 16, Name: ".snap"}},
		{"9\tmds0\tlookupino\t #1/p", facts.CephMDSRequest{TID: 9, Op: "lookupino", Ino: 1, Name: "p"}},
	} {
		got := parseMDSC(c.line + "\n")
		if len(got) != 1 {
			t.Errorf("%q: %d requests", c.line, len(got))
			continue
		}
		if diff := cmp.Diff(c.want, got[0]); diff != "" {
			t.Errorf("%q: %s", c.line, diff)
		}
	}
	// A name with a line break makes two lines of one: the half is no request.
	if got := parseMDSC("9\tmds0\topen\t #1/a\nb (a\nb)\n10\tmds0\topen\t #2\n"); len(got) != 2 || got[1].TID != 10 {
		t.Errorf("%v", got)
	}
}

func TestPausedAndHomeless(t *testing.T) {
	text := "REQUESTS 1 homeless 1\n7\tosd-1\t2.fc867f77\t2.7\t[]/-1\t[]/-1\te9\tns/1.0\t0x24\tP\t0\twrite,setxattr\nLINGER REQUESTS\nBACKOFFS\n"
	want := []facts.CephOSDRequest{{TID: 7, OSD: -1, Pool: 2, PG: "2.7", Object: "ns/1.0", Paused: true, Op: "write,setxattr"}}
	if diff := cmp.Diff(want, parseOSDC(text)); diff != "" {
		t.Error(diff)
	}
}

// daemonAnswers are a real ceph-fuse 16.2's.
func daemonAnswers(t *testing.T) map[string][]byte {
	answers := make(map[string][]byte)
	for _, command := range CephDaemonCommands {
		text, err := os.ReadFile("testdata/ceph-fuse-16.2/" + command)
		must(t, err)
		answers[command] = text
	}
	return answers
}

func TestCephDaemon(t *testing.T) {
	got, err := CephDaemonClient(7, daemonAnswers(t))
	must(t, err)
	object := facts.CephOSDRequest{TID: 5, OSD: 0, Pool: 2, PG: "2.d45b2d74", Object: "10000000009.00000000", Op: "read 0~131072", Attempts: 1, AgeMS: 3520}
	if len(got.OSDRequests) != 3 || got.OSDRequests[1] != object {
		t.Errorf("requests to OSDs: %v", got.OSDRequests)
	}
	got.OSDRequests = nil
	want := facts.CephState{
		Source: facts.SourceAdminSocket, PID: 7, ID: 4155, CephFS: true, Point: "/mnt/fuse",
		MDS:         []facts.CephMDS{{Rank: 0, Address: "v2:10.99.0.1:6810", Session: "open"}},
		MDSRequests: []facts.CephMDSRequest{{TID: 6, Op: "lookup", Ino: 0x10000000000, Name: "d3", AgeMS: 3979, Attempts: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// All requests stand under the same key.
	two := map[string][]byte{"mds_requests": []byte(`{"request":{"tid":1,"op":"a","mds":0},"request":{"tid":2,"op":"b","mds":-1}}`)}
	if got, err := CephDaemonClient(7, two); err != nil || len(got.MDSRequests) != 2 || got.MDSRequests[1].Rank != -1 {
		t.Errorf("%v, %v", got.MDSRequests, err)
	}
	if _, err := CephDaemonClient(7, map[string][]byte{"status": []byte("admin_socket: exception")}); err == nil {
		t.Error("nonsense was taken as an answer")
	}
}

func FuzzCephDebugClient(f *testing.F) {
	for _, scene := range []string{"mds", "osd"} {
		for id := 4142; id <= 4144; id++ {
			for _, file := range CephDebugFiles {
				if text, err := os.ReadFile(fmt.Sprintf("testdata/debugfs-6.1/%s/%s.client%d/%s", scene, labFSID, id, file)); err == nil {
					f.Add(file, string(text))
				}
			}
		}
	}
	f.Add("mdsc", "1\tmds0\trename\t #1/a (b) #2/( (((\n")
	f.Fuzz(func(t *testing.T, file, text string) {
		c := CephDebugClient(labFSID+".client1", map[string]string{file: text})
		for _, r := range c.MDSRequests {
			if r.Rank < -1 {
				t.Errorf("rank %d", r.Rank)
			}
		}
		for _, r := range c.OSDRequests {
			if r.OSD < -1 || r.Attempts < -1 {
				t.Errorf("%v", r)
			}
		}
		CephCapWaiters(text)
	})
}

func FuzzCephDaemonClient(f *testing.F) {
	for _, command := range CephDaemonCommands {
		text, err := os.ReadFile("testdata/ceph-fuse-16.2/" + command)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(command, text)
	}
	f.Fuzz(func(_ *testing.T, command string, text []byte) {
		_, _ = CephDaemonClient(1, map[string][]byte{command: text})
	})
}
