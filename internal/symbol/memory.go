package symbol

import "encoding/binary"

// Memory reads a process's memory at an address, as pread on /proc/PID/mem
// does. It may read less than asked for; it must return in bounded time.
type Memory func(addr uint64, buf []byte) (int, error)

// memory reads whole pages and remembers some: a chain reads word by word.
type memory struct {
	from   Memory
	pages  map[uint64][]byte
	oldest []uint64
	err    error // of the last page that could not be read
	// saw, if set, is told what was asked for.
	saw func(addr uint64, n int)
}

func newMemory(from Memory) *memory { return &memory{from: from, pages: map[uint64][]byte{}} }

// read fills buf.
func (m *memory) read(addr uint64, buf []byte) bool {
	if m.saw != nil {
		m.saw(addr, len(buf))
	}
	for len(buf) > 0 {
		p := m.page(addr / pageSize * pageSize)
		at := addr % pageSize
		if at >= uint64(len(p)) {
			return false
		}
		n := copy(buf, p[at:])
		buf, addr = buf[n:], addr+uint64(n)
	}
	return true
}

func (m *memory) page(addr uint64) []byte {
	if p, ok := m.pages[addr]; ok {
		return p
	}
	if len(m.oldest) >= maxPages {
		delete(m.pages, m.oldest[0])
		m.oldest = append(m.oldest[:0], m.oldest[1:]...)
	}
	p := make([]byte, pageSize)
	n, err := m.from(addr, p)
	if n < pageSize && err != nil {
		m.err = err
	}
	p = p[:min(max(n, 0), pageSize)]
	m.pages[addr] = p
	m.oldest = append(m.oldest, addr)
	return p
}

func (m *memory) u64(addr uint64) (uint64, bool) {
	var b [8]byte
	ok := m.read(addr, b[:])
	return binary.LittleEndian.Uint64(b[:]), ok
}
