package correlate

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"strconv"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Judge turns a snapshot into a report.
func Judge(snap *facts.Snapshot, opts Options) (*Report, error) {
	_, r, err := judge(snap, opts)
	return r, err
}

func judge(snap *facts.Snapshot, opts Options) (*world, *Report, error) {
	w, err := newWorld(snap, opts)
	if err != nil {
		return nil, nil, err
	}
	if opts.Memory != nil {
		opts.Memory.remember(w.last)
		opts.Memory.kube = w.kube
		opts.Memory.rememberRequests(snap.Ceph)
	}
	r := &Report{Schema: ReportSchema, TakenAt: snap.TakenAt, TookMS: snap.TookMS}
	elsewhere := make(map[string]int)
	var waiting []*events.Task
	for i := range w.last {
		t := &w.last[i]
		if !w.still(t) || !w.suspicious(t) {
			continue
		}
		h, kind, ok := w.hang(t)
		switch {
		case !ok:
			waiting = append(waiting, t)
		case w.wanted(kind, h.Mount):
			r.Hangs = append(r.Hangs, h)
		default:
			elsewhere[string(kind)]++
		}
	}
	shareVolumes(r.Hangs)
	w.silentServers(r.Hangs)
	r.Hangs = append(r.Hangs, w.blockedBy(waiting, r.Hangs)...)
	assignRoles(w, r.Hangs)
	for _, h := range r.Hangs {
		w.remedies(h, r.Hangs)
	}
	sort.SliceStable(r.Hangs, func(i, j int) bool { return before(r.Hangs[i], r.Hangs[j]) })
	w.groups(r.Hangs)
	w.describe(r)
	r.Summary = w.summarise(r, elsewhere)
	return w, r, nil
}

// before orders roots before victims and older hangs before younger ones.
func before(a, b *Hang) bool {
	if a.Role != b.Role {
		return a.Role == RoleRoot
	}
	if a.Blocked.ForMS != b.Blocked.ForMS {
		return a.Blocked.ForMS > b.Blocked.ForMS
	}
	return a.Task.TID < b.Task.TID
}

// wanted tells whether a hang is on one of the kinds asked for. Where the stack
// only says "some FUSE", both FUSE kinds count: a hang shown too much is better
// than one kept back.
func (w *world) wanted(kind mounts.Kind, m *Mount) bool {
	if w.opts.Kinds.Has(kind) {
		return true
	}
	if kind != mounts.KindFuse || m == nil || !w.opts.Kinds.Has(mounts.KindCephFuse) {
		return false
	}
	// Nor does the superblock of a mount that is gone tell one FUSE from another.
	gone := m.Attached != nil && !*m.Attached && m.From == fromDevice
	return m.From == fromStack || gone
}

// hang judges one suspicious thread that slept through both passes.
func (w *world) hang(t *events.Task) (*Hang, mounts.Kind, bool) {
	v := w.view(t)
	reason := w.reason(t, v)
	pl, ok := w.bestPlace(t, v, reason)
	if !ok {
		return nil, "", false
	}
	blocked := w.blocked(t)
	if blocked.ForMS < w.opts.Threshold.Milliseconds() {
		return nil, "", false
	}
	if reason == ReasonInSyscall && blocked.Source == sourceEntry {
		reason = ReasonSlowSyscall
	}
	h := &Hang{
		ID: w.id(t), Reason: reason, Task: w.task(t), Syscall: w.syscall(t), Blocked: blocked,
		Path: pl.path, Mount: pl.mount, KernelStack: w.frames(t), Volume: w.volume(t, &pl),
	}
	w.waitsOn(t, h, v, &pl)
	w.userStack(t, h)
	w.effect(h)
	if len(h.KernelStack) == 0 && t.Wchan != "" {
		h.KernelStack = []string{t.Wchan}
	}
	if h.Path.Source == "" {
		h.Path.Source = pathNone
	}
	return h, pl.kind, true
}

// reason says how a thread hangs.
func (w *world) reason(t *events.Task, v stackView) Reason {
	_, inCall := w.call(t)
	switch {
	case t.IOWorker():
		return ReasonIOWorker
	case t.KernelThread():
		return ReasonKernelThread
	case v.after || t.Exiting():
		return ReasonAfterSyscall
	case !inCall && (t.HasRegs || v.fault):
		return ReasonPageFault // without registers only the stack can tell
	}
	return ReasonInSyscall
}

// bestPlace picks where a thread is blocked, and says no when that is no
// file-system wait.
func (w *world) bestPlace(t *events.Task, v stackView, reason Reason) (place, bool) {
	var list []place
	if c, ok := w.call(t); ok && reason != ReasonAfterSyscall {
		list = w.places(t, c)
	} else if reason == ReasonAfterSyscall {
		list = w.lastPlaces(t)
	}
	switch {
	case v.fault || reason == ReasonPageFault:
		list = append(w.faultPlaces(t, v, w.walkedPlaces(t)), list...)
	case reason == ReasonKernelThread || reason == ReasonIOWorker:
		list = append(w.walkedPlaces(t), list...)
	}
	for _, pl := range list {
		if !pl.pseudo && pl.kind != "" && compatible(pl.kind, v.fs) && w.blockingOn(t, pl.kind, v) && !w.walkedElsewhere(t, &pl) {
			return pl, true
		}
	}
	// The call's path leads elsewhere, or is not known: the walk names the
	// super block all the same, a detached one too.
	for _, pl := range w.walkedPlaces(t) {
		if pl.kind != "" && compatible(pl.kind, v.fs) {
			if len(list) > 0 && !list[0].pseudo && list[0].path.Value != "" {
				pl.path = list[0].path
			}
			return pl, true
		}
	}
	if v.fs != "" { // the file system's own code: that is where it waits
		var pl place
		if len(list) > 0 && !list[0].pseudo {
			pl = list[0]
		}
		if pl.kind == "" || !compatible(pl.kind, v.fs) {
			w.byStack(t, &pl, v)
		}
		return pl, true
	}
	if v.kind == waitPage && uninterruptible(t) {
		if pl, ok := w.journalPlace(t); ok {
			return pl, true
		}
		pl := place{kind: mounts.KindBlock}
		if k := journalKind(t.Comm); k != "" {
			pl.kind = k
		}
		pl.mount = &Mount{Kind: Text(pl.kind), From: fromStack}
		return pl, true
	}
	return place{}, false
}

// blockingOn tells whether a sleeping thread that acts on a file of this kind
// waits for the file system. Without a stack, acting on it has to do. On kinds
// that answer from the kernel itself only an uninterruptible sleep counts.
func (w *world) blockingOn(t *events.Task, k mounts.Kind, v stackView) bool {
	switch {
	case v.kind == waitIdle:
		return false
	case k == mounts.KindOther, k == mounts.KindBlock:
		return uninterruptible(t) && v.kind != waitUnknown || uninterruptible(t) && len(w.frames(t)) == 0
	}
	return true
}

// lastPlaces are the places of the call that has returned: umount's target, a
// closed descriptor's file if it is still known.
func (w *world) lastPlaces(t *events.Task) []place {
	c, ok := w.call(t)
	if !ok || c.ClassFor(t.Args) != syscalls.ClassPath {
		return nil
	}
	return w.places(t, c)
}

// RoleRoot and RoleVictim are the values of Hang.Role.
const (
	RoleRoot   = "root"
	RoleVictim = "victim"
)

// id is stable for the same thread in the same call. The start time is cut to
// what every source of it resolves (10 ms), so that both backends agree.
func (w *world) id(t *events.Task) string {
	key := w.key[:0]
	key = append(append(key, w.snap.Node.BootID...), ' ')
	key = append(strconv.AppendInt(key, int64(t.TID), 10), ' ')
	key = append(strconv.AppendUint(key, t.StartBootNS/1e7, 10), ' ')
	key = append(strconv.AppendInt(key, int64(t.SyscallNR), 10), " ["...)
	for i, a := range t.Args {
		if i > 0 {
			key = append(key, ' ')
		}
		key = strconv.AppendUint(key, a, 16)
	}
	key = strconv.AppendUint(append(key, "] "...), t.SP, 16)
	w.key = key
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:6])
}

func (w *world) task(t *events.Task) Task {
	task := Task{
		PID: t.PID, TID: t.TID, Comm: t.Comm, ProcessComm: Text(t.ProcessComm), State: Text(t.Letter()),
		Killable: w.killable(t), KernelThread: t.KernelThread(),
	}
	if p := w.procs[t.PID]; p != nil {
		task.Cgroup = Text(lastCgroup(p.Cgroup))
		if task.ProcessComm == "" {
			task.ProcessComm = Text(p.Comm)
		}
	}
	if id, uid := w.container(t.PID); id != "" || uid != "" {
		task.Container = &Container{ID: Text(id), PodUID: Text(uid)}
	}
	return task
}

// killable tells whether SIGKILL ends the wait. A FUSE request that the daemon
// has read keeps its caller, whatever the state letter says: it only turns S
// into D.
func (w *world) killable(t *events.Task) *bool {
	v := w.view(t)
	switch {
	case t.Exiting():
		return new(false)
	case v.fs == mounts.KindFuse && v.kind == waitFS && !t.KernelThread():
		return nil // depends on whether the daemon has read the request
	case w.snap.Backend == facts.BackendProc && uninterruptible(t):
		return nil
	}
	return new(t.Killable())
}

func (w *world) syscall(t *events.Task) *Syscall {
	c, ok := w.call(t)
	if !ok {
		return nil
	}
	s := &Syscall{NR: t.SyscallNR, Name: Text(c.Name)}
	for i := range max(len(c.ArgsFor(t.Args)), 0) {
		s.Args = append(s.Args, "0x"+strconv.FormatUint(t.Args[i], 16))
	}
	if s.Args == nil {
		s.Args = []string{}
	}
	read := func(i int, addr uint64) (string, bool, bool) { return w.text(t, addr) }
	s.Text = Text(c.Format(t.Args, read, nil))
	return s
}

// The values of Blocked.Source.
const (
	sourceEntry       = "entry"
	sourceLastArrival = "last_arrival"
	sourceSwitches    = "switch_counts"
	sourceSwitch      = "sched_switch"
	sourceGoroutine   = "goroutine_wait"
	sourceRequest     = "request"
)

// blocked says since when a thread is blocked, by the best source there is.
func (w *world) blocked(t *events.Task) Blocked {
	now := t.SampledNS
	since, source := w.stillSince(t), sourceSwitches
	if w.snap.Clock.SchedCalibrated && t.LastArrivalNS != 0 {
		if at := uint64(max(int64(t.LastArrivalNS)+w.snap.Clock.SchedToMonoNS, 0)); at < since || since == 0 {
			since, source = at, sourceLastArrival
		}
	}
	if c := w.callInFlight(t); c != nil && c.EnteredNS != 0 && c.EnteredNS <= now {
		since, source = c.EnteredNS, sourceEntry
	}
	if since == 0 || since > now {
		since = now
	}
	return Blocked{
		ForMS: int64(now-since) / 1e6, AtLeast: source != sourceEntry, Since: w.wall(since), Source: source,
	}
}

// stillSince is when the thread was first seen with today's switch count.
func (w *world) stillSince(t *events.Task) uint64 {
	if w.opts.Memory != nil {
		if s, ok := w.opts.Memory.still[threadKey{t.TID, t.StartBootNS}]; ok && s.switches == t.Switches() {
			return s.sinceNS
		}
	}
	if b, ok := w.before[t.TID]; ok && b.start == t.StartBootNS {
		return b.sampledNS
	}
	return t.SampledNS
}

// wall turns CLOCK_MONOTONIC into wall-clock time.
func (w *world) wall(monoNS uint64) time.Time {
	return w.snap.TakenAt.Add(time.Duration(int64(monoNS) - w.snap.Clock.MonoNS)).Truncate(time.Millisecond)
}
