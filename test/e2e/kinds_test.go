package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// TestOtherKindsAreCountedNotListed hangs on a FUSE file system that is not
// ceph's: the default leaves it out, and says so.
func TestOtherKindsAreCountedNotListed(t *testing.T) {
	s := newStage(t)
	fs := s.mount(filepath.Join(s.Dir, "other"), "fuse.other")
	v := s.victim("ops", fs.MountPoint, "stat", "read", "fault")
	l := watch(t, s.Sandbox, pid(v.PID), threshold)
	wide := watch(t, s.Sandbox, pid(v.PID), threshold, "--fs=fuse")
	lines := s.hang(v, fs, 3)
	pastThreshold()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			rep := report(t, s.Sandbox, exitOK, pid(v.PID), threshold, "--backend="+backend)
			require.Empty(t, rep.Hangs)
			require.Equal(t, map[string]int{"fuse": 3}, rep.Summary.Elsewhere)
			require.Contains(t, rep.Summary.Verdict, "3 more threads are blocked on fuse: --fs all")
			text := tool(t, s.Sandbox, exitOK, "report", pid(v.PID), threshold, "--backend="+backend)
			require.Contains(t, text.stdout.String(), "blocked on fuse: --fs all")
			for _, kinds := range []string{"all", "fuse"} {
				rep = report(t, s.Sandbox, exitHung, pid(v.PID), threshold, "--backend="+backend, "--fs="+kinds)
				got := byTID(t, rep.Hangs)
				for _, line := range lines {
					require.NotNil(t, got[line.TID])
					require.Equal(t, line.Path, string(got[line.TID].Path.Value))
					require.Equal(t, "fuse", string(got[line.TID].Mount.Kind))
				}
				require.Len(t, got, len(lines))
				require.Empty(t, rep.Summary.Elsewhere)
			}
		})
	}
	wide.await(correlate.EventHangSeen, 0, 3)
	list := l.stop(exitOK)
	require.Empty(t, of(list, correlate.EventHangSeen, 0))
	require.Equal(t, map[string]int{"fuse": 3}, list[len(list)-1].Summary.Elsewhere)
	require.NoError(t, fs.Thaw())
	wide.await(correlate.EventHangEnded, 0, 3)
	wide.stop(exitHung)
}
