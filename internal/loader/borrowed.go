package loader

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// borrowed are programs and maps of another process.
type borrowed struct {
	programs []*ebpf.Program
	maps     []*ebpf.Map
}

func (b *borrowed) close() {
	for _, p := range b.programs {
		p.Close()
	}
	for _, m := range b.maps {
		m.Close()
	}
}

func (b *borrowed) addProgram(p *ebpf.Program, err error) error {
	if err == nil {
		b.programs = append(b.programs, p)
	}
	return err
}

func (b *borrowed) addMap(m *ebpf.Map, err error) error {
	if err == nil {
		b.maps = append(b.maps, m)
	}
	return err
}

// running sorts what is borrowed into units.
func (b *borrowed) running() ([]Running, error) {
	names, err := programNames()
	if err != nil {
		return nil, err
	}
	used := make(map[string]map[uint32]bool) // by unit: the maps of its programs
	programs := make(map[string][]RunningProgram)
	for _, p := range b.programs {
		info, err := p.Info()
		if err != nil {
			return nil, fmt.Errorf("program: %w", err)
		}
		unit := names[short(info.Name)].unit
		r := describeProgram(p, info)
		r.Name = names[short(info.Name)].name
		if unit == "" || slices.ContainsFunc(programs[unit], func(o RunningProgram) bool { return o.ID == r.ID }) {
			continue // not ours, or a second descriptor of it
		}
		programs[unit] = append(programs[unit], r)
		if used[unit] == nil {
			used[unit] = make(map[uint32]bool)
		}
		ids, _ := info.MapIDs()
		for _, id := range ids {
			used[unit][uint32(id)] = true
		}
	}
	var list []Running
	for _, u := range units {
		r := Running{Unit: u.name, Programs: programs[u.name]}
		marked, err := b.describeMaps(&r, u, used[u.name])
		if err != nil {
			return nil, err
		}
		if marked {
			slices.SortFunc(r.Programs, func(a, b RunningProgram) int { return int(a.ID) - int(b.ID) })
			list = append(list, r)
		}
	}
	return list, nil
}

// describeMaps adds the maps that the unit's programs use, and tells whether the
// unit's mark is among them.
func (b *borrowed) describeMaps(r *Running, u unit, used map[uint32]bool) (marked bool, err error) {
	for _, m := range b.maps {
		info, err := m.Info()
		if err != nil {
			return false, fmt.Errorf("map: %w", err)
		}
		id, _ := info.ID()
		if !used[uint32(id)] {
			continue
		}
		delete(used, uint32(id)) // a second descriptor is none more
		d := RunningMap{ID: uint32(id), Name: info.Name, Type: info.Type.String(), MaxEntries: info.MaxEntries}
		if n, ok := info.Memlock(); ok {
			d.Memory = &n
		}
		r.Maps = append(r.Maps, d)
		marked = marked || info.Name == u.mark
		if info.Name != u.counts {
			continue
		}
		counts, err := readCounts(m)
		if err != nil {
			return false, fmt.Errorf("counters of %s: %w", u.name, err)
		}
		r.count(u.sites, counts)
	}
	slices.SortFunc(r.Maps, func(a, b RunningMap) int { return int(a.ID) - int(b.ID) })
	return marked, nil
}

// count adds to the counters: a process may have loaded a unit twice. Another
// version has fewer sites, or more of which the words are not known here.
func (r *Running) count(sites []Site, counts []uint64) {
	for i, n := range counts {
		site := Site{Name: fmt.Sprintf("site_%d", i), Kind: SiteDetail, Words: "a site of a newer version of hangtrace"}
		if i < len(sites) {
			site = sites[i]
		}
		if i == len(r.Counters) {
			r.Counters = append(r.Counters, Counter{Site: site})
		}
		r.Counters[i].Count += n
	}
}

// readCounts reads a map with one entry of counters, summed up over CPUs.
func readCounts(m *ebpf.Map) ([]uint64, error) {
	counts := make([]uint64, m.ValueSize()/8)
	var values [][]byte
	if m.Type() == ebpf.PerCPUArray {
		if err := m.Lookup(uint32(0), &values); err != nil {
			return nil, err
		}
	} else {
		value, err := m.LookupBytes(uint32(0))
		if err != nil {
			return nil, err
		}
		values = [][]byte{value}
	}
	for _, v := range values {
		for i := range counts {
			if len(v) >= 8*(i+1) {
				counts[i] += binary.NativeEndian.Uint64(v[8*i:])
			}
		}
	}
	return counts, nil
}

func describeProgram(p *ebpf.Program, info *ebpf.ProgramInfo) RunningProgram {
	id, _ := info.ID()
	r := RunningProgram{ID: uint32(id), Name: info.Name, Type: info.Type.String()}
	if at, ok := info.LoadTime(); ok {
		r.LoadedAt = &at
	}
	if n, ok := info.VerifiedInstructions(); ok {
		r.Verified = &n
	}
	if n, err := info.JitedSize(); err == nil {
		r.JITed = &n
	}
	if n, ok := info.Memlock(); ok {
		r.Memory = &n
	}
	s, err := p.Stats()
	if err != nil {
		return r
	}
	if s.RunCount > 0 { // 0 also while nobody counts
		r.Runs, r.RunTime = &s.RunCount, &s.Runtime
	}
	if s.RecursionMisses > 0 || r.Verified != nil { // a kernel that has the one has the other
		r.Missed = &s.RecursionMisses
	}
	return r
}
