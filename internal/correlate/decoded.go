package correlate

import (
	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// Decoded remembers what raw passes say, so that the questions asked while a
// snapshot is gathered, its judgement, and the next tick of a live session
// decode each pass once. Nothing of it may be changed by its users. A nil
// Decoded remembers nothing.
type Decoded struct {
	tasks     map[passKey]decodedTasks
	sightings map[passKey]decodedSightings
	walks     map[passKey]decodedWalk
	stacks    *stackMemo
	indexed   indexed
}

// passKey tells passes apart by their memory, which nobody writes to once it is
// a pass.
type passKey struct {
	data *byte
	size int
}

func keyOfPass(p facts.Pass) (passKey, bool) {
	if len(p.Data) == 0 {
		return passKey{}, false
	}
	return passKey{&p.Data[0], len(p.Data)}, true
}

type decodedTasks struct {
	list  []events.Task
	byTID map[int]*events.Task
	err   error
}

func decodeTasks(p facts.Pass) decodedTasks {
	var d decodedTasks
	d.list, d.err = events.DecodeTasks(p)
	d.byTID = make(map[int]*events.Task, len(d.list))
	for i := range d.list {
		d.byTID[d.list[i].TID] = &d.list[i]
	}
	return d
}

// sightings are the threads of an earlier pass, by TID.
type sightings map[int]sighting

// sighting is what is asked of an earlier sample of a thread.
type sighting struct {
	start, switches, sampledNS uint64
}

type decodedSightings struct {
	of  sightings
	err error
}

// decodedWalk is what two walks agree on, kept with the later of them.
type decodedWalk struct {
	before passKey
	clock  facts.Clock
	walk   events.Walk
	err    error
	// index joins it with the threads of the pass of.
	index *walkIndex
	of    passKey
}

// NewDecoded returns a Decoded that knows nothing yet.
func NewDecoded() *Decoded {
	return &Decoded{
		tasks: make(map[passKey]decodedTasks), sightings: make(map[passKey]decodedSightings), walks: make(map[passKey]decodedWalk),
		stacks: newStackMemo(),
	}
}

func (d *Decoded) lists() *indexed {
	if d == nil {
		return &indexed{}
	}
	return &d.indexed
}

func (d *Decoded) stackMemo() *stackMemo {
	if d == nil {
		return newStackMemo()
	}
	return d.stacks
}

func (d *Decoded) pass(p facts.Pass) decodedTasks {
	key, ok := keyOfPass(p)
	if d == nil || !ok {
		return decodeTasks(p)
	}
	got, ok := d.tasks[key]
	if !ok {
		got = decodeTasks(p)
		d.tasks[key] = got
	}
	return got
}

// passSightings is all that is wanted of the first of two passes: of ten
// thousand threads, whole tasks would be megabytes.
func (d *Decoded) passSightings(p facts.Pass) (sightings, error) {
	key, keyed := keyOfPass(p)
	if d == nil || !keyed {
		list, err := events.DecodeTasks(p)
		return sightingsOf(list), err
	}
	got, ok := d.sightings[key]
	if !ok {
		whole, known := d.tasks[key] // the last pass of the tick before
		if !known {
			whole.list, whole.err = events.DecodeTasks(p)
		}
		got = decodedSightings{sightingsOf(whole.list), whole.err}
		d.sightings[key] = got
	}
	return got.of, got.err
}

func sightingsOf(list []events.Task) sightings {
	of := make(sightings, len(list))
	for i := range list {
		t := &list[i]
		if t.Resting { // once it runs, its switches tell nothing of the pass before
			continue
		}
		of[t.TID] = sighting{t.StartBootNS, t.Switches(), t.SampledNS}
	}
	return of
}

// Walk is what the last two walks of a snapshot agree on.
func (d *Decoded) Walk(snap *facts.Snapshot) (events.Walk, error) {
	n := len(snap.Walks)
	if n < 2 {
		return events.Walk{}, nil
	}
	first, last := snap.Walks[n-2], snap.Walks[n-1]
	before, ok1 := keyOfPass(first)
	key, ok2 := keyOfPass(last)
	if d == nil || !ok1 || !ok2 {
		return agree(first, last, snap.Clock)
	}
	got, ok := d.walks[key]
	if !ok || got.before != before || got.clock != snap.Clock {
		got = decodedWalk{before: before, clock: snap.Clock}
		got.walk, got.err = agree(first, last, snap.Clock)
		d.walks[key] = got
	}
	return got.walk, got.err
}

// walkIndex joins what the walks agree on with the threads of the last pass. A
// walk that cannot be read explains nothing.
func (d *Decoded) walkIndex(snap *facts.Snapshot, instead *events.Walk) *walkIndex {
	last := snap.Passes[len(snap.Passes)-1]
	threads := d.pass(last).byTID
	if instead != nil {
		return newWalkIndex(*instead, threads)
	}
	walk, _ := d.Walk(snap)
	of, ok := keyOfPass(last)
	if n := len(snap.Walks); d != nil && ok && n > 0 {
		if key, ok := keyOfPass(snap.Walks[n-1]); ok {
			got := d.walks[key]
			if got.index == nil || got.of != of {
				got.index, got.of = newWalkIndex(walk, threads), of
				d.walks[key] = got
			}
			return got.index
		}
	}
	return newWalkIndex(walk, threads)
}

func agree(first, last facts.Pass, clock facts.Clock) (events.Walk, error) {
	a, err := events.DecodeWalk(first, clock)
	if err != nil {
		return events.Walk{}, err
	}
	b, err := events.DecodeWalk(last, clock)
	if err != nil {
		return events.Walk{}, err
	}
	return events.AgreeWalks(a, b), nil
}

// keep forgets what no later question about this snapshot or its successor
// will ask for.
func (d *Decoded) keep(snap *facts.Snapshot) {
	if d == nil {
		return
	}
	used := make(map[passKey]bool, len(snap.Passes)+len(snap.Walks))
	for _, p := range append(snap.Passes[:len(snap.Passes):len(snap.Passes)], snap.Walks...) {
		if key, ok := keyOfPass(p); ok {
			used[key] = true
		}
	}
	last, _ := keyOfPass(snap.Passes[len(snap.Passes)-1])
	forget(d.tasks, func(key passKey) bool { return key != last })
	forget(d.sightings, func(key passKey) bool { return !used[key] })
	forget(d.walks, func(key passKey) bool { return !used[key] })
}

func forget[V any](m map[passKey]V, unused func(passKey) bool) {
	for key := range m {
		if unused(key) {
			delete(m, key)
		}
	}
}

// Release gives the memory of a snapshot's raw passes and walks back: from then
// on the snapshot can be judged with this Decoded, and is good for nothing
// else. What is to be recorded is recorded before.
func (d *Decoded) Release(snap *facts.Snapshot) {
	if d == nil || len(snap.Passes) == 0 {
		return
	}
	n := len(snap.Passes)
	if n > 1 {
		_, _ = d.passSightings(snap.Passes[0]) // errors are kept, too
	}
	_ = d.pass(snap.Passes[n-1])
	_ = d.walkIndex(snap, nil)
	replaced := make(map[passKey]passKey)
	for _, list := range [][]facts.Pass{snap.Passes, snap.Walks} {
		for i := range list {
			if old, ok := keyOfPass(list[i]); ok {
				list[i].Data = []byte{0} // a key without the data
				replaced[old], _ = keyOfPass(list[i])
			}
		}
	}
	rename(d.tasks, replaced)
	rename(d.sightings, replaced)
	rename(d.walks, replaced)
	for key, w := range d.walks {
		if to, ok := replaced[w.before]; ok {
			w.before = to
		}
		if to, ok := replaced[w.of]; ok {
			w.of = to
		}
		d.walks[key] = w
	}
}

func rename[V any](m map[passKey]V, replaced map[passKey]passKey) {
	for old, to := range replaced {
		if v, ok := m[old]; ok {
			delete(m, old)
			m[to] = v
		}
	}
}
