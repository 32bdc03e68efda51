package syscalls

import (
	"strconv"
	"strings"
)

// nameSet holds the names of a family of flags or values.
type nameSet struct {
	unknown string    // stands for the name of what has none
	items   [4][]item // nil: as on amd64
}

// item is one name; with a mask it is one value of a field of several bits.
type item struct {
	name      string
	val, mask uint64
}

func (s *nameSet) on(arch Arch) []item {
	if its := s.items[arch.index()]; its != nil {
		return its
	}
	return s.items[archIndexAMD64]
}

// FlagNames shows v as bits of a set: O_RDONLY|O_CLOEXEC. Bits without a name
// follow in hexadecimal.
func FlagNames(arch Arch, set Set, v uint64) string {
	if int(set) >= len(sets) {
		return hex(v)
	}
	s := &sets[set]
	var b strings.Builder
	add := func(name string) {
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		b.WriteString(name)
	}
	zero := v == 0
	rest := v
	var seen uint64 // fields already shown
	for _, it := range s.on(arch) {
		switch {
		case it.mask != 0:
			if seen&it.mask == 0 {
				add(s.field(arch, it.mask, v))
				seen |= it.mask
				rest &^= it.mask
			}
		case it.val != 0 && rest&it.val == it.val:
			add(it.name)
			rest &^= it.val
		case it.val == 0 && zero:
			add(it.name)
		}
	}
	if rest != 0 {
		if b.Len() > 0 {
			return b.String() + "|" + hex(rest)
		}
		return hex(rest) + " /* " + s.unknown + " */"
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}

// field shows the bits of v below mask, of which one value holds.
func (s *nameSet) field(arch Arch, mask, v uint64) string {
	for _, it := range s.on(arch) {
		if it.mask == mask && it.val == v&mask {
			return it.name
		}
	}
	return hex(v&mask) + " /* " + s.unknown + " */"
}

// ValueName shows v as a value of a set: SEEK_SET, or 0x2a /* SEEK_??? */.
func ValueName(arch Arch, set Set, v uint64) string {
	if name, ok := lookupValue(arch, set, v); ok {
		return name
	}
	if int(set) >= len(sets) {
		return hex(v)
	}
	return hex(v) + " /* " + sets[set].unknown + " */"
}

func lookupValue(arch Arch, set Set, v uint64) (string, bool) {
	if int(set) >= len(sets) {
		return "", false
	}
	for _, it := range sets[set].on(arch) {
		if uint32(it.val) == uint32(v) { // such arguments are ints
			return it.name, true
		}
	}
	return "", false
}

// hex is C's %#x.
func hex(v uint64) string { return string(appendHex(nil, v)) }

func appendHex(b []byte, v uint64) []byte {
	if v == 0 {
		return append(b, '0')
	}
	return strconv.AppendUint(append(b, "0x"...), v, 16)
}
