package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/symbol"
)

// backend samples threads and names kernel addresses.
type backend interface {
	name() string
	setTargets(t Targets) error
	pass(ctx context.Context) (facts.Pass, error)
	// detail adds to the last pass what costs more: calls and stacks of the
	// given threads. It returns the pass unchanged where it has them already.
	detail(ctx context.Context, p facts.Pass, threads map[int][]int) (facts.Pass, []facts.Skipped)
	// rest tells which threads a pass need not look into while they sleep on.
	rest(list []correlate.Rest, alive func(tid int) bool) error
	files(pids []int) (facts.Pass, error)
	// deviceFiles lists the open files of a device, whoever has them open.
	deviceFiles(rdev uint32) (facts.Pass, error)
	// filePaths tells whether files gives paths.
	filePaths() bool
	symbols(addrs []uint64) (map[uint64]string, error)
	clock(c *facts.Clock) error
	degraded() []string
	close() error
}

// The values of Options.Backend.
const (
	BackendAuto = "auto"
	BackendBPF  = "bpf"
	BackendProc = "proc"
)

func newBackend(ctx context.Context, opts *Options, types *loader.Types, ask asker) (backend, error) {
	if opts.Backend == BackendProc {
		return &procBackend{opts: opts, ask: ask, why: "asked for"}, nil
	}
	if first, err := opts.Proc.InitialPIDNamespace(); err == nil && !first {
		// The iterator counts processes as the node does, /proc as this
		// container does: one's PID 7 is not the other's.
		const why = "this container has PIDs of its own (no hostPID)"
		if opts.Backend == BackendBPF {
			return nil, fmt.Errorf("backend bpf: %s; try: --backend proc", why)
		}
		return &procBackend{opts: opts, ask: ask, why: why}, nil
	}
	s, err := loadSnapshotter(ctx, opts, loader.SnapshotOptions{
		All: opts.Targets.All, KernelThreads: opts.Targets.KernelThreads, Children: opts.Children, Types: types,
	})
	if err == nil {
		b := &bpfBackend{s: s, proc: opts.Proc}
		return b, b.setTargets(opts.Targets)
	}
	if opts.Backend == BackendBPF {
		return nil, fmt.Errorf("backend bpf: %w", err)
	}
	return &procBackend{opts: opts, ask: ask, why: err.Error()}, nil
}

// loadSnapshotter loads the programs in half of the time that is left: /proc alone
// needs the other half.
func loadSnapshotter(ctx context.Context, opts *Options, o loader.SnapshotOptions) (*loader.Snapshotter, error) {
	load := opts.newSnapshotter
	if load == nil {
		load = loader.NewSnapshotter
	}
	until, bounded := ctx.Deadline()
	if !bounded {
		return load(o)
	}
	most := time.Until(until) / 2
	loading := background(func() (*loader.Snapshotter, error) { return load(o) })
	select {
	case l := <-loading:
		return l.value, l.err
	case <-time.After(most):
	case <-ctx.Done():
	}
	forgo(loading)
	return nil, fmt.Errorf("the kernel did not take the programs within %s", most.Round(time.Millisecond))
}

type bpfBackend struct {
	s        *loader.Snapshotter
	proc     *proc.FS
	kallsyms *symbol.Kallsyms
}

func (b *bpfBackend) name() string { return facts.BackendBPF }

func (b *bpfBackend) setTargets(t Targets) error {
	pids := make([]int, len(t.List))
	for i, f := range t.List {
		pids[i] = f.PID
	}
	return b.s.SetTargets(pids)
}

func (b *bpfBackend) pass(context.Context) (facts.Pass, error) { return b.s.Tasks() }

func (b *bpfBackend) detail(_ context.Context, p facts.Pass, _ map[int][]int) (facts.Pass, []facts.Skipped) {
	return p, nil
}

func (b *bpfBackend) rest(list []correlate.Rest, alive func(tid int) bool) error {
	rests := make([]loader.Rest, len(list))
	for i, r := range list {
		rests[i] = loader.Rest(r)
	}
	return b.s.Rest(rests, alive)
}

func (b *bpfBackend) files(pids []int) (facts.Pass, error) { return b.s.Files(pids) }

func (b *bpfBackend) deviceFiles(rdev uint32) (facts.Pass, error) { return b.s.DeviceFiles(rdev) }

func (b *bpfBackend) filePaths() bool { return b.s.FilePaths() }

func (b *bpfBackend) clock(c *facts.Clock) error { return b.s.Clock(c) }

func (b *bpfBackend) degraded() []string { return b.s.Degraded() }

func (b *bpfBackend) close() error { return b.s.Close() }

// symbols asks the kernel, and reads kallsyms only where the kernel cannot say.
func (b *bpfBackend) symbols(addrs []uint64) (map[uint64]string, error) {
	names, err := b.s.Symbols(addrs)
	if err == nil || !errors.Is(err, loader.ErrNotSupported) {
		return names, err
	}
	if b.kallsyms == nil {
		r, err := b.proc.Kallsyms()
		if err != nil {
			return nil, fmt.Errorf("kernel symbols: %w", err)
		}
		defer r.Close()
		if b.kallsyms, err = symbol.ParseKallsyms(r); err != nil {
			return nil, fmt.Errorf("kernel symbols: %w", err)
		}
	}
	names = make(map[uint64]string, len(addrs))
	for _, a := range addrs {
		if name := b.kallsyms.Lookup(a); name != "" {
			names[a] = name
		}
	}
	return names, nil
}

// procBackend does with /proc alone.
type procBackend struct {
	opts *Options
	ask  asker
	why  string
}

func (b *procBackend) name() string { return facts.BackendProc }

func (b *procBackend) setTargets(Targets) error { return nil }

func (b *procBackend) pass(context.Context) (facts.Pass, error) {
	var pids []int
	if !b.opts.Targets.All {
		pids = make([]int, 0, len(b.opts.Targets.List))
		for _, t := range b.opts.Targets.List {
			pids = append(pids, t.PID)
		}
	}
	threads, _ := b.opts.Proc.ProcThreads(pids, b.opts.Targets.KernelThreads)
	if len(threads) == 0 { // the targets ended: the same as with BPF
		return facts.Pass{Format: facts.FormatProcTask}, nil
	}
	return encodeThreads(threads)
}

func encodeThreads(threads []facts.ProcThread) (facts.Pass, error) {
	const usual = 640 // bytes a thread, with its stack
	var buf bytes.Buffer
	buf.Grow(usual * len(threads))
	enc := json.NewEncoder(&buf)
	for i := range threads {
		threads[i].Status = proc.SwitchLines(threads[i].Status)
		if err := enc.Encode(&threads[i]); err != nil {
			return facts.Pass{}, fmt.Errorf("thread %d: %w", threads[i].TID, err)
		}
	}
	return facts.Pass{Format: facts.FormatProcTask, AtNS: threads[len(threads)-1].AtNS, Data: buf.Bytes()}, nil
}

// detail reads calls and stacks through expendable children, one a process:
// those files take a lock that a hung execve may hold.
func (b *procBackend) detail(ctx context.Context, p facts.Pass, threads map[int][]int) (facts.Pass, []facts.Skipped) {
	var skipped []facts.Skipped
	found := make(map[int]expendable.Thread)
	work := make(map[int][]expendable.Request, len(threads))
	for pid, tids := range threads {
		work[pid] = []expendable.Request{{Op: expendable.OpThreads, PID: pid, TIDs: tids}}
	}
	replies := b.ask(ctx, work)
	for _, pid := range slices.Sorted(maps.Keys(replies)) {
		r := replies[pid]
		for _, a := range r.answers {
			for _, t := range a.Threads {
				found[t.TID] = t
			}
			if r.err == nil && a.Err != "" {
				r.err = errors.New(a.Err)
			}
		}
		if r.err != nil {
			skipped = append(skipped, facts.Skipped{What: fmt.Sprintf("calls and stacks of pid %d", pid), Why: r.err.Error()})
		}
	}
	var list []facts.ProcThread
	dec := json.NewDecoder(bytes.NewReader(p.Data))
	for dec.More() {
		var t facts.ProcThread
		if err := dec.Decode(&t); err != nil {
			break // cannot happen: encodeThreads wrote it
		}
		if d, ok := found[t.TID]; ok {
			t.Syscall, t.Stack = d.Syscall, d.Stack
			if d.Status != "" {
				t.Status = d.Status // one that ran since did not sleep through
			}
		}
		list = append(list, t)
	}
	if detailed, err := encodeThreads(list); err == nil {
		detailed.AtNS = p.AtNS
		return detailed, skipped
	}
	return p, skipped
}

func (b *procBackend) rest([]correlate.Rest, func(int) bool) error { return nil }

func (b *procBackend) files([]int) (facts.Pass, error) {
	return facts.Pass{}, loader.ErrNotSupported
}

func (b *procBackend) deviceFiles(uint32) (facts.Pass, error) {
	return facts.Pass{}, loader.ErrNotSupported
}

func (b *procBackend) filePaths() bool { return false }

func (b *procBackend) symbols([]uint64) (map[uint64]string, error) { return nil, nil }

func (b *procBackend) clock(*facts.Clock) error { return loader.ErrNotSupported }

func (b *procBackend) degraded() []string {
	list := []string{
		"backend proc (" + b.why + "): blocked since when is known only as far as hangtrace watched",
		"backend proc: killable and unkillable waits look the same",
	}
	if b.blind() {
		list = append(list, "calls, stacks and paths of other users' processes cannot be read without CAP_SYS_PTRACE: their hangs are not seen")
	}
	return list
}

// blind tells whether these rights show other users' processes from outside
// only: then that nothing was found says nothing of them.
func (b *procBackend) blind() bool {
	const ptrace = 19 // CAP_SYS_PTRACE
	status, err := b.opts.Proc.Status(os.Getpid(), 0)
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:\t")
	text, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(text, 16, 64)
	return err == nil && caps&(1<<ptrace) == 0
}

func (b *procBackend) close() error { return nil }

// childKey names a process for the runner of expendable children.
func childKey(pid int) string { return fmt.Sprintf("pid:%d", pid) }

// childDeadline gives one child at most half of what time is left, so that one
// jammed process does not eat up everybody's, and more than a second only where
// the session has a multiple of that.
func childDeadline(ctx context.Context) time.Duration {
	most := time.Second
	until, ok := ctx.Deadline()
	if !ok {
		return most
	}
	left := time.Until(until)
	return max(min(left/2, max(most, left/5)), 10*time.Millisecond)
}
