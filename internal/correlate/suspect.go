package correlate

import (
	"iter"
	"slices"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Suspect is a thread that may hang, with what must still be read to tell. It
// lets the capture read no more than a hang needs.
type Suspect struct {
	PID, TID int
	MountNS  uint32
	// Strings are addresses of path arguments in the process's memory.
	Strings []uint64
	// FDs are descriptors the call acts on or starts from.
	FDs []int
	// Cwd tells that a path is relative to the working directory.
	Cwd bool
	// Fault tells that the thread is in a page fault: its mappings name the
	// file.
	Fault bool
	// Lock tells that it sleeps in a lock whose holder the thread's own record
	// does not name.
	Lock bool
	// StartBootNS identifies the thread together with TID, Switches its stay
	// in this very wait: what was read of it holds until they change.
	StartBootNS, Switches uint64
	// The registers the thread entered the kernel with; PC 0: unknown, or no
	// user side.
	PC, SP, BP, LR uint64
}

// StackAddresses lists the kernel addresses to be named before Suspects can
// judge: those on the stacks of threads that slept through both passes.
func StackAddresses(snap *facts.Snapshot, d *Decoded) ([]uint64, error) {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return nil, err
	}
	seen := make(map[uint64]bool)
	var addrs []uint64
	for i := range w.last {
		t := &w.last[i]
		if !w.still(t) || w.waitsByNature(t) && t.BlockerTID == 0 && !uninterruptible(t) {
			continue
		}
		for _, a := range t.Stack {
			if _, named := snap.Symbols[a]; !named && !seen[a] {
				seen[a] = true
				addrs = append(addrs, a)
			}
		}
	}
	return addrs, nil
}

// Rest is a thread's stay in a wait that is none on a file system.
type Rest struct {
	TID                   int
	StartBootNS, Switches uint64
}

// Rests lists the threads of a snapshot that slept through in a wait that their
// call or their stack shows to be long by nature: until they run again, there is nothing more
// to know of them. Those that the capture knows already are not listed.
func Rests(snap *facts.Snapshot, d *Decoded) ([]Rest, error) {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return nil, err
	}
	var list []Rest
	for i := range w.last {
		t := &w.last[i]
		if t.Resting || uninterruptible(t) || !w.still(t) || w.suspicious(t) {
			continue
		}
		// A call that is long by nature need not have its stack looked at.
		if w.waitsByNature(t) || w.view(t).kind == waitIdle {
			list = append(list, Rest{t.TID, t.StartBootNS, t.Switches()})
		}
	}
	return list, nil
}

// TIDs are the threads of the last pass.
func TIDs(snap *facts.Snapshot, d *Decoded) map[int]bool {
	list := d.pass(snap.Passes[len(snap.Passes)-1]).list // as far as it can be read
	seen := make(map[int]bool, len(list))
	for i := range list {
		seen[list[i].TID] = true
	}
	return seen
}

func uninterruptible(t *events.Task) bool {
	return t.State&events.StateUninterruptible != 0
}

// waitsByNature tells whether a thread sits in a call that is long by nature,
// judged by the call's number alone.
func (w *world) waitsByNature(t *events.Task) bool {
	c, ok := w.call(t)
	return ok && c.ClassFor(t.Args) == syscalls.ClassWait
}

// Suspects lists the threads of a snapshot that may hang.
func Suspects(snap *facts.Snapshot, d *Decoded) ([]Suspect, error) {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return nil, err
	}
	which := slices.Collect(w.suspected()) // ten thousand suspects, and twice as many while a list grows, are megabytes
	list := make([]Suspect, len(which))
	for i, t := range which {
		list[i] = w.suspect(t)
	}
	return list, nil
}

// MayHang tells whether there are suspects.
func MayHang(snap *facts.Snapshot, d *Decoded) (bool, error) {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return false, err
	}
	for range w.suspected() {
		return true, nil
	}
	return false, nil
}

// suspected are the threads that slept through and may be in a file-system wait.
func (w *world) suspected() iter.Seq[*events.Task] {
	return func(yield func(*events.Task) bool) {
		for i := range w.last {
			if t := &w.last[i]; w.still(t) && w.suspicious(t) && !yield(t) {
				return
			}
		}
	}
}

// suspicious tells whether a thread that slept through may be in a file-system
// wait. It says yes too often rather than too seldom: the facts decide later.
func (w *world) suspicious(t *events.Task) bool {
	if t.Resting {
		return false
	}
	v := w.view(t)
	if v.kind == waitFS || v.kind == waitPage && !w.waitsByNature(t) {
		return v.kind == waitFS || uninterruptible(t)
	}
	if t.BlockerTID != 0 && w.byTID[t.BlockerTID] != nil {
		return true
	}
	if e := w.explained[t.TID]; e != nil && v.kind != waitIdle {
		return true
	}
	if v.kind == waitIdle {
		return false
	}
	if t.KernelThread() || t.IOWorker() {
		return uninterruptible(t) && v.kind != waitUnknown
	}
	c, ok := w.call(t)
	if !ok {
		return uninterruptible(t) || v.fault || w.unread(t) // a fault, or a stack we cannot read
	}
	switch c.ClassFor(t.Args) {
	case syscalls.ClassPath, syscalls.ClassFD, syscalls.ClassSync, syscalls.ClassExit:
		return true
	case syscalls.ClassWait, syscalls.ClassLock:
		return false
	}
	return uninterruptible(t)
}

// unread tells that nothing is known yet of where a thread sleeps: /proc shows
// no wait channel before 5.16 (bc9bbb81730e), and stacks are read of suspects
// only.
func (w *world) unread(t *events.Task) bool {
	return w.snap.Backend == facts.BackendProc && !t.HasRegs && t.Wchan == "" && len(t.StackNames) == 0
}

func (w *world) suspect(t *events.Task) Suspect {
	s := Suspect{PID: t.PID, TID: t.TID, MountNS: t.MountNS, StartBootNS: t.StartBootNS, Switches: t.Switches()}
	s.Lock = w.view(t).kind == waitLock && t.BlockerTID == 0
	if t.HasRegs && !t.KernelThread() && !t.IOWorker() && !t.Exiting() && !t.Compat {
		s.PC, s.SP, s.BP, s.LR = t.PC, t.SP, t.BP, t.LR
	}
	c, ok := w.call(t)
	if !ok {
		s.Fault = !t.KernelThread()
		return s
	}
	v := w.view(t)
	s.Fault = v.fault
	for _, p := range c.PathArgs(t.Args) {
		if addr := t.Args[p.Arg]; addr != 0 {
			if _, _, known := w.text(t, addr); !known { // else the tracer copied it at entry
				s.Strings = append(s.Strings, addr)
			}
		}
		if p.Dir < 0 || int32(t.Args[p.Dir]) == syscalls.ATFDCWD {
			s.Cwd = true
		} else {
			s.FDs = append(s.FDs, int(int32(t.Args[p.Dir])))
		}
	}
	for _, i := range c.FDArgs(t.Args) {
		if fd := int(int32(t.Args[i])); fd >= 0 && !slices.Contains(s.FDs, fd) {
			s.FDs = append(s.FDs, fd)
		}
	}
	return s
}

// NeedsInodes tells that the walks so far leave a thread unexplained that
// sleeps in the code of cephfs or FUSE: it may be queued at an inode's lock.
func NeedsInodes(snap *facts.Snapshot, suspects []Suspect, d *Decoded) bool {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return false
	}
	for _, s := range suspects {
		t := w.byTID[s.TID]
		if t == nil || w.explained[s.TID] != nil || t.BlockerTID != 0 {
			continue
		}
		if v := w.view(t); v.kind == waitFS && (v.fs == mounts.KindCephFS || v.fs == mounts.KindFuse) {
			return true
		}
	}
	return false
}

// WaitInFuse tells whether one of the suspects sleeps in FUSE code.
func WaitInFuse(snap *facts.Snapshot, suspects []Suspect, d *Decoded) bool {
	w, err := newWorld(snap, Options{Decoded: d})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(suspects, func(s Suspect) bool {
		t := w.byTID[s.TID]
		return t != nil && w.view(t).fs == mounts.KindFuse
	})
}

// VolumeDataPaths lists the vol_data.json files that would tell more about the
// volumes that threads hang on. They lie outside the mounts.
func VolumeDataPaths(snap *facts.Snapshot, opts Options) ([]string, error) {
	w, err := newWorld(snap, opts)
	if err != nil {
		return nil, err
	}
	var list []string
	seen := make(map[*Mount]bool)
	add := func(p string) {
		if ref, ok := w.volumeRef(p); ok && ref.VolDataPath != "" && !slices.Contains(list, ref.VolDataPath) {
			list = append(list, ref.VolDataPath)
		}
	}
	for i := range w.last {
		t := &w.last[i]
		if !w.still(t) || !w.suspicious(t) {
			continue
		}
		v := w.view(t)
		pl, ok := w.bestPlace(t, v, w.reason(t, v))
		if !ok {
			continue
		}
		add(string(pl.path.Value))
		if pl.mount == nil || seen[pl.mount] {
			continue
		}
		seen[pl.mount] = true
		for _, p := range w.mountPoints(pl.mount) {
			add(p)
		}
	}
	return list, nil
}

// MountedVolumeData lists the vol_data.json files of the volumes that are mounted,
// of the kinds asked for.
func MountedVolumeData(snap *facts.Snapshot, opts Options) ([]string, error) {
	const most = 512
	w, err := newWorld(snap, opts)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, ns := range w.history.Namespaces() {
		for _, m := range w.history.Current(ns).Mounts {
			if !opts.Kinds.Has(m.Kind) || len(list) == most {
				continue
			}
			if ref, ok := w.volumeRef(m.Point); ok && ref.VolDataPath != "" && !slices.Contains(list, ref.VolDataPath) {
				list = append(list, ref.VolDataPath)
			}
		}
	}
	return list, nil
}

// mountPoints are the paths under which a mount's volume may be known: its
// point, and those of the same superblock's other mounts.
func (w *world) mountPoints(m *Mount) []string {
	paths := []string{string(m.Point)}
	if m.Device == "" {
		return paths
	}
	for _, ns := range w.history.Namespaces() {
		for _, same := range w.history.Current(ns).ByDevice(string(m.Device)) {
			paths = append(paths, same.Point)
		}
	}
	return paths
}
