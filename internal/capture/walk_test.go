package capture

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
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

// TestProgramsThatDoNotLoad lets the kernel take its time over the programs of
// the look itself: /proc alone does, in what is left of the deadline.
func TestProgramsThatDoNotLoad(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	opts := Options{
		Proc: proc.New("/proc"), Runner: expendable.NewRunner(expendable.Options{}),
		newSnapshotter: func(loader.SnapshotOptions) (*loader.Snapshotter, error) {
			<-release
			return nil, errors.New("too late")
		},
	}
	for name, want := range map[string]string{BackendAuto: "", BackendBPF: "did not take the programs within"} {
		const deadline = 2 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		opts.Backend = name
		s, err := New(ctx, opts)
		if ctx.Err() != nil {
			t.Errorf("%s: nothing of the time is left", name)
		}
		switch {
		case want != "":
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case s.Backend() != facts.BackendProc || !strings.Contains(strings.Join(s.backend.degraded(), " "), "did not take the programs within"):
			t.Errorf("%s: backend %s, degraded %q", name, s.Backend(), s.backend.degraded())
		}
		cancel()
	}
}
