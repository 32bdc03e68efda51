package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// btfDir is where the kernel shows its types and those of its modules.
const btfDir = "/sys/kernel/btf"

// The kinds of types, and the sizes of what describes them
// (Documentation/bpf/btf.rst).
const (
	btfMagic      = 0xeb9f
	btfHeaderSize = 24
	btfTypeSize   = 12 // name, info, size or type

	btfInt, btfPtr, btfArray, btfStruct, btfUnion    = 1, 2, 3, 4, 5
	btfEnum, btfFwd, btfTypedef, btfVolatile         = 6, 7, 8, 9
	btfConst, btfRestrict, btfFunc, btfProto, btfVar = 10, 11, 12, 13, 14
	btfDatasec, btfFloat, btfDeclTag, btfTypeTag     = 15, 16, 17, 18
	btfEnum64                                        = 19
)

// behindType is what follows a type's three words: so many bytes, and so many
// for each member.
var behindType = [...]struct{ once, each int }{
	btfInt: {4, 0}, btfPtr: {}, btfArray: {12, 0}, btfStruct: {0, 12}, btfUnion: {0, 12},
	btfEnum: {0, 8}, btfFwd: {}, btfTypedef: {}, btfVolatile: {}, btfConst: {}, btfRestrict: {},
	btfFunc: {}, btfProto: {0, 8}, btfVar: {4, 0}, btfDatasec: {0, 12}, btfFloat: {},
	btfDeclTag: {4, 0}, btfTypeTag: {}, btfEnum64: {0, 12},
}

var errBTF = errors.New("types (BTF): not as documented")

// rawBTF are types as the kernel describes them: those of a module go on where
// the kernel's own, their base, end.
type rawBTF struct {
	base    *rawBTF
	types   []byte
	strings []byte
	offsets []uint32 // in types, by ID less that of the first
	names   bitSet   // offsets of the strings that are asked for
}

// readBTF maps the types of the kernel, "vmlinux", or of a module.
func readBTF(name string, base *rawBTF) (*rawBTF, error) {
	f, err := os.Open(filepath.Join(btfDir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Reading costs a call for each page, mapping came with 6.16.
	raw, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		if raw, err = os.ReadFile(f.Name()); err != nil {
			return nil, err
		}
		return parseBTF(raw, base)
	}
	b, err := parseBTF(raw, base)
	if err != nil {
		_ = unix.Munmap(raw)
		return nil, err
	}
	runtime.AddCleanup(b, func(raw []byte) { _ = unix.Munmap(raw) }, raw)
	return b, nil
}

// parseBTF finds where each type begins.
func parseBTF(raw []byte, base *rawBTF) (*rawBTF, error) {
	if len(raw) < btfHeaderSize || binary.NativeEndian.Uint16(raw) != btfMagic {
		return nil, errBTF
	}
	header := binary.NativeEndian.Uint32(raw[4:])
	part := func(at int) ([]byte, error) {
		off, size := uint64(binary.NativeEndian.Uint32(raw[at:])), uint64(binary.NativeEndian.Uint32(raw[at+4:]))
		if off += uint64(header); off+size > uint64(len(raw)) {
			return nil, errBTF
		}
		return raw[off : off+size], nil
	}
	b := &rawBTF{base: base}
	var err error
	if b.types, err = part(8); err != nil {
		return nil, err
	}
	if b.strings, err = part(16); err != nil {
		return nil, err
	}
	b.offsets = make([]uint32, 0, len(b.types)/usualType)
	if base == nil {
		b.offsets = append(b.offsets, 0) // void, which is described nowhere
	}
	for at := 0; at < len(b.types); {
		size, err := sizeOfType(b.types[at:])
		if err != nil {
			return nil, err
		}
		b.offsets = append(b.offsets, uint32(at))
		at += size
	}
	return b, nil
}

// usualType is less than what the kernel's types take on the average.
const usualType = 24

func sizeOfType(t []byte) (int, error) {
	if len(t) < btfTypeSize {
		return 0, errBTF
	}
	info := binary.NativeEndian.Uint32(t[4:])
	kind := info >> 24 & 0x1f
	if kind == 0 || int(kind) >= len(behindType) {
		return 0, fmt.Errorf("%w: kind %d", errBTF, kind)
	}
	k := behindType[kind]
	size := btfTypeSize + k.once + k.each*int(info&0xffff)
	if size > len(t) {
		return 0, errBTF
	}
	return size, nil
}

// firstID is that of the first type of its own.
func (b *rawBTF) firstID() uint32 {
	if b.base == nil {
		return 0
	}
	return uint32(len(b.base.offsets))
}

// typ is the description of a type; nil: void, or none.
func (b *rawBTF) typ(id uint32) rawType {
	for b.base != nil && id < b.firstID() {
		b = b.base
	}
	i := id - b.firstID()
	if id == 0 || int(i) >= len(b.offsets) {
		return nil
	}
	end := uint32(len(b.types))
	if int(i)+1 < len(b.offsets) {
		end = b.offsets[i+1]
	}
	return b.types[b.offsets[i]:end]
}

// name is the string at an offset.
func (b *rawBTF) name(at uint32) []byte {
	if b.base != nil {
		n := uint32(len(b.base.strings))
		if at < n {
			return b.base.name(at)
		}
		at -= n
	}
	if at >= uint32(len(b.strings)) {
		return nil
	}
	return cString(b.strings[at:])
}

// look finds out where the strings of interest stand.
func (b *rawBTF) look(wanted map[string]bool) {
	var likely [1 << 12]bool // most strings are none, and are told so without the map
	for name := range wanted {
		likely[likeness([]byte(name))] = true
	}
	b.names = newBitSet(len(b.strings))
	for at := 0; at < len(b.strings); {
		s := cString(b.strings[at:])
		if likely[likeness(s)] && wanted[string(s)] {
			b.names.add(uint32(at))
		}
		at += len(s) + 1
	}
}

func likeness(s []byte) int {
	n := len(s)
	if n == 0 {
		return 0
	}
	return (n*37 ^ int(s[0])<<4 ^ int(s[n-1])<<2 ^ int(s[n/2])) & (1<<12 - 1)
}

// asked tells whether the string at an offset is one of those look was given.
func (b *rawBTF) asked(at uint32) bool {
	if b.base != nil {
		n := uint32(len(b.base.strings))
		if at < n {
			return b.base.names.has(at)
		}
		at -= n
	}
	return b.names.has(at)
}

func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// rawType is the description of one type.
type rawType []byte

func (t rawType) nameAt() uint32 { return binary.NativeEndian.Uint32(t) }
func (t rawType) info() uint32   { return binary.NativeEndian.Uint32(t[4:]) }
func (t rawType) kind() uint32   { return t.info() >> 24 & 0x1f }
func (t rawType) refers() uint32 { return binary.NativeEndian.Uint32(t[8:]) } // or the size

type bitSet []uint64

func newBitSet(n int) bitSet       { return make(bitSet, n/64+1) }
func (s bitSet) add(i uint32)      { s[i/64] |= 1 << (i % 64) }
func (s bitSet) has(i uint32) bool { return int(i/64) < len(s) && s[i/64]&(1<<(i%64)) != 0 }
