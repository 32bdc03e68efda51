package symbol

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sort"
)

// Opener gives the file of a mapping. It decides whether a file may be opened
// at all (one on a hung mount may not), and says so by an error.
type Opener func(m Mapping) (r io.ReaderAt, size int64, err error)

// NativeTable names and unwinds code of programs that are not Go, and of the C
// parts of those that are. It is not safe for concurrent use.
type NativeTable struct {
	maps  []Mapping
	open  Opener
	files []*nativeFile
	mem   *memory // of the process, while it is unwound: holds the vDSO

	// Saw is told which memory decided about a chain. This field is optional.
	Saw func(addr uint64, n int)
}

// inMemory is a file that is nowhere but in a process.
type inMemory struct {
	mem   *memory
	start uint64
}

func (f inMemory) ReadAt(b []byte, off int64) (int, error) {
	for n := range b {
		if !f.mem.read(f.start+uint64(off)+uint64(n), b[n:n+1]) {
			return n, io.ErrUnexpectedEOF
		}
	}
	return len(b), nil
}

// nativeFile is one opened binary.
type nativeFile struct {
	of      Mapping
	img     *image
	err     error
	buildID string
	names   map[uint64]named // by address; "" is known to have none
	rules   map[uint64]*frameRules
}

// named is a function and where it begins.
type named struct {
	name  string
	start uint64
}

// NewNative takes the mappings of a process, in any order.
func NewNative(maps []Mapping, open Opener) *NativeTable {
	n := &NativeTable{maps: append([]Mapping(nil), maps...), open: open}
	sort.Slice(n.maps, func(i, j int) bool { return n.maps[i].Start < n.maps[j].Start })
	return n
}

// mapping gives the one that holds addr.
func (n *NativeTable) mapping(addr uint64) (Mapping, bool) {
	i := sort.Search(len(n.maps), func(i int) bool { return n.maps[i].End > addr })
	if i == len(n.maps) || n.maps[i].Start > addr {
		return Mapping{}, false
	}
	return n.maps[i], true
}

// file opens the binary of a mapping, once.
func (n *NativeTable) file(m Mapping) *nativeFile {
	for _, f := range n.files {
		if f.of.sameFile(m) {
			return f
		}
	}
	f := &nativeFile{of: m, names: map[uint64]named{}, rules: map[uint64]*frameRules{}}
	n.files = append(n.files, f)
	if m.Path == "[vdso]" && n.mem != nil {
		f.img, f.err = openImage(inMemory{n.mem, m.Start}, int64(m.End-m.Start))
		return f
	}
	if m.Path == "" || m.Path[0] == '[' {
		f.err = fmt.Errorf("%s is not a file", m.label())
		return f
	}
	r, size, err := n.open(m)
	if err == nil {
		f.img, err = openImage(r, size)
	}
	if err != nil {
		f.err = fmt.Errorf("%s: %w", m.Path, err)
		return f
	}
	f.buildID = f.img.buildID()
	return f
}

func (m Mapping) label() string {
	if m.Path == "" {
		return "anonymous memory"
	}
	return m.Path
}

// place is where an address of a process is in a binary.
type place struct {
	m    Mapping
	file *nativeFile
	addr uint64 // as the binary counts
	bias uint64
}

func (n *NativeTable) place(pc uint64) (p place, ok bool) {
	m, ok := n.mapping(pc)
	if !ok || !m.Executable() {
		return place{m: m}, false
	}
	p = place{m: m, file: n.file(m), addr: pc - m.Start + m.Offset}
	if p.file.img == nil {
		return p, true
	}
	if bias, fits := p.file.img.bias(m); fits {
		p.bias, p.addr = bias, pc-bias
	}
	return p, true
}

// name fills in what is known of an address.
func (n *NativeTable) name(f Frame, look uint64) Frame {
	p, ok := n.place(look)
	f.Module = p.m.Path
	if !ok {
		return f
	}
	f.Offset = p.addr + f.PC - look
	if p.file.img == nil {
		return f
	}
	fn := p.file.symbol(p.addr)
	if f.Function = fn.name; f.Function == "" {
		f.BuildID = p.file.buildID
		return f
	}
	f.Into = f.Offset - fn.start
	return f
}

// buildID reads the note that the linker left, in hexadecimal; "" for none.
func (m *image) buildID() string {
	const longest = 64 << 10
	for _, p := range m.others {
		if p.Type != elf.PT_NOTE || p.Filesz > longest {
			continue
		}
		b := make([]byte, p.Filesz)
		if !m.read(p.Vaddr, b) {
			continue
		}
		for len(b) >= 12 {
			name, desc, kind := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
			if name > longest || desc > longest {
				break
			}
			at := 12 + (int(name)+3)&^3
			end := at + int(desc)
			if end > len(b) {
				break
			}
			if kind == 3 && string(b[12:12+name]) == "GNU\x00" {
				return hex.EncodeToString(b[at:end])
			}
			b = b[min((end+3)&^3, len(b)):]
		}
	}
	return ""
}

// symbol names the function at an address, by .symtab, or by .dynsym, which
// holds exported functions only.
func (f *nativeFile) symbol(addr uint64) named {
	if n, ok := f.names[addr]; ok {
		return n
	}
	best := elf.Sym64{}
	var strings elf.SectionHeader
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		for _, s := range f.img.sections {
			if s.Type != kind || int(s.Link) >= len(f.img.sections) || best.Name != 0 {
				continue
			}
			best = f.img.bestSymbol(s, addr)
			strings = f.img.sections[s.Link]
		}
	}
	n := named{start: best.Value}
	if best.Name != 0 && uint64(best.Name) < strings.Size {
		n.name = f.img.fileString(int64(strings.Offset)+int64(best.Name), strings.Size-uint64(best.Name))
	}
	if len(f.names) >= maxCached {
		clear(f.names)
	}
	f.names[addr] = n
	return n
}

// frameRules are the rules for an address, remembered: of programs without a
// sorted table all have to be gone through.
func (f *nativeFile) frameRules(addr uint64) (*frameRules, error) {
	if r, ok := f.rules[addr]; ok {
		return r, nil
	}
	r, err := f.img.rules(addr)
	if err != nil {
		return nil, err
	}
	const most = maxCached / 4
	if len(f.rules) >= most {
		clear(f.rules)
	}
	f.rules[addr] = r
	return r, nil
}

// bestSymbol goes once through a symbol table: it is not sorted. Only a symbol
// whose size covers the address counts; among those the one that starts last,
// and of aliases a global one.
func (m *image) bestSymbol(s elf.SectionHeader, addr uint64) (best elf.Sym64) {
	const size = 24
	m.scan(int64(s.Offset), s.Size, func(at int64, piece []byte) bool {
		first := (size - (at-int64(s.Offset))%size) % size // pieces are no multiple of it
		for b := piece[min(int(first), len(piece)):]; len(b) >= size; b = b[size:] {
			sym := elf.Sym64{
				Name: binary.LittleEndian.Uint32(b), Info: b[4], Shndx: binary.LittleEndian.Uint16(b[6:]),
				Value: binary.LittleEndian.Uint64(b[8:]), Size: binary.LittleEndian.Uint64(b[16:]),
			}
			kind := elf.ST_TYPE(sym.Info)
			if kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC || sym.Shndx == 0 || addr < sym.Value || addr-sym.Value >= sym.Size {
				continue
			}
			better := sym.Value > best.Value || elf.ST_BIND(sym.Info) == elf.STB_GLOBAL && elf.ST_BIND(best.Info) != elf.STB_GLOBAL
			if best.Name == 0 || sym.Value >= best.Value && better {
				best = sym
			}
		}
		return true
	})
	return best
}

// fileString reads a string of at most size bytes.
func (m *image) fileString(off int64, size uint64) string {
	const longest = 4096 // C++ names may be longer; then there is none
	b := make([]byte, min(size, longest))
	n := 0
	for n < len(b) {
		step := min(64, len(b)-n)
		if !m.readFile(off+int64(n), b[n:n+step]) {
			return ""
		}
		for i := n; i < n+step; i++ {
			if b[i] == 0 {
				return string(b[:i])
			}
		}
		n += step
	}
	return ""
}
