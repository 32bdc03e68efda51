package correlate

import (
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/kube"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Options says what counts as a hang.
type Options struct {
	// Threshold is how long a thread must be blocked.
	Threshold time.Duration
	// Kinds are the file systems in question; threads blocked on others are
	// counted, not listed.
	Kinds mounts.KindSet
	// Memory remembers mounts and sleepers between snapshots. This field is
	// optional: a single report needs none.
	Memory *Memory
	// Decoded saves decoding the same passes again. This field is optional.
	Decoded *Decoded

	// walk stands in for the snapshot's walks in tests.
	walk *events.Walk
}

// Memory is what a live session knows from earlier snapshots.
type Memory struct {
	history *mounts.History
	kube    *facts.Kube // nil: nothing was read yet
	// still is when a thread was first seen with its present switch count.
	still map[threadKey]stillness
	// requests is when a request was first seen in a client's list.
	requests map[requestKey]int64
}

type threadKey struct {
	tid   int
	start uint64
}

type stillness struct {
	switches uint64
	sinceNS  uint64
}

// NewMemory returns a Memory that knows nothing yet.
func NewMemory() *Memory {
	return &Memory{history: mounts.NewHistory(), still: make(map[threadKey]stillness)}
}

// remember notes the samples of the last pass and forgets threads that are
// gone.
func (m *Memory) remember(tasks []events.Task) {
	now := make(map[threadKey]stillness, len(m.still))
	for i := range tasks {
		t := &tasks[i]
		if !t.Sleeping() {
			continue
		}
		key := threadKey{t.TID, t.StartBootNS}
		was, ok := m.still[key]
		if !ok || was.switches != t.Switches() {
			was = stillness{switches: t.Switches(), sinceNS: t.SampledNS}
		}
		now[key] = was
	}
	m.still = now
}

type stringKey struct {
	pid  int
	addr uint64
}

type linkKey struct {
	pid, tid int
	name     string
}

type fdKey struct{ pid, fd int }

type pathKey struct {
	pid  int
	path string
}

// world is a snapshot made ready for questions.
type world struct {
	snap *facts.Snapshot
	kube *facts.Kube // nil: nothing was read
	opts Options
	arch syscalls.Arch

	// The tasks are shared with later questions: never to be changed.
	last     []events.Task
	before   sightings // nil: there was one pass only
	files    map[fdKey]*events.File
	links    map[linkKey]*facts.Link
	strings  map[stringKey]*facts.UserString
	procs    map[int]*facts.Process
	resolved map[pathKey]string
	inFlight map[int]*events.Call
	history  *mounts.History
	stacks   *stackMemo
	cgroups  map[string]cgroup
	mounts   map[mountKey]*Mount
	refs     map[string]parsedPath
	volumes  map[kube.VolumeRef]*Volume
	key      []byte                // to make identifiers in
	daemons  map[uint32]*WaitingOn // by connection; nil: not known
	cures    map[cureKey]cure

	statfs        []*Hang                   // nil: not looked for yet
	stale         map[string]bool           // nil: not looked for yet
	*walkIndex                              // shared with later questions, too
	words         map[*explained]*WaitingOn // explanations asked for so far
	open          map[openKey]*OpenRequests // made when first asked for
	journals      map[string]int            // TIDs of journal threads by name; made when first asked for
	users         map[int]*facts.UserStack  // by TID; made when first asked for
	ofDevice      map[string]*facts.CephState
	clientIndexes map[*facts.CephState]*clientIndex
	candidateSets map[candidateKey]*candidateSet
	blocks        mounts.Blocks
}

func newWorld(snap *facts.Snapshot, opts Options) (*world, error) {
	w := &world{
		snap: snap, kube: opts.Memory.kubeWith(snap.Kube), opts: opts, arch: syscalls.Arch(snap.Node.Arch),
		links:    make(map[linkKey]*facts.Link),
		procs:    make(map[int]*facts.Process),
		resolved: make(map[pathKey]string), inFlight: make(map[int]*events.Call),
		stacks: opts.Decoded.stackMemo(), cgroups: make(map[string]cgroup),
		words: make(map[*explained]*WaitingOn), mounts: make(map[mountKey]*Mount), refs: make(map[string]parsedPath),
		volumes: make(map[kube.VolumeRef]*Volume), cures: make(map[cureKey]cure), daemons: make(map[uint32]*WaitingOn),
	}
	if len(snap.Passes) == 0 {
		return nil, fmt.Errorf("snapshot: no pass over the threads")
	}
	var err error
	pass := snap.Passes[len(snap.Passes)-1]
	tasks := opts.Decoded.pass(pass)
	if w.last, err = tasks.list, tasks.err; err != nil {
		return nil, err
	}
	if len(snap.Passes) > 1 {
		if w.before, err = opts.Decoded.passSightings(snap.Passes[0]); err != nil {
			return nil, err
		}
	}
	opts.Decoded.keep(snap)
	w.walkIndex = opts.Decoded.walkIndex(snap, opts.walk)
	if err := w.indexCapture(); err != nil {
		return nil, err
	}
	w.indexFacts()
	w.indexMounts()
	return w, nil
}

func (w *world) indexCapture() error {
	var err error
	if w.files, err = w.opts.Decoded.lists().filesOf(w.snap.Files); err != nil {
		return err
	}
	for _, pass := range w.snap.InFlight {
		calls, err := events.DecodeSlots(pass, w.snap.Clock)
		if err != nil {
			return err
		}
		for i := range calls {
			w.inFlight[calls[i].TID] = &calls[i]
		}
	}
	return nil
}

func (w *world) indexFacts() {
	w.strings = w.opts.Decoded.lists().stringsOf(w.snap.Strings)
	for i := range w.snap.Links {
		l := &w.snap.Links[i]
		w.links[linkKey{l.PID, l.TID, l.Name}] = l
	}
	for i := range w.snap.Processes {
		p := &w.snap.Processes[i]
		w.procs[p.PID] = p
	}
	for _, r := range w.snap.Resolved {
		if r.Resolved != "" {
			w.resolved[pathKey{r.PID, r.Path}] = r.Resolved
		}
	}
}

// indexMounts makes the mount tables answer, with those of earlier snapshots.
func (w *world) indexMounts() {
	if w.opts.Memory == nil {
		w.blocks, w.history = w.opts.Decoded.lists().historyOf(w.snap)
		return
	}
	w.blocks = mounts.NewBlocks(w.snap.Blocks)
	w.history = w.opts.Memory.history
	for _, mt := range w.snap.Mounts {
		t, err := mounts.Parse([]byte(mt.Text), mt.Namespace, w.blocks)
		if err != nil {
			continue
		}
		w.history.Remember(t, mt.AsOf)
	}
}

// frames gives a thread's symbolised kernel stack; nil when unreadable.
func (w *world) frames(t *events.Task) []string { return w.stacks.of(t, w.snap.Symbols).frames }

// view gives what a thread's kernel stack tells.
func (w *world) view(t *events.Task) stackView { return w.stacks.of(t, w.snap.Symbols).view }

// still tells whether a thread slept through from the first pass to the last.
func (w *world) still(t *events.Task) bool {
	if !t.Sleeping() {
		return false
	}
	if w.before == nil {
		return true
	}
	b, ok := w.before[t.TID]
	return ok && b.start == t.StartBootNS && b.switches == t.Switches()
}

// call gives the call a thread is in, or was in last; ok is false outside any.
func (w *world) call(t *events.Task) (syscalls.Call, bool) {
	if !t.HasRegs || t.SyscallNR < 0 || t.KernelThread() || t.IOWorker() {
		return syscalls.Call{}, false
	}
	arch := w.arch
	if t.Compat {
		arch = arch.Compat()
	}
	c, ok := syscalls.Lookup(arch, t.SyscallNR)
	if !ok {
		return syscalls.Call{NR: t.SyscallNR, Name: syscalls.Name(arch, t.SyscallNR)}, true
	}
	return c, true
}
