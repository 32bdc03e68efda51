package loader

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/events"
)

// TestWalkCephUnderLoad walks while files, directories and mounts of kernel
// cephfs come and go. test/ceph runs it in its guest: HANGTRACE_WALK_CEPH is a
// directory on cephfs, HANGTRACE_WALKS the number of walks.
func TestWalkCephUnderLoad(t *testing.T) {
	dir := os.Getenv("HANGTRACE_WALK_CEPH")
	if dir == "" {
		t.Skip("left out: needs a cephfs mount (try: make test-ceph)")
	}
	walks, err := strconv.Atoi(os.Getenv("HANGTRACE_WALKS"))
	require.NoError(t, err)
	w := newWalker(t)
	clock := walkClock(t)
	silent := kernelLog(t)
	stop := load(t.TempDir(), dir)
	defer stop()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "b")); return err == nil }, time.Minute, 10*time.Millisecond)

	var before events.Walk
	var longest uint64
	most, seen := 0, 0
	for i := range walks {
		pass, err := w.Walk(WalkOptions{Inodes: i%2 == 0})
		require.NoError(t, err)
		now, err := events.DecodeWalk(pass, clock)
		require.NoError(t, err)
		most, longest = max(most, len(pass.Data)), max(longest, now.TookNS)
		checkCephCounts(t, i, now)
		if i > 0 {
			both := events.AgreeWalks(before, now)
			checkPlausible(t, i, both)
			checkPlausibleCeph(t, i, both)
		}
		seen += len(now.MDSRequests) + len(now.OSDRequests)
		before = now
	}
	stop()
	silent()
	// A walk led round a list would take its bound: minutes in this guest.
	require.Less(t, time.Duration(longest), time.Minute)
	require.Less(t, most, 4<<20, "records of one walk")
	require.NotZero(t, seen, "the load never had a request open while a walk looked")
	t.Logf("%d walks, at most %d bytes and %v each; %d requests seen; %v", walks, most, time.Duration(longest), seen, before.Stats)
}

// checkCephCounts: the load's few threads have a few requests each, delayed
// releases and readahead included. A walk that is led astray finds thousands.
func checkCephCounts(t *testing.T, i int, w events.Walk) {
	t.Helper()
	const most = 256
	if len(w.MDSRequests) > most || len(w.OSDRequests) > most || len(w.CapWaits) > most || len(w.MONRequests) > most {
		t.Fatalf("walk %d: %d MDS, %d OSD, %d MON requests, %d cap waits: %v", i,
			len(w.MDSRequests), len(w.OSDRequests), len(w.MONRequests), len(w.CapWaits), w.Stats)
	}
	for _, c := range w.Clients {
		if c.Requests < 0 || c.Requests > most {
			t.Fatalf("walk %d: bogus client %+v", i, c)
		}
	}
}

func checkPlausibleCeph(t *testing.T, i int, w events.Walk) {
	t.Helper()
	for _, r := range w.MDSRequests {
		if strings.HasPrefix(r.OpName, "op ") || r.Dev == 0 || r.TID == 0 || r.Rank > 15 || time.Duration(r.AgeNS) > time.Hour {
			t.Fatalf("walk %d: bogus request %+v", i, r)
		}
		checkWaiters(t, i, r.Waiters)
	}
	for _, r := range w.OSDRequests {
		if r.Object == "" || r.TID == 0 || r.OSD > 1<<16 || time.Duration(r.AgeNS) > time.Hour {
			t.Fatalf("walk %d: bogus request %+v", i, r)
		}
		checkWaiters(t, i, r.Waiters)
	}
	for _, s := range w.Sessions {
		if s.Rank < 0 || s.Rank > 15 || s.Conn > events.ConnStandby {
			t.Fatalf("walk %d: bogus session %+v", i, s)
		}
	}
}

// kernelLog returns a function that fails the test if the kernel has complained
// since.
func kernelLog(t *testing.T) func() {
	t.Helper()
	read := func() []string {
		buf := make([]byte, 1<<20)
		n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
		require.NoError(t, err)
		return complaints(string(buf[:n]))
	}
	before := read()
	return func() {
		t.Helper()
		for _, line := range read() {
			if !slices.Contains(before, line) { // the times in front make lines unique
				t.Errorf("the kernel says: %s", line)
			}
		}
	}
}

// complaints are the lines of a kernel log that tell of a fault of its own.
func complaints(text string) []string {
	var bad []string
	for line := range strings.Lines(text) {
		for _, sign := range []string{"BUG:", "WARNING:", "Oops", "general protection", "unable to handle", "rcu_sched", "rcu_preempt", "soft lockup", "bpf_"} {
			if strings.Contains(line, sign) {
				bad = append(bad, line)
				break
			}
		}
	}
	return bad
}

func TestComplaints(t *testing.T) {
	got := complaints(`<6>[    1.000000] EXT4-fs (vda1): mounted filesystem
<4>[    2.000000] WARNING: CPU: 0 PID: 1 at fs/fuse/dev.c:1
<1>[    3.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008
<6>[    4.000000] ceph: mds0 hung
`)
	require.Len(t, got, 2)
}
