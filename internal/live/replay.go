package live

import (
	"maps"
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
		r.clock, r.last = f.Snapshot.Clock, f.Snapshot.TakenAt
		r.named(f.Snapshot.Symbols)
		return r.tracker.Observe(f.Snapshot)
	case record.KindRaw:
		recs, err := events.DecodeRing(facts.Pass{Format: f.Format, AtNS: f.AtNS, Data: f.Data}, r.clock)
		if err != nil {
			return nil, err
		}
		return r.tracker.Records(recs, r.symbols), nil
	case record.KindSymbols:
		r.named(f.Symbols)
	case record.KindNotice:
		r.at(f.AtNS)
		return []*correlate.Event{r.tracker.Notice(r.last, "%s", f.Notice)}, nil
	case record.KindLost:
		r.at(f.AtNS)
		if e := r.tracker.Lost(r.last, f.Lost); e != nil {
			return []*correlate.Event{e}, nil
		}
	}
	return nil, nil
}

func (r *Replay) named(symbols map[uint64]string) {
	if r.symbols == nil {
		r.symbols = make(map[uint64]string)
	}
	maps.Copy(r.symbols, symbols)
}

// at notes a time of day, in the zone that the recording was made in.
func (r *Replay) at(ns int64) { r.last = time.Unix(0, ns).In(r.last.Location()) }

// Hung tells how many hangs the frames showed.
func (r *Replay) Hung() int { return r.tracker.Hung() }

// Summary closes the replay.
func (r *Replay) Summary() *correlate.Event { return r.tracker.Summary(r.last) }
