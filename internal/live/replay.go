package live

import (
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/record"
)

// Replay judges the frames of a live recording.
type Replay struct {
	tracker *correlate.Tracker
	clock   facts.Clock
	symbols map[uint64]string
	last    time.Time
}

// NewReplay returns a Replay that has seen no frame.
func NewReplay(opts correlate.Options) *Replay {
	return &Replay{tracker: correlate.NewTracker(opts)}
}

// Frame takes in one frame and returns the events it makes.
func (r *Replay) Frame(f *record.Frame) ([]*correlate.Event, error) {
	switch f.Kind {
	case record.KindSnapshot:
		r.clock, r.symbols, r.last = f.Snapshot.Clock, f.Snapshot.Symbols, f.Snapshot.TakenAt
		return r.tracker.Observe(f.Snapshot)
	case record.KindRaw:
		recs, err := events.DecodeRing(facts.Pass{Format: f.Format, AtNS: f.AtNS, Data: f.Data}, r.clock)
		if err != nil {
			return nil, err
		}
		return r.tracker.Records(recs, r.symbols), nil
	case record.KindNotice:
		return []*correlate.Event{r.tracker.Notice(r.last, "%s", f.Notice)}, nil
	case record.KindLost:
		if e := r.tracker.Lost(r.last, f.Lost); e != nil {
			return []*correlate.Event{e}, nil
		}
	}
	return nil, nil
}

// Hung tells how many hangs the frames showed.
func (r *Replay) Hung() int { return r.tracker.Hung() }

// Summary closes the replay.
func (r *Replay) Summary() *correlate.Event { return r.tracker.Summary(r.last) }
