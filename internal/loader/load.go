package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// loadCollection loads maps and programs with a description of just the types
// that they know. Where that fails, for whatever reason, the library does all of
// it, and tells what is wrong.
func loadCollection(spec *ebpf.CollectionSpec, types *Types) (*ebpf.Collection, error) {
	if types == nil {
		types = newTypes()
	}
	known, _ := types.of(spec)
	return types.load(spec, known)
}

// load takes what of gave, nil where that failed.
func (t *Types) load(spec *ebpf.CollectionSpec, known *pruned) (*ebpf.Collection, error) {
	if known != nil {
		if coll, err := known.load(spec); err == nil {
			return coll, nil
		}
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: t.all})
}

// load has the library load what needs no number of the kernel's types, and the
// others itself: the library would read all types to find one number.
func (p *pruned) load(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	part := *spec
	part.Programs = make(map[string]*ebpf.ProgramSpec)
	var attach []*ebpf.ProgramSpec
	for name, prog := range spec.Programs {
		if !numbered(prog) {
			part.Programs[name] = prog
		} else {
			attach = append(attach, prog)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(&part, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: p.types}})
	if err != nil {
		return nil, err
	}
	loaded, errs := make([]*ebpf.Program, len(attach)), make([]error, len(attach))
	var wg sync.WaitGroup
	for i, prog := range attach {
		wg.Go(func() {
			var err error
			if loaded[i], err = p.loadAttached(prog, coll.Maps); err != nil {
				errs[i] = fmt.Errorf("%s: %w", prog.Name, err)
			}
		})
	}
	wg.Wait()
	for i, prog := range attach {
		if loaded[i] != nil {
			coll.Programs[prog.Name] = loaded[i]
		}
	}
	if err := errors.Join(errs...); err != nil {
		coll.Close()
		return nil, err
	}
	return coll, nil
}

// loadAttached loads one program that attaches to what the kernel's types number.
func (p *pruned) loadAttached(spec *ebpf.ProgramSpec, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	id, ok := p.ids[attachName(spec)]
	if !ok {
		return nil, fmt.Errorf("the kernel has no %s", attachName(spec))
	}
	insns := spec.Copy().Instructions
	if err := useMaps(insns, maps); err != nil {
		return nil, err
	}
	var builder btf.Builder
	if err := relocate(insns, []*btf.Spec{p.types}, spec.ByteOrder, &builder); err != nil {
		return nil, err
	}
	funcs, lines, err := btf.MarshalExtInfos(insns, &builder)
	if err != nil {
		return nil, err
	}
	own, err := btf.NewHandle(&builder)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	var code bytes.Buffer
	if err := insns.Marshal(&code, spec.ByteOrder); err != nil {
		return nil, err
	}
	return progLoad(spec, code.Bytes(), funcs, lines, own.FD(), id)
}

// useMaps puts maps into instructions.
func useMaps(insns asm.Instructions, maps map[string]*ebpf.Map) error {
	for i := range insns {
		ins := &insns[i]
		if !ins.IsLoadFromMap() || ins.Reference() == "" {
			continue
		}
		m := maps[ins.Reference()]
		if m == nil {
			return fmt.Errorf("no map %s", ins.Reference())
		}
		if err := ins.AssociateMap(m); err != nil {
			return err
		}
	}
	return nil
}

// relocate puts the places that fields have in the given types into instructions.
func relocate(insns asm.Instructions, types []*btf.Spec, order binary.ByteOrder, builder *btf.Builder) error {
	var relos []*btf.CORERelocation
	var at []*asm.Instruction
	for i := range insns {
		if r := btf.CORERelocationMetadata(&insns[i]); r != nil {
			relos, at = append(relos, r), append(at, &insns[i])
		}
	}
	fixups, err := btf.CORERelocate(relos, types, order, builder.Add)
	if err != nil {
		return err
	}
	for i, f := range fixups {
		if err := f.Apply(at[i]); err != nil {
			return err
		}
	}
	return nil
}

// progAttr is the part of union bpf_attr for BPF_PROG_LOAD.
type progAttr struct {
	progType, insnCount uint32
	insns, license      uint64
	logLevel, logSize   uint32
	logBuf              uint64
	version, flags      uint32
	name                [unix.BPF_OBJ_NAME_LEN]byte
	ifindex, attachType uint32
	btfFD, funcSize     uint32
	funcs               uint64
	funcCount, lineSize uint32
	lines               uint64
	lineCount, attachID uint32
}

// progTries is how often a program is offered to a verifier that stops for a
// signal: Go's runtime sends its threads some.
const progTries = 30

func progLoad(spec *ebpf.ProgramSpec, code, funcs, lines []byte, types int, id btf.TypeID) (*ebpf.Program, error) {
	license := append([]byte(spec.License), 0)
	var pin runtime.Pinner // the kernel reads them by their addresses
	defer pin.Unpin()
	address := func(b []byte) uint64 {
		if len(b) == 0 {
			return 0
		}
		pin.Pin(&b[0])
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	attr := progAttr{
		progType: uint32(spec.Type), flags: spec.Flags, license: address(license),
		insns: address(code), insnCount: uint32(len(code) / asm.InstructionSize),
		attachType: uint32(spec.AttachType), attachID: uint32(id), btfFD: uint32(types),
		funcs: address(funcs), funcSize: btf.FuncInfoSize, funcCount: uint32(len(funcs)) / btf.FuncInfoSize,
		lines: address(lines), lineSize: btf.LineInfoSize, lineCount: uint32(len(lines)) / btf.LineInfoSize,
	}
	copy(attr.name[:len(attr.name)-1], spec.Name)
	var errno unix.Errno
	for range progTries {
		var fd uintptr
		fd, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		switch errno {
		case 0:
			return ebpf.NewProgramFromFD(int(fd))
		case unix.EAGAIN, unix.EINTR: // the verifier stopped for a signal
		default:
			return nil, errno
		}
	}
	return nil, errno
}
