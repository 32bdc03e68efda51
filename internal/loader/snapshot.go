package loader

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
	"github.com/hangtrace/hangtrace/internal/facts"
)

// ErrNotSupported is in the chain of every error that means: this kernel, or
// these rights, do not give it.
var ErrNotSupported = errors.New("not supported")

// SnapshotOptions selects what a Snapshotter sees.
type SnapshotOptions struct {
	// All looks at every process instead of the targets.
	All bool
	// KernelThreads includes kernel threads. This field is optional and only
	// has a meaning with All.
	KernelThreads bool
	// Children includes the children of targets. This field is optional.
	Children bool
	// RunningStacks reads the stacks of threads that can run, too. This field
	// is optional.
	RunningStacks bool
	// Types are those of this kernel. This field is optional: they are read
	// anew.
	Types *Types
}

// Snapshotter runs the task and file iterators. It attaches nothing.
type Snapshotter struct {
	coll     *ebpf.Collection
	opts     SnapshotOptions
	files    *ebpf.Program
	degraded []string
	lastSize int                 // of the last pass
	rests    map[uint32]struct{} // the keys of the map of resting threads

	narrow *narrow // nil: not to be had
	pids   []int
	passes int
}

// variant is one set of programs to try, best first.
type variant struct {
	drop     []string
	degraded string
}

// NewSnapshotter loads the iterators with the best set of programs that this
// kernel takes.
func NewSnapshotter(opts SnapshotOptions) (*Snapshotter, error) {
	// Refused where it is not needed (5.11+); where it is needed and refused,
	// creating the maps says so.
	_ = rlimit.RemoveMemlock()

	variants := []variant{
		{drop: []string{"snapshot_files_nopath"}},
		{drop: []string{"snapshot_files_nopath", "snapshot_symbols"},
			degraded: "kernel names from kallsyms: bpf_snprintf needs 5.14"},
		{drop: []string{"snapshot_files", "snapshot_symbols"},
			degraded: "paths of descriptors from /proc links: bpf_d_path is refused here"},
	}
	var last error
	for i, v := range variants {
		if i == 0 && !syscallPrograms() {
			continue // a load that fails costs as much as one that does not
		}
		s, err := loadSnapshot(opts, v)
		if err == nil {
			for _, done := range variants[1 : i+1] {
				s.degraded = append(s.degraded, done.degraded)
			}
			return s, nil
		}
		last = err
		if errors.Is(err, unix.EPERM) || lockedDown(err) {
			break // rights, not a missing feature: fewer programs do not help
		}
	}
	return nil, fmt.Errorf("task iterator: %w", notSupported(last))
}

// syscallPrograms tells whether the kernel has programs that user space runs
// (5.14, 79a7f8bdb159).
func syscallPrograms() bool {
	return !errors.Is(features.HaveProgramType(ebpf.Syscall), ebpf.ErrNotSupported)
}

func loadSnapshot(opts SnapshotOptions, v variant) (*Snapshotter, error) {
	spec, err := bpf.LoadSnapshot()
	if err != nil {
		return nil, fmt.Errorf("embedded object: %w", err)
	}
	for _, name := range v.drop {
		delete(spec.Programs, name)
	}
	cfg := bpf.SnapshotSnapshotConfig{
		All:           b2u(opts.All),
		KernelThreads: b2u(opts.KernelThreads),
		BlockedOnly:   b2u(!opts.RunningStacks),
		Children:      b2u(opts.Children),
	}
	if err := spec.Variables["cfg"].Set(cfg); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	coll, err := loadCollection(spec, opts.Types)
	opts.Types = nil // they are large
	if err != nil {
		return nil, err
	}
	s := &Snapshotter{coll: coll, opts: opts, files: coll.Programs["snapshot_files"], rests: make(map[uint32]struct{})}
	if s.files == nil {
		s.files = coll.Programs["snapshot_files_nopath"]
	}
	if !opts.All {
		s.narrow = newNarrow(coll.Programs["snapshot_tasks"])
	}
	return s, nil
}

// Close unloads the programs.
func (s *Snapshotter) Close() error {
	if s.narrow != nil {
		s.narrow.close()
	}
	s.coll.Close()
	return nil
}

// Degraded says what this kernel does not give, and what could not be read so
// far.
func (s *Snapshotter) Degraded() []string {
	list := slices.Clone(s.degraded)
	stats := s.Stats()
	if stats["stack_fault"] > 0 {
		list = append(list, "the kernel stacks of some threads could not be read: what they wait for is not known")
	}
	if stats["regs_fault"] > 0 {
		list = append(list, "the registers of some threads could not be read: which call they are in is not known")
	}
	return list
}

// FilePaths tells whether Files gives paths.
func (s *Snapshotter) FilePaths() bool { return s.coll.Programs["snapshot_files"] != nil }

// SetTargets replaces the processes that Tasks looks at.
func (s *Snapshotter) SetTargets(pids []int) error {
	s.pids = slices.Clone(pids)
	if s.narrow != nil {
		s.narrow.set(pids)
	}
	return setPIDs(s.coll.Maps["targets"], pids)
}

// Tasks samples the threads.
func (s *Snapshotter) Tasks() (facts.Pass, error) {
	data, err := s.tasks()
	if err != nil {
		return facts.Pass{}, fmt.Errorf("task iterator: %w", err)
	}
	s.lastSize = len(data)
	return facts.Pass{Format: facts.FormatBPFTask, AtNS: monotonic(), Data: data}, nil
}

func (s *Snapshotter) tasks() ([]byte, error) {
	s.passes++
	size := s.lastSize + s.lastSize/8
	if s.narrow != nil && len(s.pids) <= narrowMost && (!s.opts.Children || s.passes%wideEvery != 1) {
		var data bytes.Buffer
		data.Grow(size + bytes.MinRead)
		var err error
		for _, pid := range s.pids {
			if err = s.narrow.read(pid, &data); err != nil {
				break
			}
		}
		if err == nil {
			return data.Bytes(), nil
		}
		s.narrow.close()
		s.narrow = nil // this kernel, or these rights, do without
	}
	return readIteratorInto(s.coll.Programs["snapshot_tasks"], size)
}

// Files lists the open files of the given processes.
func (s *Snapshotter) Files(pids []int) (facts.Pass, error) {
	if err := setPIDs(s.coll.Maps["file_targets"], pids); err != nil {
		return facts.Pass{}, err
	}
	data, err := readIterator(s.files)
	if err != nil {
		return facts.Pass{}, fmt.Errorf("file iterator: %w", err)
	}
	return facts.Pass{Format: facts.FormatBPFFile, AtNS: monotonic(), Data: data}, nil
}

// DeviceFiles lists the open files of a character device (MAJOR<<20 | MINOR),
// whoever has them open.
func (s *Snapshotter) DeviceFiles(rdev uint32) (facts.Pass, error) {
	wanted := s.coll.Variables["device_files"]
	if err := wanted.Set(rdev); err != nil {
		return facts.Pass{}, fmt.Errorf("file iterator: %w", notSupported(err))
	}
	data, err := readIterator(s.files)
	if err := errors.Join(err, wanted.Set(uint32(0))); err != nil {
		return facts.Pass{}, fmt.Errorf("file iterator: %w", err)
	}
	return facts.Pass{Format: facts.FormatBPFFile, AtNS: monotonic(), Data: data}, nil
}

const symbolBatch = 16 // SYMBOL_BATCH

// Symbols names kernel addresses, as "name+0x1a [module]". Addresses that the
// kernel cannot name are left out. It returns ErrNotSupported before 5.14.
func (s *Snapshotter) Symbols(addrs []uint64) (map[uint64]string, error) {
	prog := s.coll.Programs["snapshot_symbols"]
	if prog == nil {
		return nil, fmt.Errorf("kernel symbols: %w", ErrNotSupported)
	}
	names := make(map[uint64]string, len(addrs))
	for batch := range slices.Chunk(addrs, symbolBatch) {
		if err := s.symbolBatch(prog, batch, names); err != nil {
			return names, fmt.Errorf("kernel symbols: %w", err)
		}
	}
	return names, nil
}

func (s *Snapshotter) symbolBatch(prog *ebpf.Program, batch []uint64, names map[uint64]string) error {
	in, out := s.coll.Maps["symbol_addrs"], s.coll.Maps["symbol_texts"]
	for i := range uint32(symbolBatch) {
		var addr uint64
		if int(i) < len(batch) {
			addr = batch[i]
		}
		if err := in.Put(i, addr); err != nil {
			return err
		}
		if addr == 0 {
			break
		}
	}
	if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
		return err
	}
	for i, addr := range batch {
		text, err := out.LookupBytes(uint32(i))
		if err != nil {
			return err
		}
		if name := symbolName(text); name != "" {
			names[addr] = name
		}
	}
	return nil
}

// symbolName turns the kernel's "name+0x1a/0x40 [module]" into
// "name+0x1a [module]"; an address that has no symbol prints as hexadecimal
// and is no name.
func symbolName(text []byte) string {
	s := unix.ByteSliceToString(text)
	if s == "" || strings.HasPrefix(s, "0x") {
		return ""
	}
	name, rest, sized := strings.Cut(s, "/")
	if !sized {
		return s
	}
	if _, module, ok := strings.Cut(rest, " "); ok {
		// 6.x kernels may put a build ID behind the module's name.
		module, _, _ = strings.Cut(strings.TrimSuffix(module, "]"), " ")
		return name + " " + module + "]"
	}
	return name
}

// Stats returns the programs' own error counters by name; zero ones are left
// out.
func (s *Snapshotter) Stats() map[string]uint64 { return readStats(s.coll) }

func readIterator(prog *ebpf.Program) ([]byte, error) { return readIteratorInto(prog, 0) }

// readIteratorInto expects about so many bytes, as the run before gave.
func readIteratorInto(prog *ebpf.Program, size int) ([]byte, error) {
	it, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var data bytes.Buffer
	data.Grow(size + bytes.MinRead)
	_, err = data.ReadFrom(r)
	return data.Bytes(), err
}

func setPIDs(m *ebpf.Map, pids []int) error {
	want := make(map[uint32]bool, len(pids))
	for _, pid := range pids {
		want[uint32(pid)] = true
	}
	var key uint32
	var value uint8
	var gone []uint32
	for it := m.Iterate(); it.Next(&key, &value); {
		if !want[key] {
			gone = append(gone, key)
		}
	}
	for _, pid := range gone {
		if err := m.Delete(pid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("target %d: %w", pid, err)
		}
	}
	for pid := range want {
		if err := m.Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("target %d: %w", pid, err)
		}
	}
	return nil
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
