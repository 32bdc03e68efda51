package symbol

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// Call frame information: the tables in .eh_frame by which C++ exceptions and
// debuggers find the caller (DWARF 5 section 6.4, Linux Standard Base "Exception
// Frames"). Unlike frame pointers they are in nearly every binary, stripped or
// not, and they are exact.

// maxRules bounds the registers tracked: DWARF numbers of amd64 end at 16 (the
// return address), of arm64 at 31 (SP).
const maxRules = 32

type ruleKind uint8

const (
	ruleSame ruleKind = iota
	ruleUndefined
	ruleOffset    // saved at CFA + n
	ruleValOffset // is CFA + n
	ruleRegister  // is in register n
	ruleUnknown   // by an expression, which is not evaluated
)

type rule struct {
	kind ruleKind
	n    int64
}

// frameRules say how to get from a frame to its caller's.
type frameRules struct {
	cfaReg    uint64
	cfaOffset int64
	cfaKnown  bool
	regs      [maxRules]rule
	ret       uint64 // column of the return address
	signal    bool   // a signal handler returns through it
	signed    bool   // arm64: the return address carries a signature
}

var errNoCFI = errors.New("no call frame information")

// rules finds the rules for an address of the binary.
func (m *image) rules(pc uint64) (*frameRules, error) {
	fde, ok := m.findFDE(pc)
	if !ok {
		if fde, ok = m.scanFDEs(pc); !ok {
			return nil, errNoCFI
		}
	}
	body, at, ok := m.cfiRecord(fde)
	if !ok {
		return nil, errNoCFI
	}
	r := &cfiReader{b: body, at: at}
	back := r.u32()
	cieBody, cieAt, ok := m.cfiRecord(at - uint64(back))
	if back == 0 || !ok {
		return nil, errNoCFI
	}
	c, err := parseCIE(&cfiReader{b: cieBody, at: cieAt})
	if err != nil {
		return nil, err
	}
	begin := r.pointer(c.encoding)
	size := r.pointer(c.encoding & 0x0f)
	if c.augmented {
		r.skip(r.uleb())
	}
	if r.bad || pc < begin || pc-begin >= size {
		return nil, errNoCFI
	}
	p := &cfiProgram{cie: c, pc: pc, loc: begin}
	p.now.ret, p.now.signal = c.ret, c.signal
	if !p.run(&cfiReader{b: c.program, at: c.programAt}) {
		return nil, fmt.Errorf("call frame information at %#x is not understood", fde)
	}
	p.initial = p.now
	if !p.run(r) {
		return nil, fmt.Errorf("call frame information at %#x is not understood", fde)
	}
	return &p.now, nil
}

// findFDE searches the sorted table in .eh_frame_hdr.
func (m *image) findFDE(pc uint64) (uint64, bool) {
	var hdr elf.ProgHeader
	for _, p := range m.others {
		if p.Type == elf.PT_GNU_EH_FRAME {
			hdr = p
		}
	}
	var h [12]byte
	// Version 1, and the encodings all linkers use: a table of pairs of
	// signed 32-bit offsets from the header.
	if hdr.Filesz < 12 || !m.read(hdr.Vaddr, h[:]) || h[0] != 1 || h[1] != 0x1b || h[2] != 0x03 || h[3] != 0x3b {
		return 0, false
	}
	count := uint64(binary.LittleEndian.Uint32(h[8:]))
	if count > (hdr.Filesz-12)/8 {
		return 0, false
	}
	pair := func(i uint64) (loc, fde uint64, ok bool) {
		var b [8]byte
		ok = m.read(hdr.Vaddr+12+8*i, b[:])
		at := func(j int) uint64 { return hdr.Vaddr + uint64(int64(int32(binary.LittleEndian.Uint32(b[j:])))) }
		return at(0), at(4), ok
	}
	lo, hi := uint64(0), count
	for lo < hi {
		mid := (lo + hi) / 2
		loc, _, ok := pair(mid)
		if !ok {
			return 0, false
		}
		if loc <= pc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, false
	}
	_, fde, ok := pair(lo - 1)
	return fde, ok
}

// scanFDEs goes through all records: static programs have no table of them.
func (m *image) scanFDEs(pc uint64) (uint64, bool) {
	const most = 1 << 18
	for _, p := range m.others {
		if p.Type == elf.PT_GNU_EH_FRAME {
			return 0, false // what the table lacks is not there
		}
	}
	s, ok := m.section(".eh_frame")
	if !ok {
		return 0, false
	}
	addr, end := s.Addr, s.Addr+s.Size
	var encoding byte
	var cieAddr uint64
	for n := 0; n < most && addr < end; n++ {
		body, at, ok := m.cfiRecord(addr)
		if !ok {
			return 0, false
		}
		r := &cfiReader{b: body, at: at}
		if back := uint64(r.u32()); back != 0 {
			if at-back != cieAddr {
				cieAddr = at - back
				cieBody, cieAt, ok := m.cfiRecord(cieAddr)
				c, err := parseCIE(&cfiReader{b: cieBody, at: cieAt})
				if !ok || err != nil {
					return 0, false
				}
				encoding = c.encoding
			}
			begin := r.pointer(encoding)
			if size := r.pointer(encoding & 0x0f); !r.bad && pc >= begin && pc-begin < size {
				return addr, true
			}
		}
		addr = at + uint64(len(body))
	}
	return 0, false
}

// cfiRecord reads the record at addr without its length; at is where it starts.
func (m *image) cfiRecord(addr uint64) (body []byte, at uint64, ok bool) {
	const longest = 64 << 10
	var b [4]byte
	if !m.read(addr, b[:]) {
		return nil, 0, false
	}
	n := binary.LittleEndian.Uint32(b[:])
	if n < 4 || n > longest { // 0xffffffff would announce a 64-bit length
		return nil, 0, false
	}
	body = make([]byte, n)
	return body, addr + 4, m.read(addr+4, body)
}

// cie is what the records of one kind of functions have in common.
type cie struct {
	codeAlign uint64
	dataAlign int64
	ret       uint64
	encoding  byte // of addresses
	augmented bool
	signal    bool
	program   []byte
	programAt uint64
}

func parseCIE(r *cfiReader) (c cie, err error) {
	id, version := r.u32(), r.u8()
	var augmentation []byte
	for b := r.u8(); b != 0 && !r.bad; b = r.u8() {
		augmentation = append(augmentation, b)
	}
	c.codeAlign, c.dataAlign = r.uleb(), r.sleb()
	if version == 1 {
		c.ret = uint64(r.u8())
	} else {
		c.ret = r.uleb()
	}
	if r.bad || id != 0 || version != 1 && version != 3 || c.ret >= maxRules {
		return c, errNoCFI
	}
	if len(augmentation) > 0 && augmentation[0] == 'z' {
		c.augmented = true
		n := r.uleb()
		if n > uint64(len(r.b)) {
			return c, errNoCFI
		}
		in := &cfiReader{b: r.b[:n], at: r.at}
		r.skip(n)
		for _, a := range augmentation[1:] {
			switch a {
			case 'R':
				c.encoding = in.u8()
			case 'P':
				in.pointer(in.u8() & 0x7f)
			case 'L':
				in.u8()
			case 'S':
				c.signal = true
			case 'B': // arm64: which key signs the return address
			default:
				return c, fmt.Errorf("call frame augmentation %q is unknown", augmentation)
			}
		}
		r.bad = r.bad || in.bad
	} else if len(augmentation) > 0 {
		return c, fmt.Errorf("call frame augmentation %q is unknown", augmentation)
	}
	c.program, c.programAt = r.b, r.at
	if r.bad {
		return c, errNoCFI
	}
	return c, nil
}

// cfiReader reads the parts of a record.
type cfiReader struct {
	b   []byte
	at  uint64 // address of b[0]
	bad bool
}

func (r *cfiReader) skip(n uint64) {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return
	}
	r.b, r.at = r.b[n:], r.at+n
}

func (r *cfiReader) fixed(n int) uint64 {
	var b [8]byte
	if copy(b[:n], r.b) < n {
		r.bad = true
	}
	r.skip(uint64(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *cfiReader) u8() byte    { return byte(r.fixed(1)) }
func (r *cfiReader) u32() uint32 { return uint32(r.fixed(4)) }

func (r *cfiReader) uleb() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, n = true, 0
	}
	r.skip(uint64(n))
	return v
}

func (r *cfiReader) sleb() int64 {
	var v int64
	for shift := uint(0); shift < 64; shift += 7 {
		b := r.u8()
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if shift+7 < 64 && b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	r.bad = true
	return 0
}

// pointer reads an address in one of the DW_EH_PE encodings; only absolute and
// relative to its own place are in use here.
func (r *cfiReader) pointer(encoding byte) uint64 {
	var v uint64
	at := r.at
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = r.fixed(8)
	case 0x01:
		v = r.uleb()
	case 0x02:
		v = r.fixed(2)
	case 0x03:
		v = r.fixed(4)
	case 0x09:
		v = uint64(r.sleb())
	case 0x0a:
		v = uint64(int64(int16(r.fixed(2))))
	case 0x0b:
		v = uint64(int64(int32(r.fixed(4))))
	default:
		r.bad = true
	}
	switch encoding & 0x70 {
	case 0x00:
	case 0x10:
		v += at
	default:
		r.bad = true
	}
	return v
}
