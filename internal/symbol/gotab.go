package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrNotGo says that a file is no Go program, or none that can be read.
var ErrNotGo = errors.New("not a Go program")

// GoTable is the function table (pclntab) of a Go program: the one the
// runtime's own traceback uses, which no stripping takes away. Functions are
// looked up on demand, a few pages each. It is not safe for concurrent use.
type GoTable struct {
	img     *image
	base    uint64 // address of the table
	size    uint64
	magic   uint32
	quantum uint64 // size of the smallest instruction
	count   uint64 // of functions
	// Offsets in the table.
	names, units, files, pctab, funcs uint64
	// text is what function entries are relative to (Go 1.18 and later).
	text    uint64
	version string
	minor   int // of version; 0: unknown
	wrapper uint8

	module      uint64 // address of runtime.firstmoduledata
	moduleKnown bool   // it was searched for

	cache map[uint64]goFunc // by address of the function's record
	steps map[uint64]step   // by address, shifted, and exactness of the instruction
}

// OpenGo finds the function table of a Go program: by its section, or, where
// the section headers were removed, by searching the segments. It reads a few
// pages, and keeps r.
func OpenGo(r io.ReaderAt, size int64) (*GoTable, error) {
	img, err := openImage(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	t := &GoTable{img: img, cache: map[uint64]goFunc{}, steps: map[uint64]step{}}
	if !t.locate() {
		return nil, fmt.Errorf("%w: no function table", ErrNotGo)
	}
	t.version = img.goVersion()
	t.minor = minorVersion(t.version)
	if t.wrapper = wrapperID(t.minor); t.minor > newestGo {
		t.wrapper = wrapperID(newestGo)
	}
	if t.magic >= magicGo118 && t.magic <= magicGo120 && t.text == 0 {
		// Not stored since Go 1.26, and before that left to relocation.
		text, ok := t.moduleWord(moduleLayoutOf(t.magic).text)
		if !ok {
			return nil, fmt.Errorf("%w: start of the code is unknown", ErrNotGo)
		}
		t.text = text
	}
	return t, nil
}

// Version is the Go release that built the program ("go1.26.8"); "" if unknown.
func (t *GoTable) Version() string { return t.version }

// Functions is the number of functions in the table.
func (t *GoTable) Functions() int { return int(t.count) }

// PIE tells whether the program runs at another address in every process.
func (t *GoTable) PIE() bool { return t.img.pie }

// locate finds the table and reads its header.
func (t *GoTable) locate() bool {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s, ok := t.img.section(name); ok && t.readHeader(s.Addr, s.Size) {
			return true
		}
	}
	if len(t.img.sections) > 0 {
		// A program whose sections were only renamed still has this one;
		// without it there is no point in searching through all of a C program.
		if _, ok := t.img.section(".go.buildinfo"); !ok {
			return false
		}
	}
	for _, magic := range []uint32{magicGo120, magicGo118, magicGo116, magicGo12} {
		what := binary.LittleEndian.AppendUint32(nil, magic)
		what = append(what, 0, 0, t.minInstruction(), 8)
		for _, s := range t.img.segments {
			_, ok := t.img.find(s.Vaddr, s.Filesz, what, 8, func(addr uint64) bool {
				return t.readHeader(addr, s.Vaddr+s.Filesz-addr)
			})
			if ok {
				return true
			}
		}
	}
	return false
}

func (t *GoTable) minInstruction() byte {
	if t.img.machine == elf.EM_AARCH64 {
		return 4
	}
	return 1
}

// readHeader takes the table at addr, if there is one.
func (t *GoTable) readHeader(addr, size uint64) bool {
	var h [72]byte
	if size < uint64(len(h)) || !t.img.read(addr, h[:]) {
		return false
	}
	w := func(i int) uint64 { return binary.LittleEndian.Uint64(h[8+8*i:]) }
	t.base, t.size, t.text = addr, size, 0
	t.magic, t.quantum, t.count = binary.LittleEndian.Uint32(h[:]), uint64(h[6]), w(0)
	if h[4] != 0 || h[5] != 0 || h[6] != t.minInstruction() || h[7] != 8 {
		return false
	}
	switch t.magic {
	case magicGo12:
		t.names, t.units, t.files, t.pctab, t.funcs = 0, 0, 0, 0, 0
	case magicGo116:
		t.names, t.units, t.files, t.pctab, t.funcs = w(2), w(3), w(4), w(5), w(6)
	case magicGo118, magicGo120:
		t.text = w(2)
		t.names, t.units, t.files, t.pctab, t.funcs = w(3), w(4), w(5), w(6), w(7)
	default:
		return false
	}
	for _, off := range []uint64{t.names, t.units, t.files, t.pctab, t.funcs} {
		if off >= size {
			return false
		}
	}
	if t.count == 0 || t.count > size/t.entrySize() || t.ftab(t.count) >= size {
		return false
	}
	if t.magic == magicGo12 {
		off, ok := t.u32(t.ftab(t.count) + 8)
		t.files = uint64(off)
		return ok && t.files < size
	}
	return true
}

// entrySize is that of a pair in the table of functions, sorted by entry.
func (t *GoTable) entrySize() uint64 {
	if t.relative() {
		return 8
	}
	return 16
}

// relative tells whether entries are 32-bit offsets from text.
func (t *GoTable) relative() bool { return t.magic == magicGo118 || t.magic == magicGo120 }

// ftab is the offset of pair i.
func (t *GoTable) ftab(i uint64) uint64 {
	if t.magic == magicGo12 {
		return 16 + 16*i
	}
	return t.funcs + t.entrySize()*i
}

// u32 reads the table at an offset.
func (t *GoTable) u32(off uint64) (uint32, bool) {
	var b [4]byte
	ok := t.bytes(off, b[:])
	return binary.LittleEndian.Uint32(b[:]), ok
}

func (t *GoTable) bytes(off uint64, b []byte) bool {
	return off < t.size && uint64(len(b)) <= t.size-off && t.img.read(t.base+off, b)
}

// str reads a string that ends in a zero byte.
func (t *GoTable) str(off uint64) (string, bool) {
	const longest = 64 << 10 // names of closures in generic code grow long
	var s []byte
	var b [64]byte
	for len(s) < longest && off < t.size {
		n := min(uint64(len(b)), t.size-off)
		if !t.bytes(off, b[:n]) {
			break
		}
		if i := bytes.IndexByte(b[:n], 0); i >= 0 {
			return string(append(s, b[:i]...)), true
		}
		s = append(s, b[:n]...)
		off += n
	}
	return "", false
}

// goVersion reads the version out of the build information, which every Go
// program since 1.13 carries (debug/buildinfo describes it).
func (m *image) goVersion() string {
	const magic = "\xff Go buildinf:"
	var addr uint64
	if s, ok := m.section(".go.buildinfo"); ok {
		addr = s.Addr
	} else {
		for _, s := range m.segments {
			if s.Flags&elf.PF_W == 0 {
				continue
			}
			if a, ok := m.find(s.Vaddr, s.Filesz, []byte(magic), 16, func(uint64) bool { return true }); ok {
				addr = a
				break
			}
		}
	}
	var h [32]byte
	if !m.read(addr, h[:]) || string(h[:len(magic)]) != magic {
		return ""
	}
	var text [64]byte
	if h[15]&2 != 0 { // since Go 1.18 the string itself, with its length before it
		if !m.read(addr+32, text[:]) {
			return ""
		}
		n, width := binary.Uvarint(text[:])
		if width <= 0 || n > uint64(len(text)-width) {
			return ""
		}
		return string(text[width : width+int(n)])
	}
	header, _ := m.word(addr + 16) // before, the address of a string
	data, ok1 := m.word(header)
	n, ok2 := m.u64(header + 8)
	if !ok1 || !ok2 || n > uint64(len(text)) || !m.read(data, text[:n]) {
		return ""
	}
	return string(text[:n])
}

// minorVersion gives 26 for "go1.26.8", "go1.26rc1" and "devel go1.26-abc".
func minorVersion(version string) int {
	_, rest, ok := strings.Cut(version, "go1.")
	if !ok {
		return 0
	}
	end := 0
	for end < len(rest) && end < 3 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(rest[:end])
	return n
}

// moduleWord reads a word of runtime.firstmoduledata, which tells where the
// parts of the program are.
func (t *GoTable) moduleWord(off uint64) (uint64, bool) {
	if !t.moduleKnown {
		t.moduleKnown = true
		t.module = t.findModule()
	}
	if t.module == 0 {
		return 0, false
	}
	return t.img.word(t.module + off)
}

// findModule gives the address of runtime.firstmoduledata: it has had a section
// of its own since Go 1.26; before, it is the place in writable data that
// starts with the address of the table.
func (t *GoTable) findModule() uint64 {
	if s, ok := t.img.section(".go.module"); ok && t.isModule(s.Addr) {
		return s.Addr
	}
	what := binary.LittleEndian.AppendUint64(nil, t.base)
	for _, name := range []string{".noptrdata", ".data"} {
		if s, ok := t.img.section(name); ok {
			if a, ok := t.img.find(s.Addr, s.Size, what, 8, t.isModule); ok {
				return a
			}
		}
	}
	for _, s := range t.img.segments {
		if s.Flags&elf.PF_W != 0 {
			if a, ok := t.img.find(s.Vaddr, s.Filesz, what, 8, t.isModule); ok {
				return a
			}
		}
	}
	return t.findRelocatedModule(what)
}

// findRelocatedModule searches the relocations for one that makes a word the
// table's address.
func (t *GoTable) findRelocatedModule(what []byte) (found uint64) {
	m := t.img
	if m.relocationCount == 0 {
		return 0
	}
	m.find(m.relocations, 24*min(m.relocationCount, uint64(m.size)/24), what, 8, func(at uint64) bool {
		i := (at - m.relocations) / 24
		if at != m.relocations+24*i+16 {
			return false
		}
		addr, ok := m.u64(m.relocations + 24*i)
		if ok && t.isModule(addr) {
			found = addr
		}
		return found != 0
	})
	return found
}

// isModule checks what a moduledata must fulfil.
func (t *GoTable) isModule(addr uint64) bool {
	word := func(off uint64) uint64 { v, _ := t.img.word(addr + off); return v }
	if word(0) != t.base {
		return false
	}
	if t.magic != magicGo12 && word(8) != t.base+t.names {
		return false // funcnametab
	}
	slice := uint64(0) // pclntable
	if t.magic != magicGo12 {
		slice = 8
	}
	text := word(moduleLayoutOf(t.magic).text)
	if word(slice+8) == 0 || word(slice+8) != word(slice+16) || text == 0 {
		return false
	}
	for _, s := range t.img.segments {
		if s.Flags&elf.PF_X != 0 && text >= s.Vaddr && text < s.Vaddr+s.Filesz {
			return t.text == 0 || t.text == text
		}
	}
	return false
}
