package capture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/storage"
)

// storageFresh is for how long what a list of requests said holds, as long as
// no thread begins to hang or stops: a live session looks far more often.
const storageFresh = 2 * time.Second

// storageFacts reads what tells whom the threads that hang wait for, where the
// walk does not, and what the kernel has logged about it.
func (s *Session) storageFacts(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect, skip func(string, error)) {
	wants, err := correlate.Unanswered(snap, s.opts.Judge)
	if err != nil || !wants.Hangs {
		return
	}
	if wants.FindDaemons {
		s.findDaemons(ctx, snap)
		if wants, err = correlate.Unanswered(snap, s.opts.Judge); err != nil {
			return
		}
	}
	s.kernelLog(snap)
	s.nfs(snap, wants.NFS, skip)
	if wants.Ceph || len(wants.Daemons) > 0 {
		s.cephStates(ctx, snap, suspects, wants)
	}
	if s.opts.ProbeNetwork {
		s.probeNetwork(ctx, snap, skip)
	}
}

// cephStates asks the ceph clients, or takes what they said a moment ago.
func (s *Session) cephStates(ctx context.Context, snap *facts.Snapshot, suspects []correlate.Suspect, wants correlate.Wants) {
	key := fmt.Sprint(wants.Ceph, wants.Caps, wants.Daemons, hungSet(suspects))
	if c := s.cache.ceph; c != nil && c.key == key && time.Since(c.read) < storageFresh {
		snap.Ceph = c.states
		snap.Degraded, snap.Skipped = append(snap.Degraded, c.degraded...), append(snap.Skipped, c.skipped...)
		return
	}
	degraded, skipped := len(snap.Degraded), len(snap.Skipped)
	if wants.Ceph {
		s.cephDebugfs(ctx, snap, wants.Caps)
	}
	s.cephDaemons(ctx, snap, wants.Daemons)
	s.cache.ceph = &cephCache{
		key: key, read: time.Now(), states: snap.Ceph,
		degraded: slices.Clone(snap.Degraded[degraded:]), skipped: slices.Clone(snap.Skipped[skipped:]),
	}
}

// cephCache is what cephStates found.
type cephCache struct {
	key      string
	read     time.Time
	states   []facts.CephState
	degraded []string
	skipped  []facts.Skipped
}

// hungSet names the threads in question.
func hungSet(suspects []correlate.Suspect) string {
	var b strings.Builder
	for _, p := range suspects {
		fmt.Fprintf(&b, "%d/%d ", p.TID, p.Switches)
	}
	return b.String()
}

// cephDebugfs reads the kernel's ceph clients. Whatever of it hangs, hangs in a
// child: the directory itself, a file of one client, or the capabilities, which
// take every session's lock and are read by themselves.
func (s *Session) cephDebugfs(ctx context.Context, snap *facts.Snapshot, caps bool) {
	names, err := s.cephClients(ctx)
	if err != nil {
		var missing missingDebugfs
		if errors.As(err, &missing) {
			snap.Degraded = append(snap.Degraded, missing.Error())
		} else {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: "requests of the kernel's ceph clients", Why: err.Error()})
		}
		return
	}
	clients := s.readClients(ctx, snap, names)
	if caps {
		s.capWaiters(ctx, snap, clients)
	}
	for _, c := range clients {
		snap.Ceph = append(snap.Ceph, *c)
	}
}

// missingDebugfs says that there is nothing to read, and why.
type missingDebugfs string

func (e missingDebugfs) Error() string { return string(e) }

func (s *Session) debugfs() expendable.Raw { return expendable.Raw(s.opts.Sys + "/kernel/debug") }

// cephClients lists the clients' directories.
func (s *Session) cephClients(ctx context.Context) ([]string, error) {
	reqs := []expendable.Request{
		{Op: expendable.OpReaddir, Root: s.debugfs(), Path: "ceph"},
		{Op: expendable.OpReaddir, Root: s.debugfs(), Max: 1},
	}
	answers, err := s.opts.Runner.Do(ctx, string(s.debugfs()), reqs, childDeadline(ctx))
	if len(answers) < 2 || answers[0].Err != "" && err != nil {
		return nil, err
	}
	var names []string
	for _, e := range answers[0].Entries {
		if strings.Contains(string(e.Name), ".client") {
			names = append(names, string(e.Name))
		}
	}
	slices.Sort(names)
	const what = ": the requests of the kernel's ceph clients are not known"
	switch {
	case answers[0].Err == "":
		return names, nil
	case strings.Contains(answers[0].Err, unix.EACCES.Error()), strings.Contains(answers[0].Err, unix.EPERM.Error()):
		return nil, missingDebugfs("no right to read " + string(s.debugfs()) + "/ceph" + what)
	case answers[1].Err != "" || len(answers[1].Entries) == 0:
		return nil, missingDebugfs("debugfs is not mounted on " + string(s.debugfs()) + what)
	}
	return nil, missingDebugfs("debugfs has no ceph directory" + what)
}

// readClients reads the files of all clients in one child, and what that one
// did not come to in a child for each client: one that hangs costs no other.
func (s *Session) readClients(ctx context.Context, snap *facts.Snapshot, names []string) []*facts.CephState {
	if len(names) == 0 {
		return nil
	}
	r := debugReader{s: s, files: make(map[string]map[string]string, len(names)), deadline: childDeadline(ctx)}
	if err := r.read(ctx, string(s.debugfs())+"/ceph", names); err != nil {
		r.deadline = childDeadline(ctx) / 2
		r.readEach(ctx, names)
	}
	snap.Skipped = append(snap.Skipped, r.skipped...)
	clock, _ := s.opts.Proc.Clock()
	var list []*facts.CephState
	for _, name := range names {
		if r.files[name] == nil {
			continue // it went away, or hangs: said
		}
		c := storage.CephDebugClient(name, r.files[name])
		c.AtNS = clock.MonoNS
		list = append(list, &c)
	}
	return list
}

// debugReader reads files of clients in debugfs.
type debugReader struct {
	s        *Session
	deadline time.Duration

	mu      sync.Mutex
	files   map[string]map[string]string // by client and file
	skipped []facts.Skipped
}

// read has one child read the files, the most telling ones of all clients first.
func (r *debugReader) read(ctx context.Context, key string, names []string) error {
	var reqs []expendable.Request
	for _, file := range storage.CephDebugFiles {
		for _, name := range names {
			reqs = append(reqs, r.s.debugFile(name, file))
		}
	}
	answers, err := r.s.opts.Runner.Do(ctx, key, reqs, r.deadline)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range answers {
		if a.Err != "" {
			continue // a client of rbd lacks some
		}
		name := names[i%len(names)]
		if r.files[name] == nil {
			r.files[name] = make(map[string]string)
		}
		r.files[name][storage.CephDebugFiles[i/len(names)]] = string(a.Data)
	}
	return err
}

// readEach reads the clients that read did not come to the end of, each in a
// child of its own, at the same time.
func (r *debugReader) readEach(ctx context.Context, names []string) {
	const most = 32 // children
	var wg sync.WaitGroup
	started := 0
	for _, name := range names {
		if _, whole := r.files[name]["osdmap"]; whole {
			continue
		}
		if started++; started > most {
			r.skipped = append(r.skipped, facts.Skipped{What: "requests of ceph client " + name, Why: "too many clients, and one of them hangs"})
			continue
		}
		wg.Go(func() {
			if err := r.read(ctx, string(r.s.debugfs())+"/ceph/"+name, []string{name}); err != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.skipped = append(r.skipped, facts.Skipped{What: "requests of ceph client " + name, Why: err.Error()})
			}
		})
	}
	wg.Wait()
}

func (s *Session) debugFile(name, file string) expendable.Request {
	const most = 1 << 20
	return expendable.Request{Op: expendable.OpReadfile, Root: s.debugfs(), Path: expendable.Raw("ceph/" + name + "/" + file), Max: most}
}

// capWaiters reads who waits for capabilities.
func (s *Session) capWaiters(ctx context.Context, snap *facts.Snapshot, clients []*facts.CephState) {
	var reqs []expendable.Request
	var of []*facts.CephState
	for _, c := range clients {
		if c.CephFS {
			r := s.debugFile(fmt.Sprintf("%s.client%d", c.FSID, c.ID), storage.CephCapsFile)
			r.After = storage.CephCapsWaiters
			reqs, of = append(reqs, r), append(of, c)
		}
	}
	answers, err := s.opts.Runner.Do(ctx, string(s.debugfs())+"/ceph caps", reqs, childDeadline(ctx)/2)
	for i, a := range answers {
		if a.Err == "" {
			of[i].CapsRead, of[i].CapWaiters = true, storage.CephCapWaiters(string(a.Data))
		}
	}
	if err != nil {
		snap.Skipped = append(snap.Skipped, facts.Skipped{What: "who waits for ceph capabilities", Why: err.Error()})
	}
}

// cephDaemons asks ceph-fuse daemons through their admin sockets.
func (s *Session) cephDaemons(ctx context.Context, snap *facts.Snapshot, pids []int) {
	clock, _ := s.opts.Proc.Clock()
	states := make([]*facts.CephState, len(pids))
	whys := make([]string, len(pids))
	at := make(map[int]int, len(pids))
	for i, pid := range pids {
		at[pid] = i
	}
	forEach(pids, func(pid int) {
		req := expendable.Request{Op: expendable.OpAdmin, PID: pid, Names: storage.CephDaemonCommands}
		answers, err := s.opts.Runner.Do(ctx, fmt.Sprintf("admin:%d", pid), []expendable.Request{req}, childDeadline(ctx)/2)
		if len(answers) == 0 {
			whys[at[pid]] = errorText(err)
			return
		}
		texts := make(map[string][]byte)
		for _, t := range answers[0].Texts {
			texts[t.Name] = t.Data
		}
		if whys[at[pid]] = answers[0].Err; len(texts) == 0 {
			return
		}
		c, err := storage.CephDaemonClient(pid, texts)
		if err != nil {
			whys[at[pid]] = err.Error()
			return
		}
		c.AtNS = clock.MonoNS
		states[at[pid]] = &c
	})
	for i, pid := range pids {
		if states[i] != nil {
			snap.Ceph = append(snap.Ceph, *states[i])
		}
		if whys[i] != "" {
			snap.Skipped = append(snap.Skipped, facts.Skipped{What: fmt.Sprintf("requests of ceph-fuse (pid %d)", pid), Why: whys[i]})
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// nfs reads the counters of NFS mounts with a hung thread.
func (s *Session) nfs(snap *facts.Snapshot, readers map[uint32]int, skip func(string, error)) {
	for _, ns := range slices.Sorted(maps.Keys(readers)) {
		text, err := s.opts.Proc.MountStats(readers[ns])
		if err != nil {
			skip(fmt.Sprintf("NFS counters of pid %d", readers[ns]), err)
			continue
		}
		for _, m := range storage.NFSMounts(string(text)) {
			m.Namespace = ns
			snap.NFS = append(snap.NFS, m)
		}
	}
}

// kernelLog adds what the kernel has logged since the last look. It is evidence
// only: without the right to read it that is said, and nothing else is lost.
func (s *Session) kernelLog(snap *facts.Snapshot) {
	s.askLog()
	read := <-s.logged
	s.logged = nil
	snap.KernelLog = read.lines
	const without = "the kernel's log cannot be read, what it says of storage servers is missing: "
	if read.err != nil {
		snap.Degraded = append(snap.Degraded, without+read.err.Error())
	} else if read.more {
		snap.Degraded = append(snap.Degraded, "the kernel's log was not read to its end: it is too long")
	}
}

// askLog begins to read on in the kernel's log.
func (s *Session) askLog() {
	if s.logged == nil {
		s.logged = beside(s.readLog)
	}
}

// logRead is what the kernel's log had.
type logRead struct {
	lines []facts.KernelLine
	more  bool // than was read
	err   error
}

// readLog runs beside everything else: nobody else touches s.log meanwhile.
func (s *Session) readLog() (r logRead) {
	if s.noLog != nil {
		return logRead{err: s.noLog}
	}
	if s.log == nil {
		if s.log, s.noLog = storage.OpenKernelLog(s.opts.kernelLogFile()); s.noLog != nil {
			s.log = nil
			return logRead{err: s.noLog}
		}
	}
	r.lines, r.more, r.err = s.log.Lines()
	r.lines = slices.Clone(r.lines)
	return r
}

// probeNetwork tries to connect with the servers that threads wait for, all at
// once, because the user asked for it.
func (s *Session) probeNetwork(ctx context.Context, snap *facts.Snapshot, skip func(string, error)) {
	addresses, err := correlate.Addresses(snap, s.opts.Judge)
	if err != nil || len(addresses) == 0 {
		return
	}
	if c := s.cache.reach; c != nil && c.key == strings.Join(addresses, " ") && time.Since(c.read) < reachFresh {
		snap.Reach = c.list
		return
	}
	deadline := childDeadline(ctx)
	req := expendable.Request{Op: expendable.OpDial, PID: s.hostPID(), Names: addresses, Max: max(int((deadline * 3 / 4).Milliseconds()), 1)}
	answers, err := s.opts.Runner.Do(ctx, "dial", []expendable.Request{req}, deadline)
	if err != nil {
		skip("connections with servers (--probe-network)", err)
		return
	}
	for _, d := range answers[0].Dialed {
		snap.Reach = append(snap.Reach, reachOf(d))
	}
	s.cache.reach = &reachCache{key: strings.Join(addresses, " "), read: time.Now(), list: snap.Reach}
}

// reachFresh is how long live waits before it tries the same servers again.
const reachFresh = 30 * time.Second

type reachCache struct {
	key  string
	read time.Time
	list []facts.Reach
}

func reachOf(d expendable.Dialed) facts.Reach {
	r := facts.Reach{Address: d.Address, TookMS: d.TookMS, HostNet: d.Entered}
	switch {
	case d.Err != "":
		r.Outcome, r.Why = facts.ReachUnknown, d.Err
	case d.Errno == "":
		r.Outcome = facts.ReachReachable
	case d.Errno == "ECONNREFUSED":
		r.Outcome, r.Why = facts.ReachRefused, "the host is up, nothing listens"
	case d.Errno == "ETIMEDOUT":
		r.Outcome, r.Why = facts.ReachNoAnswer, fmt.Sprintf("none within %d ms", d.TookMS)
	default:
		r.Outcome, r.Why = facts.ReachNoAnswer, d.Errno
	}
	return r
}
