package capture

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/storage"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

const fsid = "6e5a0000-1ab0-4000-8000-00000000ceff"

// fakeDebugfs has three ceph clients below dir, each with one MDS request and
// one waiter for capabilities.
func fakeDebugfs(t *testing.T, dir string) string {
	t.Helper()
	files := map[string]string{
		"mdsc": "4\tmds0\treaddir\t #10000000203\n", "osdc": "REQUESTS 0 homeless 0\nLINGER REQUESTS\nBACKOFFS\n", "monc": "have osdmap 13\n",
		"mds_sessions": "global_id 1\nname \"admin\"\nmds.0 open\n", "mdsmap": "epoch 5\n\tmds0\t(1)10.99.0.1:6811\t(up:active)\n",
		"osdmap": "epoch 13 flags 0x0\n", "monmap": "epoch 1\n", "status": "blocklisted: false\n",
		"caps": "total\t\t1\n0x1  0  p  p\n\nWaiters:\n--------\ntgid ino need want\n-----\n976  0x10000000009  Fr  Fc\n",
	}
	for _, client := range []string{"1", "2", "3"} {
		place := filepath.Join(dir, "kernel/debug/ceph", fsid+".client"+client)
		must(t, os.MkdirAll(place, 0o755))
		for name, text := range files {
			must(t, os.WriteFile(filepath.Join(place, name), []byte(text), 0o644))
		}
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readDebugfs reads the clients below sys, in the time that a report has.
func readDebugfs(t *testing.T, sys string) *facts.Snapshot {
	t.Helper()
	p := proc.New("/proc")
	s := &Session{opts: Options{Proc: p, Sys: sys, Runner: expendable.NewRunner(expendable.Options{Proc: p})}, cache: newCache()}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	snap := new(facts.Snapshot)
	begin := time.Now()
	s.cephDebugfs(ctx, snap, true)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	return snap
}

// clientsOf lists the clients whose requests, and whose waiters, were read.
func clientsOf(snap *facts.Snapshot) (requests, waiters []uint64) {
	for _, c := range snap.Ceph {
		if len(c.MDSRequests) == 1 && len(c.MDS) == 1 && c.MDS[0].Session == "open" {
			requests = append(requests, c.ID)
		}
		if len(c.CapWaiters) == 1 && c.CapWaiters[0].TGID == 976 {
			waiters = append(waiters, c.ID)
		}
	}
	return requests, waiters
}

func skippedText(snap *facts.Snapshot) string {
	var b strings.Builder
	for _, s := range snap.Skipped {
		b.WriteString(s.What + ": " + s.Why + "\n")
	}
	return b.String()
}

var all = []uint64{1, 2, 3}

func TestCephDebugfs(t *testing.T) {
	snap := readDebugfs(t, fakeDebugfs(t, t.TempDir()))
	if requests, waiters := clientsOf(snap); !slices.Equal(requests, all) || !slices.Equal(waiters, all) {
		t.Errorf("requests of %v, waiters of %v; want of %v", requests, waiters, all)
	}
	if len(snap.Skipped)+len(snap.Degraded) > 0 {
		t.Errorf("skipped %v, degraded %v", snap.Skipped, snap.Degraded)
	}
}

func TestCephDebugfsMissing(t *testing.T) {
	empty, other := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(empty, "kernel/debug"), 0o755))
	must(t, os.MkdirAll(filepath.Join(other, "kernel/debug/bdi"), 0o755))
	for sys, want := range map[string]string{
		empty: "is not mounted", other: "has no ceph directory", filepath.Join(empty, "no"): "is not mounted",
	} {
		snap := readDebugfs(t, sys)
		if len(snap.Degraded) != 1 || !strings.Contains(snap.Degraded[0], want) || len(snap.Skipped) > 0 {
			t.Errorf("degraded %v, skipped %v; want %q", snap.Degraded, snap.Skipped, want)
		}
	}
}

// TestCephDebugfsHangs plants a file system that does not answer in the place of
// debugfs, of one client, and of one client's capabilities: what hangs is named,
// and nothing of the rest is lost.
func TestCephDebugfsHangs(t *testing.T) {
	box := testkit.New(t)
	frozen := func(t *testing.T, files ...string) *testkit.HangFS {
		fs, err := box.MountHangFS(testkit.HangFSOptions{MountPoint: filepath.Join(t.TempDir(), "m"), FSType: "fuse.x"})
		must(t, err)
		must(t, fs.Fill(10, files...))
		return fs
	}
	cover := func(t *testing.T, fs *testkit.HangFS, from, to string) {
		must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
		t.Cleanup(func() {
			must(t, fs.Thaw())
			must(t, unix.Unmount(to, unix.MNT_DETACH))
			must(t, unix.Unmount(fs.MountPoint, unix.MNT_DETACH))
		})
	}
	t.Run("debugfs", func(t *testing.T) {
		sys := fakeDebugfs(t, t.TempDir())
		fs := frozen(t, "ceph/x")
		cover(t, fs, fs.MountPoint, filepath.Join(sys, "kernel/debug"))
		must(t, fs.Freeze())
		snap := readDebugfs(t, sys)
		if len(snap.Ceph) > 0 || !strings.Contains(skippedText(snap), "requests of the kernel's ceph clients") {
			t.Errorf("clients %v, skipped %q", snap.Ceph, skippedText(snap))
		}
	})
	t.Run("a client", func(t *testing.T) {
		sys := fakeDebugfs(t, t.TempDir())
		fs := frozen(t, storage.CephDebugFiles...)
		cover(t, fs, fs.MountPoint, filepath.Join(sys, "kernel/debug/ceph", fsid+".client2"))
		must(t, fs.Freeze("LOOKUP", "OPEN", "READ"))
		snap := readDebugfs(t, sys)
		requests, _ := clientsOf(snap)
		if !slices.Equal(requests, []uint64{1, 3}) || !strings.Contains(skippedText(snap), "requests of ceph client "+fsid+".client2") {
			t.Errorf("requests of %v, want of 1 and 3; skipped %q", requests, skippedText(snap))
		}
	})
	t.Run("capabilities", func(t *testing.T) {
		sys := fakeDebugfs(t, t.TempDir())
		fs := frozen(t, "caps")
		cover(t, fs, filepath.Join(fs.MountPoint, "caps"), filepath.Join(sys, "kernel/debug/ceph", fsid+".client2/caps"))
		must(t, fs.Freeze("OPEN", "READ", "GETATTR"))
		snap := readDebugfs(t, sys)
		requests, waiters := clientsOf(snap)
		if !slices.Equal(requests, all) || !slices.Equal(waiters, []uint64{1}) || !strings.Contains(skippedText(snap), "who waits for ceph capabilities") {
			t.Errorf("requests of %v, waiters of %v; skipped %q", requests, waiters, skippedText(snap))
		}
	})
}

func TestReachOf(t *testing.T) {
	for _, c := range []struct {
		in   expendable.Dialed
		want string
	}{
		{expendable.Dialed{}, facts.ReachReachable}, {expendable.Dialed{Errno: "ECONNREFUSED"}, facts.ReachRefused},
		{expendable.Dialed{Errno: "ETIMEDOUT"}, facts.ReachNoAnswer}, {expendable.Dialed{Errno: "EHOSTUNREACH"}, facts.ReachNoAnswer},
		{expendable.Dialed{Err: "no address"}, facts.ReachUnknown},
	} {
		if got := reachOf(c.in); got.Outcome != c.want || c.want != facts.ReachReachable && got.Why == "" {
			t.Errorf("%+v: %+v, want %s", c.in, got, c.want)
		}
	}
}
