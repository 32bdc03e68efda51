package capture

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
)

// onlyName is a backend of which only the name is asked.
type onlyName struct{ backend }

func (onlyName) name() string { return facts.BackendBPF }

// TestWalkerThatDoesNotLoad lets the kernel take its time: the look goes on
// without it before the deadline, and a later one has it.
func TestWalkerThatDoesNotLoad(t *testing.T) {
	release := make(chan struct{})
	loads := 0
	s := &Session{backend: onlyName{}, cache: newCache(), newWalker: func(*loader.Types) (*loader.Walker, error) {
		loads++
		<-release
		return nil, errors.New("refused")
	}}
	for range 2 { // the second tick waits for the same load
		const deadline = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		var snap facts.Snapshot
		s.walk(ctx, &snap, nil)
		if ctx.Err() != nil {
			t.Error("nothing of the time is left for the rest")
		}
		cancel()
		if len(snap.Degraded) != 1 || !strings.Contains(snap.Degraded[0], "the deadline is too near") {
			t.Errorf("degraded: %q", snap.Degraded)
		}
	}
	close(release)
	for range 2 {
		var snap facts.Snapshot
		s.walk(t.Context(), &snap, nil)
		if len(snap.Degraded) != 1 || !strings.Contains(snap.Degraded[0], "refused") {
			t.Errorf("degraded: %q", snap.Degraded)
		}
	}
	if loads != 1 {
		t.Errorf("loaded %d times", loads)
	}
}
