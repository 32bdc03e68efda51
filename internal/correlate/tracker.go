package correlate

import (
	"fmt"
	"sort"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Tracker follows hangs over time: it turns snapshots and records into the
// events of a live session. It is not safe for concurrent use.
type Tracker struct {
	opts    Options
	watched map[string]*watch
	// world is the last snapshot's, for records between two snapshots.
	world *world
	// blocks are the last sleeps of threads, waiting for the return of the
	// call they were part of.
	blocks map[int]events.Block

	begun, now time.Time
	seen       int
	ended      int
	slow       int
	oldestMS   int64
	elsewhere  map[string]int
	lost       map[string]uint64
}

// watch is one hang that is being followed.
type watch struct {
	hang *Hang
	// nextMS is the age at which it is announced again.
	nextMS int64
	// missed counts the snapshots in a row that did not show it.
	missed int
	// located is how much was known at best of where it is.
	located int
	// shown is when the last snapshot showed it, gone when the first did not.
	shown, gone time.Time
	task        events.Task
}

// NewTracker returns a Tracker that has seen nothing.
func NewTracker(opts Options) *Tracker {
	if opts.Memory == nil {
		opts.Memory = NewMemory()
	}
	return &Tracker{opts: opts, watched: make(map[string]*watch), blocks: make(map[int]events.Block), elsewhere: make(map[string]int)}
}

// Options returns the options, with the memory that the tracker keeps.
func (t *Tracker) Options() Options { return t.opts }

// Observe takes in a snapshot and returns what is new: hangs first seen, hangs
// that doubled their age or of which more is known, hangs that are gone.
func (t *Tracker) Observe(snap *facts.Snapshot) ([]*Event, error) {
	w, r, err := judge(snap, t.opts)
	if err != nil {
		return nil, err
	}
	t.world, t.now = w, snap.TakenAt
	if t.begun.IsZero() {
		t.begun = snap.TakenAt
	}
	for kind, n := range r.Summary.Elsewhere {
		t.elsewhere[kind] = max(t.elsewhere[kind], n)
	}
	var out []*Event
	present := make(map[string]bool, len(r.Hangs))
	for _, h := range r.Hangs {
		present[h.ID] = true
		if e := t.see(w, h); e != nil {
			out = append(out, e)
		}
	}
	return append(out, t.missing(present)...), nil
}

// see notes a hang and says whether it is worth an event: at first sight, each
// time its age has doubled, and when it is found out where it is.
func (t *Tracker) see(w *world, h *Hang) *Event {
	t.oldestMS = max(t.oldestMS, h.Blocked.ForMS)
	known := t.watched[h.ID]
	if known == nil {
		known = &watch{task: *w.byTID[h.Task.TID], nextMS: t.opts.Threshold.Milliseconds() * 2}
		for known.nextMS <= h.Blocked.ForMS {
			known.nextMS *= 2
		}
		known.hang, known.shown = h, w.snap.TakenAt
		known.locate()
		t.watched[h.ID] = known
		t.seen++
		return t.event(EventHangSeen, h, w.snap.TakenAt)
	}
	known.missed, known.hang, known.shown = 0, keepKnown(known.hang, h), w.snap.TakenAt
	more := known.locate()
	if h.Blocked.ForMS < known.nextMS && !more {
		return nil
	}
	for known.nextMS <= h.Blocked.ForMS {
		known.nextMS *= 2
	}
	e := t.event(EventHangUpdate, known.hang, w.snap.TakenAt)
	e.Located = more
	return e
}

// locate tells whether more is known of where a hang is than ever before. On a
// busy node the first look may end before all that was asked for is there.
func (w *watch) locate() bool {
	n, v := 0, w.hang.Volume
	for _, known := range []bool{
		w.hang.Path.Value != "", w.hang.Mount != nil, v != nil, v != nil && v.PV != "", v != nil && v.Pod != nil && v.Pod.Name != "",
	} {
		if known {
			n++
		}
	}
	if n <= w.located {
		return false
	}
	w.located = n
	return true
}

// keepKnown keeps what an earlier snapshot knew and the new one does not: a path
// whose memory became unreadable, a mount that was detached meanwhile, the entry of
// a call that returned while the snapshot was taken.
func keepKnown(old, h *Hang) *Hang {
	if h.Path.Value == "" && old.Path.Value != "" {
		h.Path = old.Path
	}
	if h.Volume == nil {
		h.Volume = old.Volume
	}
	if h.Mount == nil || h.Mount.Point == "" && old.Mount != nil && old.Mount.Point != "" {
		h.Mount = old.Mount
	}
	if old.Blocked.Source == sourceEntry && h.Blocked.Source != sourceEntry {
		until := h.Blocked.Since.Add(time.Duration(h.Blocked.ForMS) * time.Millisecond)
		h.Reason, h.Blocked = old.Reason, old.Blocked
		h.Blocked.ForMS = max(until.Sub(h.Blocked.Since).Milliseconds(), h.Blocked.ForMS)
	}
	return h
}

// missing ends the hangs that no snapshot shows any more. A record of the end
// may still be on its way: one more snapshot is waited for.
func (t *Tracker) missing(present map[string]bool) []*Event {
	var out []*Event
	for id, w := range t.watched {
		if present[id] {
			continue
		}
		if w.missed++; w.missed == 1 {
			w.gone = t.now
			continue
		}
		out = append(out, t.end(id, w, w.gone, w.between(), nil))
	}
	sortEvents(out)
	return out
}

// between is how long a hang took whose end only lies between two snapshots.
func (w *watch) between() *timing {
	return &timing{
		durationNS:   uint64(max(w.shown.Sub(w.hang.Blocked.Since), 0)),
		resolutionNS: uint64(max(w.gone.Sub(w.shown), 1)),
		atLeast:      true,
	}
}

func sortEvents(list []*Event) {
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i].Hang, list[j].Hang
		return a != nil && b != nil && a.Task.TID < b.Task.TID
	})
}

func (t *Tracker) end(id string, w *watch, at time.Time, timing *timing, call *events.Call) *Event {
	delete(t.watched, id)
	t.ended++
	e := t.event(EventHangEnded, w.hang, at)
	if timing != nil {
		e.DurationNS, e.ResolutionNS = &timing.durationNS, &timing.resolutionNS
		h := *w.hang
		h.Blocked.ForMS, h.Blocked.AtLeast = int64(timing.durationNS/1e6), timing.atLeast
		e.Hang = &h
		t.oldestMS = max(t.oldestMS, h.Blocked.ForMS)
	}
	if call != nil {
		t.setReturn(e, call)
	}
	return e
}

// timing is how long something took, and how exactly that is known.
type timing struct {
	durationNS, resolutionNS uint64
	atLeast                  bool
}

func (t *Tracker) setReturn(e *Event, call *events.Call) {
	ret := call.Return
	e.Ret = &ret
	if t.world == nil {
		return
	}
	if c, ok := syscalls.Lookup(t.world.arch, call.SyscallNR); ok {
		e.RetText = syscalls.FormatReturn(c, call.Args, ret)
	}
}

func (t *Tracker) event(kind EventKind, h *Hang, at time.Time) *Event {
	return &Event{Schema: EventSchema, Kind: kind, Time: at, Hang: h}
}

// Notice makes an event of a sentence.
func (t *Tracker) Notice(at time.Time, format string, args ...any) *Event {
	return &Event{Schema: EventSchema, Kind: EventNotice, Time: at, Notice: fmt.Sprintf(format, args...)}
}

// Lost takes in the counters of lost records and says whether they grew.
func (t *Tracker) Lost(at time.Time, counts map[string]uint64) *Event {
	grew := false
	for site, n := range counts {
		grew = grew || n > t.lost[site]
	}
	if !grew {
		return nil
	}
	t.lost = counts
	return &Event{Schema: EventSchema, Kind: EventLost, Time: at, Lost: counts}
}

// Hung tells how many hangs were seen so far, those included that ended.
func (t *Tracker) Hung() int { return t.seen + t.slow }

// Watched lists the hangs that last: what a tracer may want to know of.
func (t *Tracker) Watched() []events.Task {
	var list []events.Task
	for _, w := range t.watched {
		list = append(list, w.task)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].TID < list[j].TID })
	return list
}

// Children lists processes of the last snapshot that known does not know, by
// PID, with their parents: where no tracer tells of a fork, a look shows it.
func (t *Tracker) Children(known func(pid int) bool) map[int]int {
	if t.world == nil {
		return nil
	}
	children := make(map[int]int)
	for i := range t.world.last {
		if k := &t.world.last[i]; !known(k.PID) {
			children[k.PID] = k.PPID
		}
	}
	return children
}

// Summary closes a session.
func (t *Tracker) Summary(at time.Time) *Event {
	s := &LiveSummary{
		Seen: t.seen, Ended: t.ended, StillHung: len(t.watched), SlowCalls: t.slow, OldestMS: t.oldestMS,
		Lost: t.lost, Elsewhere: t.elsewhere,
	}
	if !t.begun.IsZero() {
		s.DurationMS = at.Sub(t.begun).Milliseconds()
	}
	s.ByServer = t.byServer()
	s.Verdict = t.verdict() + oneServer(s.ByServer, len(t.watched))
	return &Event{Schema: EventSchema, Kind: EventSummary, Time: at, Summary: s}
}

// byServer groups what hung at the last look.
func (t *Tracker) byServer() List[ServerCount] {
	if t.world == nil {
		return nil
	}
	hangs := make([]*Hang, 0, len(t.watched))
	for _, k := range t.watched {
		hangs = append(hangs, k.hang)
	}
	sort.Slice(hangs, func(i, j int) bool { return before(hangs[i], hangs[j]) })
	return t.world.byServer(hangs)
}

func (t *Tracker) verdict() string {
	var v string
	switch {
	case t.seen == 0 && t.slow == 0:
		v = "nothing hung on " + t.opts.Kinds.String()
	case len(t.watched) == 0:
		v = fmt.Sprintf("%s seen, all of them ended", count(t.seen, "hang", "hangs"))
	default:
		v = fmt.Sprintf("%s seen, %s still", count(t.seen, "hang", "hangs"), count(len(t.watched), "thread hangs", "threads hang"))
	}
	if t.slow > 0 {
		v += fmt.Sprintf("; %s over the threshold", count(t.slow, "call", "calls"))
	}
	if rest := elsewhereSentence(t.elsewhere); rest != "" {
		v += "; " + rest
	}
	return v
}
