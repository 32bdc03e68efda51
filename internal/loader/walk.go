package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// WalkOptions selects what one walk looks at beyond requests, pages and names
// that are waited for.
type WalkOptions struct {
	// Inodes looks at every cached inode for threads that wait for its locks:
	// 50-200 ns each, so only when a wait is unexplained. This field is
	// optional.
	Inodes bool
	// MaxInodes bounds that; 262,144 when 0.
	MaxInodes int
	// Devices are super blocks (MAJOR<<20 | MINOR) of interest whatever their
	// type; with Inodes, only their inodes are looked at. Without, those of
	// every cephfs, FUSE, rbd and network file system. This field is optional.
	Devices []uint32
}

const (
	defaultInodes = 1 << 18
	recordWalkEnd = 33 // WALK_END
	walkStats     = 16 // WALK_STAT_MAX
)

// Walker reads who waits for whom from the kernel's own structures. It
// attaches nothing and takes no lock, so it cannot block; it must not be used
// before something hangs, because loading takes a tenth of a second. It sees
// the modules that were loaded when it was made.
type Walker struct {
	mu   sync.Mutex
	coll *ebpf.Collection
	out  *ebpf.Memory
	bss  *ebpf.Memory
	// at is where the counters of found super blocks lie in bss.
	at map[string]uint32
	// missing maps a program that is not loaded to the reason.
	missing  map[string]string
	degraded []string
}

// walkOrder is the order in which the programs run: each may find what the
// next ones walk.
var walkOrder = []string{"walk_supers", "walk_cephfs", "walk_threads", "walk_rbds",
	"walk_clients", "walk_fuses", "walk_tables", "walk_inodes"}

// NewWalker loads the programs whose types this kernel has. It returns
// ErrNotSupported before Linux 5.17, without BTF, without the rights, and under
// lockdown in confidentiality mode. Without types they are read anew.
func NewWalker(types *Types) (*Walker, error) {
	_ = rlimit.RemoveMemlock() // see NewSnapshotter
	w := &Walker{missing: make(map[string]string)}
	if err := w.load(types); err != nil {
		return nil, fmt.Errorf("walker: %w", walkNotSupported(err))
	}
	if err := w.prepare(); err != nil {
		w.Close()
		return nil, fmt.Errorf("walker: %w", err)
	}
	return w, nil
}

// prepare finds the memory that the programs write to, and the symbols.
func (w *Walker) prepare() (err error) {
	if w.out, err = w.coll.Maps["out"].Memory(); err != nil {
		return fmt.Errorf("records: %w", notSupported(err))
	}
	if w.bss, err = w.coll.Maps[".bss"].Memory(); err != nil {
		return fmt.Errorf("state: %w", notSupported(err))
	}
	size := uint64(16384) // THREAD_SIZE without KASAN
	if page := uint64(os.Getpagesize()); page > size {
		size = page
	}
	if err := w.coll.Variables["stack_size"].Set(size); err != nil {
		return fmt.Errorf("stack size: %w", err)
	}
	return w.findSymbols()
}

// Close unloads the programs.
func (w *Walker) Close() error {
	w.coll.Close()
	return nil
}

// Degraded says what the walks so far could not see.
func (w *Walker) Degraded() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.degraded)
}

func (w *Walker) degrade(why string) {
	if !slices.Contains(w.degraded, why) {
		w.degraded = append(w.degraded, why)
	}
}

// Walk looks once at everything. What it sees may change under it: believe
// only what two walks agree on (events.AgreeWalks).
func (w *Walker) Walk(opts WalkOptions) (facts.Pass, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pass := facts.Pass{Format: facts.FormatBPFWalk}
	began := monotonic()
	if err := w.configure(opts); err != nil {
		return pass, fmt.Errorf("walk: %w", err)
	}
	for _, name := range walkOrder {
		prog := w.coll.Programs[name]
		if prog == nil || !w.due(name, opts) {
			continue
		}
		if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
			return pass, fmt.Errorf("walk: %s: %w", name, err)
		}
		var err error
		if pass.Data, err = w.take(pass.Data); err != nil {
			return pass, fmt.Errorf("walk: %s: %w", name, err)
		}
	}
	w.blame()
	if err := w.forgetCaps(); err != nil {
		return pass, fmt.Errorf("walk: %w", err)
	}
	pass.AtNS = monotonic()
	stats, err := w.end(uint64(pass.AtNS - began))
	pass.Data = append(pass.Data, stats...)
	return pass, err
}

func (w *Walker) configure(opts WalkOptions) error {
	most := opts.MaxInodes
	if most <= 0 {
		most = defaultInodes
	}
	values := map[string]any{
		"inodes_of_all": b2u(opts.Inodes && len(opts.Devices) == 0),
		"max_inodes":    uint32(most),
		"out_len":       uint64(0),
		"stats":         [walkStats]uint64{},
		"cap_waits":     uint32(0),
	}
	for name, value := range values {
		if err := w.coll.Variables[name].Set(value); err != nil {
			return err
		}
	}
	return setKeys(w.coll.Maps["devices"], opts.Devices)
}

// due tells whether a program has anything to do.
func (w *Walker) due(name string, opts WalkOptions) bool {
	switch name {
	case "walk_threads":
		var n uint32
		return w.coll.Variables["cap_waits"].Get(&n) == nil && n > 0
	case "walk_inodes":
		return opts.Inodes
	case "walk_cephfs":
		return w.found("cephs") > 0
	case "walk_clients":
		return w.found("clients") > 0
	case "walk_fuses":
		return w.found("fuses") > 0
	}
	return true
}

// found is how many super blocks, or clients, there are of a kind.
func (w *Walker) found(name string) uint32 {
	at, ok := w.at[name]
	var n [4]byte
	if !ok {
		return 0
	}
	if _, err := w.bss.ReadAt(n[:], int64(at)); err != nil {
		return 0 // cannot happen: the variable lies in the map
	}
	return binary.LittleEndian.Uint32(n[:])
}

// take moves the programs' records to the end of data.
func (w *Walker) take(data []byte) ([]byte, error) {
	var n uint64
	if err := w.coll.Variables["out_len"].Get(&n); err != nil {
		return data, err
	}
	if n > uint64(w.out.Size()) {
		return data, fmt.Errorf("records of %d bytes in %d", n, w.out.Size())
	}
	at := len(data)
	data = append(data, make([]byte, n)...)
	if _, err := w.out.ReadAt(data[at:], 0); err != nil {
		return data[:at], err
	}
	return data, w.coll.Variables["out_len"].Set(uint64(0))
}

// end makes the WALK_END record.
func (w *Walker) end(tookNS uint64) ([]byte, error) {
	var stats [walkStats]uint64
	if err := w.coll.Variables["stats"].Get(&stats); err != nil {
		return nil, fmt.Errorf("walk: %w", err)
	}
	rec := binary.LittleEndian.AppendUint32(nil, recordWalkEnd)
	rec = binary.LittleEndian.AppendUint32(rec, 16+8*walkStats)
	rec = binary.LittleEndian.AppendUint64(rec, tookNS)
	for _, n := range stats {
		rec = binary.LittleEndian.AppendUint64(rec, n)
	}
	w.incomplete(stats)
	return rec, nil
}

// blame says what is mounted and yet was not walked.
func (w *Walker) blame() {
	for program, seen := range map[string]uint32{
		"walk_cephfs":  w.found("cephs"),
		"walk_fuses":   w.found("fuses"),
		"walk_rbds":    w.found("rbds"),
		"walk_clients": w.found("clients"),
	} {
		if why := w.missing[program]; seen > 0 && why != "" {
			w.degrade(why)
		}
	}
}

// forgetCaps empties the maps that joined cap waits with threads.
func (w *Walker) forgetCaps() error {
	var n uint32
	if err := w.coll.Variables["cap_waits"].Get(&n); err != nil || n == 0 {
		return err
	}
	return errors.Join(setKeys[uint64](w.coll.Maps["stacks"], nil), setKeys[uint32](w.coll.Maps["processes"], nil))
}

// setKeys replaces the keys of a map. The values do not matter.
func setKeys[K uint32 | uint64](m *ebpf.Map, keys []K) error {
	want := make(map[K]bool, len(keys))
	for _, k := range keys {
		want[k] = true
	}
	var key K
	var gone []K
	value := make([]byte, m.ValueSize())
	for it := m.Iterate(); it.Next(&key, &value); {
		if !want[key] {
			gone = append(gone, key)
		}
	}
	for _, k := range gone {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("map %s: %w", m.String(), err)
		}
	}
	for k := range want {
		if err := m.Put(k, value); err != nil {
			return fmt.Errorf("map %s: %w", m.String(), err)
		}
	}
	return nil
}

// findSymbols asks for the addresses of the kernel's own tables, once.
func (w *Walker) findSymbols() error {
	prog := w.coll.Programs["walk_symbols"]
	if prog == nil {
		return nil // said by load
	}
	if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("symbols: %w", err)
	}
	var found [4]uint64 // SYM_MAX
	var errno int64
	if err := errors.Join(w.coll.Variables["symbols"].Get(&found), w.coll.Variables["symbols_error"].Get(&errno)); err != nil {
		return fmt.Errorf("symbols: %w", err)
	}
	if found[0] == 0 || found[1] == 0 || found[2] == 0 {
		w.degrade(symbolsMissing(errno))
	}
	return nil
}
