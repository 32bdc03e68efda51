package decode

import (
	"encoding/binary"
	"strings"
)

// view reads fields of a structure. All four architectures are little-endian.
// Callers check the size first; a field beyond it reads as 0.
type view struct {
	b    []byte
	long int // size of a long and of a pointer: 4 or 8
}

func (v view) field(off, size int) []byte {
	if off < 0 || off+size > len(v.b) {
		return make([]byte, size)
	}
	return v.b[off : off+size]
}

func (v view) u8(off int) uint8   { return v.field(off, 1)[0] }
func (v view) u16(off int) uint16 { return binary.LittleEndian.Uint16(v.field(off, 2)) }
func (v view) u32(off int) uint32 { return binary.LittleEndian.Uint32(v.field(off, 4)) }
func (v view) u64(off int) uint64 { return binary.LittleEndian.Uint64(v.field(off, 8)) }
func (v view) be16(off int) uint16 {
	return binary.BigEndian.Uint16(v.field(off, 2))
}
func (v view) be32(off int) uint32 {
	return binary.BigEndian.Uint32(v.field(off, 4))
}

// ulong reads the nth long of an array of longs.
func (v view) ulong(n int) uint64 {
	if v.long == 4 {
		return uint64(v.u32(n * 4))
	}
	return v.u64(n * 8)
}

// slong is ulong with its sign.
func (v view) slong(n int) int64 {
	if v.long == 4 {
		return int64(int32(v.u32(n * 4)))
	}
	return int64(v.u64(n * 8))
}

// str reads a string in a field of fixed size.
func (v view) str(off, size int) string {
	s := string(v.field(off, size))
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return s
}

// from is the view of what follows.
func (v view) from(off int) view {
	if off > len(v.b) {
		off = len(v.b)
	}
	return view{b: v.b[off:], long: v.long}
}
