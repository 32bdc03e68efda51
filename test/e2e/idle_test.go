package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// idleWaits is how many threads of the idle victim wait.
const idleWaits = 16

// TestIdleThreadsAreNeverReported watches threads that wait by nature, beside
// others that make short file calls: for 20 s, or for the 10 minutes of
// HANGTRACE_LONG=1.
func TestIdleThreadsAreNeverReported(t *testing.T) {
	const tick = 2 * time.Second
	duration := 20 * time.Second
	if os.Getenv("HANGTRACE_LONG") == "1" {
		duration = 10 * time.Minute
	}
	s := newStage(t)
	v := s.victim("idle", s.Dir, "load")
	lines, err := v.Await(victim.EventBlocking, idleWaits, patience)
	require.NoError(t, err)
	require.Len(t, lines, idleWaits)

	l := watch(t, s.Sandbox, pid(v.PID), threshold, "--fs=all")
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(tick) {
		for _, backend := range backends {
			rep := report(t, s.Sandbox, exitOK, pid(v.PID), threshold, "--fs=all", "--backend="+backend)
			require.Empty(t, rep.Hangs)
			require.Empty(t, rep.Summary.Elsewhere)
			require.GreaterOrEqual(t, rep.Capture.Threads, idleWaits)
		}
	}
	list := l.stop(exitOK)
	for _, kind := range []correlate.EventKind{
		correlate.EventHangSeen, correlate.EventHangUpdate, correlate.EventHangEnded, correlate.EventSlowCall, correlate.EventLost,
	} {
		require.Empty(t, of(list, kind, 0))
	}
	sum := list[len(list)-1].Summary
	require.Zero(t, sum.Seen)
	require.Empty(t, sum.Elsewhere)
	require.GreaterOrEqual(t, sum.DurationMS, duration.Milliseconds())
}
