package capture

import (
	"testing"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// TestKubeletIsLookedForWhenAsked: a session that goes on for days must not
// believe what its first moment found.
func TestKubeletIsLookedForWhenAsked(t *testing.T) {
	p := proc.New("/proc")
	for _, again := range []bool{false, true} {
		s, err := New(t.Context(), Options{Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Backend: BackendProc, Again: again})
		if err != nil {
			t.Fatal(err)
		}
		if begun := s.cache.seeking != nil; begun == again {
			t.Errorf("again %v: the search was begun: %v", again, begun)
		}
		if pid := s.hostPID(); pid == 0 || s.cache.seeking != nil {
			t.Errorf("again %v: pid %d, and a search that is left: %v", again, pid, s.cache.seeking != nil)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
