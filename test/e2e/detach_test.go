package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// detachedOps reach the volume in every way a path can be known.
var detachedOps = []string{"stat", "open", "read", "getdents", "openat-dirfd", "openat-cwd", "fault"}

// TestDetachedMountIsStillNamed unmounts the volume lazily under blocked
// threads. Live has seen the mount before; report comes too late.
func TestDetachedMountIsStillNamed(t *testing.T) {
	s := newStage(t)
	fs := s.csi(podUID, pvName)
	v := s.victim("ops", append([]string{fs.MountPoint}, detachedOps...)...)
	l := watch(t, s.Sandbox, pid(v.PID), "--threshold=2s", s.kubeletRoot())
	time.Sleep(time.Second) // the first snapshot is what knows the mount
	lines := s.hang(v, fs, len(detachedOps))
	require.NoError(t, fs.Detach()) // before live has seen any of them hang
	l.await(correlate.EventHangSeen, 0, len(lines))
	for _, line := range lines {
		t.Run("live "+line.Op, func(t *testing.T) {
			h := of(l.events(), correlate.EventHangSeen, line.TID)[0].Hang
			checkNames(t, h, podUID, pvName)
			checkDetached(t, h)
			require.Equal(t, fs.MountPoint, string(h.Mount.Point))
			require.Equal(t, line.Path, string(h.Path.Value))
		})
	}
	for _, backend := range backends {
		rep := report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend="+backend, s.kubeletRoot())
		got := byTID(t, rep.Hangs)
		for _, line := range lines {
			t.Run(backend+" "+line.Op, func(t *testing.T) {
				h := got[line.TID]
				require.NotNil(t, h)
				if backend == "proc" && line.Op == "openat-cwd" {
					// /proc does not tell which mount a working directory is on.
					require.Contains(t, string(h.Mount.Kind), "fuse")
					return
				}
				checkDetached(t, h)
			})
		}
		// It is about the oldest, which may be the one of which /proc does not tell.
		if verdict := rep.Summary.Verdict; backend != "proc" || !strings.Contains(verdict, "hangs in openat on") {
			require.Contains(t, verdict, "mount detached")
		}
		leftOver(t, rep, correlate.ClassDetached, v.PID)
	}
	require.NoError(t, fs.Thaw())
	_, err := v.Await(victim.EventReturned, len(lines), patience)
	require.NoError(t, err)
	l.await(correlate.EventHangEnded, 0, len(lines))
	l.stop(exitHung)
}

// leftOver wants a report to tell of one leftover, held by a process.
func leftOver(t *testing.T, rep *correlate.Report, class correlate.Class, pid int) *correlate.Leftover {
	t.Helper()
	require.Len(t, rep.Leftovers, 1)
	l := rep.Leftovers[0]
	require.Equal(t, class, l.Class)
	require.NotEmpty(t, l.Evidence)
	require.NotEmpty(t, l.Holders)
	require.Equal(t, pid, l.Holders[0].PID)
	return l
}

func checkDetached(t *testing.T, h *correlate.Hang) {
	t.Helper()
	require.NotNil(t, h.Mount)
	require.Equal(t, "ceph-fuse", string(h.Mount.Kind), "%+v", h)
	require.NotNil(t, h.Mount.Attached, "%+v", h.Mount)
	require.False(t, *h.Mount.Attached, "%+v", h.Mount)
}
