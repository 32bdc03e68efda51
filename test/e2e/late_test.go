package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestLiveSaysWhatItHadNoTimeToSee keeps a session that only looks from looking,
// as a machine without CPU for it does, while a hang begins and ends. It has to
// say that hangs may be missing; one with hooks misses nothing, and says nothing.
func TestLiveSaysWhatItHadNoTimeToSee(t *testing.T) {
	for mode, missed := range map[string]bool{"sample": true, "trace": false} {
		t.Run(mode, func(t *testing.T) {
			s := newStage(t)
			fs := s.csi(podUID, pvName)
			p := s.hidden("statter", wordRepeat, file(fs))
			rec := filepath.Join(s.Dir, mode+".rec")
			l := watch(t, s.Sandbox, pid(p.PID), "--mode="+mode, s.kubelet(), threshold, s.kubeletRoot(), "--record="+rec)
			time.Sleep(time.Second) // looks, in time
			require.NoError(t, syscall.Kill(l.PID, syscall.SIGSTOP))
			require.NoError(t, fs.Freeze())
			p.say("go")
			s.held(fs)
			time.Sleep(time.Duration(testkit.Slow()) * 2500 * time.Millisecond)
			require.NoError(t, fs.Thaw())
			p.line()
			require.NoError(t, syscall.Kill(l.PID, syscall.SIGCONT))
			if missed {
				l.await(correlate.EventLost, 0, 1)
			} else {
				l.await(correlate.EventSlowCall, 0, 1)
			}
			code := exitHung
			if missed {
				code = exitOK
			}
			list := l.stop(code)
			lost := list[len(list)-1].Summary.Lost
			if !missed {
				require.NotContains(t, lost, "looks")
				return
			}
			require.GreaterOrEqual(t, lost["looks"], uint64(3))
			require.Empty(t, of(list, correlate.EventHangSeen, 0))
			again := tool(t, s.Sandbox, exitOK, "replay", "-o", "ndjson", rec)
			require.Equal(t, l.stdout.String(), again.stdout.String())
			said := tool(t, s.Sandbox, exitOK, "replay", rec)
			require.Contains(t, strings.Join(strings.Fields(said.stdout.String()), " "), "not made in time (no CPU, too much to look at, or nobody took the output); hangs may be missing.")
		})
	}
}
