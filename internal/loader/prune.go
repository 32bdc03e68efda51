package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Of the kernel's hundred and fifty thousand types our programs know some
// seventy. The library indexes all of them, and decodes whatever a thread's can
// lead to, before it relocates the first program: half of the start of a report.
// So it gets a description of its own making that has those seventy alone: a
// pointer in it leads nowhere, as a relocation never follows one, and of a struct
// that no program knows there is no more than its size.

// pruned is such a description.
type pruned struct {
	types *btf.Spec
	// ids are those of functions and typedefs in the kernel's own: what programs
	// attach to.
	ids map[string]btf.TypeID
}

// prune keeps the types of the given names, and looks the others up.
func prune(kernel *rawBTF, modules []*rawBTF, names, attached map[string]bool) (*pruned, error) {
	wanted := make(map[string]bool, len(names)+len(attached))
	for _, list := range []map[string]bool{names, attached} {
		for name := range list {
			wanted[name] = true
		}
	}
	p := &pruner{names: names, ids: make(map[*byte]uint32), at: map[string]uint32{"": 0}, strings: []byte{0}}
	found := &pruned{ids: make(map[string]btf.TypeID)}
	for _, b := range append([]*rawBTF{kernel}, modules...) {
		b.look(wanted)
		p.from = b
		for i, at := range b.offsets {
			id := b.firstID() + uint32(i)
			t := rawType(b.types[at:])
			if id == 0 || !b.asked(t.nameAt()) {
				continue
			}
			name := string(b.name(t.nameAt()))
			switch kind := t.kind(); kind {
			case btfStruct, btfUnion, btfEnum, btfEnum64, btfTypedef:
				if names[name] {
					p.add(id, 0)
				}
				if kind != btfTypedef {
					break
				}
				fallthrough
			case btfFunc:
				if b == kernel && attached[name] {
					if _, twice := found.ids[name]; twice {
						return nil, fmt.Errorf("%w: two of %s", errBTF, name)
					}
					found.ids[name] = btf.TypeID(id)
				}
			}
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	var err error
	found.types, err = btf.LoadSpecFromReader(bytes.NewReader(p.bytes()))
	return found, err
}

// pruner writes types anew, under numbers of its own.
type pruner struct {
	names   map[string]bool
	from    *rawBTF
	ids     map[*byte]uint32 // the new numbers, by where types are described
	n       uint32
	pointer uint32 // the only one there is
	types   []byte
	strings []byte
	at      map[string]uint32
	err     error
}

// deepest is how deep types lie in each other; the kernel's lie ten deep.
const deepest = 64

// add writes a type, after those that it is made of, and returns its number.
func (p *pruner) add(id uint32, depth int) uint32 {
	if id == 0 || p.err != nil {
		return 0
	}
	t := p.from.typ(id)
	if t == nil || depth > deepest {
		p.err = fmt.Errorf("%w: type %d", errBTF, id)
		return 0
	}
	n, ok := p.ids[&t[0]]
	if !ok {
		n = p.write(t, depth)
		p.ids[&t[0]] = n
	}
	return n
}

func (p *pruner) write(t rawType, depth int) uint32 {
	next := func(id uint32) uint32 { return p.add(id, depth+1) }
	switch t.kind() {
	case btfInt, btfFloat, btfFwd:
		return p.emit(t, t.info(), t.refers(), t[btfTypeSize:])
	case btfPtr:
		if p.pointer == 0 {
			p.pointer = p.emit(t, btfPtr<<24, 0, nil)
		}
		return p.pointer
	case btfTypedef, btfVolatile, btfConst, btfRestrict, btfTypeTag:
		return p.emit(t, t.info(), next(t.refers()), nil)
	case btfArray:
		var a [12]byte
		copy(a[:], t[btfTypeSize:])
		for _, at := range []int{0, 4} {
			binary.NativeEndian.PutUint32(a[at:], next(binary.NativeEndian.Uint32(a[at:])))
		}
		return p.emit(t, t.info(), t.refers(), a[:])
	case btfStruct, btfUnion:
		if !p.whole(t) {
			return p.emit(t, t.kind()<<24, t.refers(), nil)
		}
		members := bytes.Clone(t[btfTypeSize:])
		for m := members; len(m) > 0; m = m[12:] {
			p.rename(m)
			binary.NativeEndian.PutUint32(m[4:], next(binary.NativeEndian.Uint32(m[4:])))
		}
		return p.emit(t, t.info(), t.refers(), members)
	case btfEnum, btfEnum64:
		if !p.whole(t) {
			return p.emit(t, t.info()&^0xffff, t.refers(), nil)
		}
		values := bytes.Clone(t[btfTypeSize:])
		for v := values; len(v) > 0; v = v[behindType[t.kind()].each:] {
			p.rename(v)
		}
		return p.emit(t, t.info(), t.refers(), values)
	}
	return 0 // a function is part of nothing
}

// whole tells whether a type's members matter: those of a nameless one are its
// parent's.
func (p *pruner) whole(t rawType) bool {
	return t.nameAt() == 0 || p.from.asked(t.nameAt()) && p.names[string(p.from.name(t.nameAt()))]
}

// rename puts the new place of a name at the beginning of b.
func (p *pruner) rename(b []byte) {
	binary.NativeEndian.PutUint32(b, p.place(p.from.name(binary.NativeEndian.Uint32(b))))
}

func (p *pruner) place(name []byte) uint32 {
	if at, ok := p.at[string(name)]; ok {
		return at
	}
	at := uint32(len(p.strings))
	p.strings = append(append(p.strings, name...), 0)
	p.at[string(name)] = at
	return at
}

func (p *pruner) emit(t rawType, info, refers uint32, behind []byte) uint32 {
	name := uint32(0)
	if t.kind() != btfPtr {
		name = p.place(p.from.name(t.nameAt()))
	}
	for _, word := range []uint32{name, info, refers} {
		p.types = binary.NativeEndian.AppendUint32(p.types, word)
	}
	p.types = append(p.types, behind...)
	p.n++
	return p.n
}

// bytes puts a header before what was written.
func (p *pruner) bytes() []byte {
	out := binary.NativeEndian.AppendUint16(nil, btfMagic)
	out = append(out, 1, 0) // version, flags
	for _, word := range []int{btfHeaderSize, 0, len(p.types), len(p.types), len(p.strings)} {
		out = binary.NativeEndian.AppendUint32(out, uint32(word))
	}
	return append(append(out, p.types...), p.strings...)
}

// errNoTypes means that a description of ours does not do for some programs.
var errNoTypes = errors.New("programs that need all of the kernel's types")

// wants lists the types that programs know, by the names the kernel has for
// them, and what they attach to.
func wants(spec *ebpf.CollectionSpec) (names, attached map[string]bool, err error) {
	names, attached = make(map[string]bool), make(map[string]bool)
	for typ, err := range spec.Types.All() {
		if err != nil {
			return nil, nil, err
		}
		switch typ.(type) {
		case *btf.Struct, *btf.Union, *btf.Enum, *btf.Typedef:
			name := typ.TypeName()
			if i := strings.LastIndex(name, "___"); i > 0 {
				name = name[:i] // a flavour: the same type as another kernel has it
			}
			if name != "" {
				names[name] = true
			}
		}
	}
	for _, p := range spec.Programs {
		if !numbered(p) {
			continue
		}
		name := attachName(p)
		if name == "" {
			return nil, nil, errNoTypes
		}
		attached[name] = true
	}
	return names, attached, nil
}

// numbered tells whether a program is loaded with the number of a type.
func numbered(p *ebpf.ProgramSpec) bool {
	return p.AttachTo != "" && p.Type != ebpf.TracePoint
}

// attachName is what the kernel calls the function or typedef whose number a
// program is loaded with.
func attachName(p *ebpf.ProgramSpec) string {
	if p.Type != ebpf.Tracing {
		return ""
	}
	switch p.AttachType {
	case ebpf.AttachTraceIter:
		return "bpf_iter_" + p.AttachTo
	case ebpf.AttachTraceRawTp:
		return "btf_trace_" + p.AttachTo
	}
	return ""
}
