package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

const (
	pageSize = 4096
	// maxPages bounds what is held of one binary: 2 MiB. A chain of 20 frames
	// touches some 300 pages of a kubelet.
	maxPages = 512
)

// image is a binary as its program headers lay it out, read page by page. It
// is never mapped into memory, and not safe for concurrent use.
type image struct {
	r        io.ReaderAt
	size     int64
	machine  elf.Machine
	pie      bool
	segments []elf.ProgHeader // PT_LOAD by address
	others   []elf.ProgHeader // all other program headers
	sections []elf.SectionHeader

	// Relocations of the kind "base + addend", by address: where they are
	// sorted, a word that only the loader fills in can be had without it.
	relocations     uint64 // address of the first
	relocationCount uint64

	pages  map[int64][]byte
	oldest []int64 // the order in which pages came
}

// openImage reads the headers of a 64-bit little-endian binary.
func openImage(r io.ReaderAt, size int64) (*image, error) {
	f, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, errors.New("not a 64-bit little-endian ELF file")
	}
	if f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("machine %v is not supported", f.Machine)
	}
	m := &image{r: r, size: size, machine: f.Machine, pie: f.Type == elf.ET_DYN, pages: map[int64][]byte{}}
	var dynamic elf.ProgHeader
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Filesz <= p.Memsz && p.Vaddr+p.Memsz >= p.Vaddr {
				m.segments = append(m.segments, p.ProgHeader)
			}
		case elf.PT_DYNAMIC:
			dynamic = p.ProgHeader
			fallthrough
		default:
			m.others = append(m.others, p.ProgHeader)
		}
	}
	sort.SliceStable(m.segments, func(i, j int) bool { return m.segments[i].Vaddr < m.segments[j].Vaddr })
	for _, s := range f.Sections {
		m.sections = append(m.sections, s.SectionHeader)
	}
	m.readDynamic(dynamic)
	return m, nil
}

// readDynamic finds the relocation table.
func (m *image) readDynamic(p elf.ProgHeader) {
	const maxEntries = 1024
	var size, count uint64
	for i := uint64(0); i < min(p.Filesz/16, maxEntries); i++ {
		tag, ok1 := m.u64(p.Vaddr + 16*i)
		val, ok2 := m.u64(p.Vaddr + 16*i + 8)
		if !ok1 || !ok2 || tag == uint64(elf.DT_NULL) {
			break
		}
		switch elf.DynTag(tag) {
		case elf.DT_RELA:
			m.relocations = val
		case elf.DT_RELASZ:
			size = val
		case elf.DT_RELACOUNT:
			count = val
		}
	}
	m.relocationCount = size / 24
	if count > 0 && count < m.relocationCount {
		m.relocationCount = count // these come first and are sorted
	}
}

// section gives the section of that name; ok is false where there is none or
// where it holds nothing in the file.
func (m *image) section(name string) (elf.SectionHeader, bool) {
	for _, s := range m.sections {
		if s.Name == name && s.Type != elf.SHT_NOBITS && s.Size > 0 {
			return s, true
		}
	}
	return elf.SectionHeader{}, false
}

// offset gives the place of an address in the file and how many bytes of its
// segment follow there.
func (m *image) offset(addr uint64) (off int64, left uint64, ok bool) {
	i := sort.Search(len(m.segments), func(i int) bool { return m.segments[i].Vaddr > addr }) - 1
	if i < 0 {
		return 0, 0, false
	}
	s := m.segments[i]
	at := addr - s.Vaddr
	if at >= s.Filesz || s.Off+at < s.Off || s.Off+at > uint64(m.size) {
		return 0, 0, false
	}
	return int64(s.Off + at), s.Filesz - at, true
}

// read fills buf with what the file holds for addr.
func (m *image) read(addr uint64, buf []byte) bool {
	off, left, ok := m.offset(addr)
	return ok && uint64(len(buf)) <= left && m.readFile(off, buf)
}

// readFile fills buf from the file, through the pages.
func (m *image) readFile(off int64, buf []byte) bool {
	for len(buf) > 0 {
		if off < 0 || off >= m.size {
			return false
		}
		page := m.page(off / pageSize)
		at := int(off % pageSize)
		if at >= len(page) {
			return false
		}
		n := copy(buf, page[at:])
		buf, off = buf[n:], off+int64(n)
	}
	return true
}

// page gives one page of the file, shorter at its end or where it cannot be
// read.
func (m *image) page(i int64) []byte {
	if p, ok := m.pages[i]; ok {
		return p
	}
	var p []byte
	if len(m.oldest) >= maxPages {
		p = m.pages[m.oldest[0]]
		delete(m.pages, m.oldest[0])
		m.oldest = append(m.oldest[:0], m.oldest[1:]...)
	}
	if cap(p) < pageSize {
		p = make([]byte, pageSize)
	}
	n, _ := m.r.ReadAt(p[:pageSize], i*pageSize)
	p = p[:max(n, 0)]
	m.pages[i] = p
	m.oldest = append(m.oldest, i)
	return p
}

func (m *image) u64(addr uint64) (uint64, bool) {
	var b [8]byte
	ok := m.read(addr, b[:])
	return binary.LittleEndian.Uint64(b[:]), ok
}

// word is the word at addr as it is in a process that was loaded at its
// preferred address: a position independent binary may leave it to relocation.
func (m *image) word(addr uint64) (uint64, bool) {
	v, ok := m.u64(addr)
	if !ok || v != 0 || m.relocationCount == 0 {
		return v, ok
	}
	if addend, found := m.relocation(addr); found {
		return addend, true
	}
	return 0, true
}

// relocation searches the sorted relocations for the one that fills addr.
func (m *image) relocation(addr uint64) (uint64, bool) {
	var failed bool
	at := func(i uint64) uint64 {
		v, ok := m.u64(m.relocations + 24*i)
		failed = failed || !ok
		return v
	}
	lo, hi := uint64(0), min(m.relocationCount, uint64(m.size)/24)
	for lo < hi && !failed {
		if mid := (lo + hi) / 2; at(mid) < addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if failed || at(lo) != addr || failed {
		return 0, false
	}
	return m.addend(lo)
}

// addend gives that of relocation i, if it is of the kind "base + addend".
func (m *image) addend(i uint64) (uint64, bool) {
	info, ok1 := m.u64(m.relocations + 24*i + 8)
	addend, ok2 := m.u64(m.relocations + 24*i + 16)
	relative := info == uint64(elf.R_X86_64_RELATIVE)
	if m.machine == elf.EM_AARCH64 {
		relative = info == uint64(elf.R_AARCH64_RELATIVE)
	}
	return addend, ok1 && ok2 && relative
}

// scan calls visit with consecutive pieces of a range of the file until it
// returns false. A piece starts at a multiple of 64 bytes from off and holds 64
// bytes of its successor, so that nothing is torn. Scans do not go through the
// pages, which they would only push out.
func (m *image) scan(off int64, size uint64, visit func(at int64, piece []byte) bool) {
	const piece, overlap = 256 << 10, 64
	if off < 0 || off >= m.size {
		return
	}
	end := off + int64(min(size, uint64(m.size-off)))
	buf := make([]byte, piece+overlap)
	for ; off < end; off += piece {
		n, err := m.r.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
		if n > 0 && !visit(off, buf[:n]) {
			return
		}
		if err != nil {
			return
		}
	}
}

// find gives the address of a byte string of at most 64 bytes that starts at a
// multiple of align in the given range, and for which accept is true.
func (m *image) find(addr, size uint64, what []byte, align uint64, accept func(addr uint64) bool) (found uint64, ok bool) {
	off, left, ok := m.offset(addr)
	if !ok {
		return 0, false
	}
	ok = false
	m.scan(off, min(size, left), func(at int64, piece []byte) bool {
		for from := 0; ; {
			i := bytes.Index(piece[from:], what)
			if i < 0 {
				return true
			}
			a := addr + uint64(at-off) + uint64(from+i)
			if a%align == 0 && accept(a) {
				found, ok = a, true
				return false
			}
			from += i + 1
		}
	})
	return found, ok
}
