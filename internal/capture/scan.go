package capture

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/leftover"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// ScanOptions say how far a hunt for leftovers goes. All fields are optional.
type ScanOptions struct {
	// Probe asks every mount in question something that only its server can
	// answer.
	Probe bool
	// MinAge is how long a pod's directory must be unchanged before it counts.
	MinAge time.Duration
	// KubeletVersion is "1.34" or the like; "" unknown.
	KubeletVersion string
	// KubeletPID is the kubelet, where several processes are called so; 0: the
	// first that is.
	KubeletPID int
}

// scan is one hunt. Its parts run at the same time where they may block.
type scan struct {
	*Session
	opts ScanOptions
	snap *facts.Snapshot
	out  *facts.Scan

	procs []facts.Process
	// mountIDs gives the device of every mount in any table.
	mountIDs map[int]string
	keep     map[int]bool    // processes to describe in the snapshot
	remote   map[string]bool // block devices that are, or stand on, a remote one

	// lookShort tells that not every process's descriptors were seen.
	lookShort bool

	mu sync.Mutex // guards snap and out while several gather
}

// Scan makes a snapshot of every process and adds what shows leftovers. Like
// Snapshot it returns what it has when ctx ends.
func (s *Session) Scan(ctx context.Context, opts ScanOptions) (*facts.Snapshot, error) {
	begin := time.Now()
	before, _, _ := storage.FuseConnections(s.opts.Sys)
	sc := &scan{Session: s, opts: opts, mountIDs: make(map[int]string), keep: make(map[int]bool), out: &facts.Scan{
		FuseBefore: before, KubeletVersion: opts.KubeletVersion, MinAgeS: int64(opts.MinAge.Seconds()),
	}}
	first, cancel := share(ctx, 0.5)
	defer cancel()
	snap, err := s.Snapshot(first)
	if err != nil {
		return nil, err
	}
	sc.snap, snap.Scan = snap, sc.out
	if opts.KubeletPID != 0 {
		s.cache.kubeletPID = opts.KubeletPID
	}
	sc.processes()
	sc.sysfs()
	sc.namespaces()
	sc.files(ctx)
	sc.walk(ctx)
	sc.children(ctx)
	sc.mappings(ctx)
	if ctx.Err() != nil {
		sc.skip("what the leftovers belong to", ctx.Err())
	} else if q, err := sc.questions(); err != nil {
		sc.skip("what the leftovers belong to", err)
	} else {
		sc.ask(ctx, q)
	}
	sc.finish()
	snap.TookMS = time.Since(begin).Milliseconds()
	return snap, nil
}

// share gives a part of the time that is left.
func share(ctx context.Context, part float64) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(float64(time.Until(until))*part))
}

func (sc *scan) skip(what string, err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.snap.Skipped = append(sc.snap.Skipped, facts.Skipped{What: what, Why: err.Error()})
}

func (sc *scan) degrade(sentence string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if !slices.Contains(sc.snap.Degraded, sentence) {
		sc.snap.Degraded = append(sc.snap.Degraded, sentence)
	}
}

// sysfs reads what the kernel keeps of file systems that no mount table shows.
func (sc *scan) sysfs() {
	blocks, skipped, err := storage.Blocks(sc.Session.opts.Sys)
	if err != nil {
		sc.skip("block devices", err)
	}
	if sc.snap.Blocks == nil {
		sc.snap.Blocks = blocks
		sc.snap.Skipped = append(sc.snap.Skipped, skipped...)
	}
	sc.remote = remoteDevices(sc.snap.Blocks)
	fuse, degraded, err := storage.FuseConnections(sc.Session.opts.Sys)
	if err != nil {
		sc.skip("FUSE connections", err)
	}
	sc.snap.Fuse = fuse
	for _, d := range degraded {
		sc.degrade(d)
	}
	if sc.out.BDIs, err = storage.BackingDevices(sc.Session.opts.Sys); err != nil {
		sc.skip("backing devices", err)
	}
	sc.out.Supers = storage.Superblocks(sc.Session.opts.Sys)
}

// mountsFuse tells whether a table has a FUSE mount: the control file system,
// which lists connections, may not be mounted.
func mountsFuse(t facts.MountTable) bool {
	return strings.Contains(t.Text, " - fuse ") || strings.Contains(t.Text, " - fuse.") || strings.Contains(t.Text, " - fuseblk ")
}

// walk reads the kernel's own list of superblocks where that is possible and
// there is anything to read.
func (sc *scan) walk(ctx context.Context) {
	remote := len(sc.snap.Fuse) > 0 || slices.ContainsFunc(sc.snap.Mounts, mountsFuse) || slices.ContainsFunc(sc.out.BDIs, cephBDI) ||
		slices.ContainsFunc(sc.snap.Blocks, func(b facts.BlockDevice) bool { return b.Driver == "rbd" })
	if !remote || sc.backend.name() != facts.BackendBPF || ctx.Err() != nil {
		return
	}
	if len(sc.snap.Walks) == 0 {
		sc.Session.walk(ctx, sc.snap, nil)
	}
}

// questions has the judgement say what it wants to know more about.
func (sc *scan) questions() (leftover.Questions, error) {
	judge := sc.Session.opts.Judge
	judge.Kinds = mounts.SetOf(mounts.Kinds()...)
	r, err := correlate.Judge(sc.snap, judge)
	if err != nil {
		return leftover.Questions{}, err
	}
	return leftover.Ask(sc.snap, r, leftover.Options{
		Kinds: sc.Session.opts.Judge.Kinds, ThresholdMS: judge.Threshold.Milliseconds(),
	})
}

// finish reads once more what may have been in transit, and describes the
// processes that matter.
func (sc *scan) finish() {
	if fuse, _, err := storage.FuseConnections(sc.Session.opts.Sys); err == nil {
		sc.snap.Fuse = fuse
	}
	known := make(map[int]bool, len(sc.snap.Processes))
	for _, p := range sc.snap.Processes {
		known[p.PID] = true
	}
	for _, p := range sc.procs {
		if sc.keep[p.PID] && !known[p.PID] {
			sc.snap.Processes = append(sc.snap.Processes, p)
		}
	}
	for _, c := range sc.Session.opts.Runner.Abandoned() {
		if s := c.Skipped(); !slices.Contains(sc.snap.Skipped, s) {
			sc.snap.Skipped = append(sc.snap.Skipped, s)
		}
	}
}
