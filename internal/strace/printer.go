package strace

import (
	"maps"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
	"github.com/hangtrace/hangtrace/internal/syscalls/decode"
)

// Printer makes lines of records. It is for one goroutine.
type Printer struct {
	o       Options
	decode  decode.Options
	threads map[int]*thread
	live    int // threads that are not dead
	// processes counts the threads of each that are not dead, leaders are first
	// threads that ended before others.
	processes map[int]int
	leaders   map[int]leaderEnd
	many      bool
	fds       descriptors
	table     table

	mem                     memories
	entryMemory, exitMemory decode.Memory
	pid                     int // whose descriptors the decoder asks for

	// current is the thread whose line is open, or would be.
	current *thread
	lastNS  uint64 // of the line before, for -r
	text    []byte // of a whole line
	second  int64  // that clock is the time of day of
	clock   []byte
	err     error

	lines, lost uint64
}

// New makes a Printer.
func New(o Options) *Printer {
	o.setDefaults()
	p := &Printer{o: o, threads: make(map[int]*thread), processes: make(map[int]int), leaders: make(map[int]leaderEnd)}
	p.fds = descriptors{lookup: o.FDPath, cache: o.CacheFDs, cacheDir: o.CacheDir, of: make(map[int]map[int]string)}
	p.decode = decode.Options{StringLimit: o.StringLimit, Verbose: o.Verbose, Location: o.Location}
	if o.FDPaths {
		p.decode.FDPath = p.fdPath
		p.decode.RetFDPath = p.retFDPath
	}
	p.entryMemory, p.exitMemory = reader(&p.mem.entry), reader(&p.mem.exit)
	p.table.calls = make(map[string]*row)
	return p
}

// Lines is how many calls were shown or, with Only, counted; Lost how many are
// known to be missing.
func (p *Printer) Lines() uint64 { return p.lines }

// Lost is how many calls the gaps in the threads' numbers told of.
func (p *Printer) Lost() uint64 { return p.lost }

// Processes lists the processes that have a thread not known to be dead.
func (p *Printer) Processes() []int { return slices.Sorted(maps.Keys(p.processes)) }

func (p *Printer) thread(pid, tid int) *thread {
	t := p.threads[tid]
	if t == nil || t.dead {
		t = &thread{pid: pid, tid: tid}
		p.threads[tid] = t
		p.live++
		p.processes[pid]++
		p.many = p.many || p.live > 1
	}
	return t
}

// forget takes a thread off the count.
func (p *Printer) forget(pid int) {
	p.live--
	if p.processes[pid]--; p.processes[pid] <= 0 {
		delete(p.processes, pid)
	}
}

// Record takes in one record.
func (p *Printer) Record(r *events.Strace) error {
	switch r.Kind {
	case events.StraceEnter:
		p.enter(r)
	case events.StraceExit:
		p.exit(r)
	case events.StraceSignal:
		p.signal(r)
	case events.StraceFork:
		p.fork(r)
	case events.StraceExec:
		p.exec(r)
	case events.StraceDeath:
		p.death(r)
	case events.StraceStack, events.StraceSlept:
		p.stack(r)
	}
	return p.err
}

func (p *Printer) enter(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	if t.inside && !t.early {
		p.returnLost(t)
	}
	p.gap(t, r)
	early := t.early && t.call.NR == r.NR && r.Late
	if t.early && !early { // it returned before we could see it
		t.head, t.early = "", false
	}
	arch := p.o.Arch
	if r.Compat {
		arch = arch.Compat()
	}
	if r.Compat != t.compat {
		t.compat = r.Compat
		p.personality(t, r.NS, arch)
	}
	t.forgetStack()
	since, known := t.since, t.known
	t.call, t.args = lookup(arch, r.NR), r.Args
	t.inside, t.since, t.known = true, r.NS, !r.Late
	if early {
		t.since, t.known = since, known
	}
	t.memory = append(t.memory[:0], r.Memory...)
	p.learnFiles(t, r.Memory)
	t.kept = !r.Late || !isBirth(t.call)
	if !p.shown(t) || p.whole() || early {
		return
	}
	p.take(t)
}

// isBirth tells of calls that return in the child, which never made them.
func isBirth(c syscalls.Call) bool {
	switch c.Name {
	case "clone", "clone3", "fork", "vfork":
		return true
	}
	return false
}

// whole tells that only finished lines can be shown: what decides about them
// comes at the return.
func (p *Printer) whole() bool {
	return p.o.status() != AnyStatus || p.o.Only || p.o.Ring > 0
}

// shown tells whether the filters on paths and births let the call through.
func (p *Printer) shown(t *thread) bool {
	return t.kept && (len(p.o.Paths) == 0 || p.onPath(t))
}

// take makes t's line the one at the end of the output.
func (p *Printer) take(t *thread) {
	if p.current != nil && p.current != t {
		p.suspend(p.current)
	}
	p.current = t
}

// suspend ends the line of a call that has not returned.
func (p *Printer) suspend(t *thread) {
	p.current = nil
	if !t.inside || p.o.Files != nil {
		return
	}
	if t.head == "" {
		p.begin(t)
	}
	if t.open {
		p.write(t, " <unfinished ...>\n")
		t.open = false
	}
}

// begin shows the call as far as it is known before its return.
func (p *Printer) begin(t *thread) {
	p.pid = t.pid
	t.head = decode.Unfinished(p.input(t, false, 0, nil), p.decode)
	p.write(t, p.leader(t, t.since)+t.head)
	t.open = true
}

// Waiting tells whether Idle would show something.
func (p *Printer) Waiting() bool {
	return p.current != nil && p.current.inside && p.current.head == ""
}

// Idle shows what is in flight: called when no record has come for a while.
func (p *Printer) Idle() error {
	if t := p.current; t != nil && t.inside && t.head == "" {
		p.begin(t)
	}
	return p.err
}

func (p *Printer) exit(r *events.Strace) {
	t := p.thread(r.PID, r.TID)
	if !t.inside {
		return
	}
	if isBirth(t.call) && r.Return == 0 && !t.known { // the child's side
		t.inside = false
		return
	}
	t.kept = true
	p.pid = t.pid
	var took uint64
	if t.known && r.NS > t.since {
		took = r.NS - t.since
	}
	p.count(t, r.Return, took)
	if p.o.Ring > 0 {
		p.keep(t, r, took)
	} else if !p.o.Only && p.shown(t) && p.o.status()&statusOf(r.Return) != 0 {
		p.finish(t, r)
	}
	if syscalls.ErrnoOf(r.Return) == 0 && p.o.FDPaths {
		p.learn(t, r)
	}
	p.learnFiles(t, r.Memory)
	t.inside, t.early, t.head, t.before = false, false, "", nameOf(t.call)
	if p.current == t {
		p.current = nil
	}
	p.signalsAfter(t, r.NS)
}

func (p *Printer) learn(t *thread, r *events.Strace) {
	opened := ""
	if paths := t.call.PathArgs(t.args); len(paths) > 0 && t.call.RetFor(t.args) == syscalls.RetFD {
		opened = p.stringAt(t, t.args[paths[0].Arg], r.Memory)
	}
	p.fds.learn(t.pid, t.call, t.args, r.Return, opened)
}

// stringAt gives a string that was copied whole.
func (p *Printer) stringAt(t *thread, addr uint64, exit []byte) string {
	p.mem.load(t.memory, exit)
	b := p.entryMemory(addr, 4096)
	s, _, whole := strings.Cut(string(b), "\x00")
	if !whole {
		return ""
	}
	return s
}

func statusOf(ret int64) Status {
	if syscalls.ErrnoOf(ret) != 0 {
		return Failed
	}
	return Successful
}
