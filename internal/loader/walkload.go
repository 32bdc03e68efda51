package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/bpf"
)

// walkModule says which types a program needs, and what is lost without.
type walkModule struct {
	module, typ, lost string
}

// walkModules are the programs that need more than the core kernel's types.
// FUSE is built in on many kernels; its types are then vmlinux's.
var walkModules = map[string]walkModule{
	"walk_cephfs":  {"ceph", "ceph_mds_client", "requests to the MDS, sessions and caps of kernel cephfs"},
	"walk_threads": {"ceph", "ceph_mds_client", "threads that wait for caps"},
	"walk_clients": {"libceph", "ceph_osd_client", "requests to OSDs and monitors"},
	"walk_rbds":    {"rbd", "rbd_device", "images behind rbd devices"},
	"walk_fuses":   {"fuse", "fuse_conn", "requests of FUSE connections"},
}

// load makes the maps, and then has the kernel check the programs beside each
// other, as that is what takes long. Programs that this kernel does not take are
// left out; the walk of the super blocks must be taken.
func (w *Walker) load(types *Types) error {
	spec, err := bpf.LoadWalk()
	if err != nil {
		return fmt.Errorf("embedded object: %w", err)
	}
	if types == nil {
		types = newTypes()
	}
	known, err := w.types(spec, types)
	if err != nil {
		return err
	}
	programs := spec.Programs
	spec.Programs = nil
	opts := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: known}}
	if w.coll, err = ebpf.NewCollectionWithOptions(spec, opts); err != nil {
		return err
	}
	w.rememberOffsets(spec)
	opts.MapReplacements = w.coll.Maps
	names := slices.Sorted(maps.Keys(programs))
	loaded, errs := make([]*ebpf.Program, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		// A copy of all of it, types included, would cost as much as a program.
		one := &ebpf.CollectionSpec{Maps: spec.Maps, ByteOrder: spec.ByteOrder,
			Programs: map[string]*ebpf.ProgramSpec{name: programs[name]}}
		wg.Go(func() { loaded[i], errs[i] = loadOne(one, opts, name) })
	}
	wg.Wait()
	w.coll.Programs = make(map[string]*ebpf.Program)
	for i, name := range names {
		if loaded[i] != nil {
			w.coll.Programs[name] = loaded[i]
		}
	}
	for i, name := range names {
		if err := w.leaveOut(name, errs[i]); err != nil {
			w.coll.Close()
			return err
		}
	}
	return nil
}

func loadOne(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions, name string) (*ebpf.Program, error) {
	c, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// leaveOut remembers why a program is missing; it returns the error where none
// of them can do without.
func (w *Walker) leaveOut(name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EPERM) || lockedDown(err) || name == "walk_supers" {
		return err
	}
	w.missing[name] = lost(name, "this kernel refuses the program that reads them")
	if _, ok := walkModules[name]; !ok {
		w.degrade(w.missing[name])
	}
	return nil
}

// types describes what the programs know, of the kernel and of the few modules
// in question, and leaves out those that look for what this kernel has not.
func (w *Walker) types(spec *ebpf.CollectionSpec, types *Types) (*btf.Spec, error) {
	var modules []string
	for _, m := range walkModules {
		if !slices.Contains(modules, m.module) {
			modules = append(modules, m.module)
		}
	}
	known, err := types.of(spec, modules...)
	if err != nil {
		return nil, err
	}
	for name, m := range walkModules {
		if !knows(known.types, m.typ) {
			delete(spec.Programs, name)
			w.missing[name] = lost(name, "no type information (BTF) of module "+m.module)
		}
	}
	return known.types, nil
}

func knows(types *btf.Spec, name string) bool {
	_, err := types.AnyTypesByName(name)
	return err == nil
}

func lost(program, why string) string {
	what := map[string]string{
		"walk_inodes":  "threads that wait for an inode's locks",
		"walk_tables":  "threads that wait for pages, buffers and names",
		"walk_symbols": "threads that wait for pages, buffers and names",
	}[program]
	if m, ok := walkModules[program]; ok {
		what = m.lost
	}
	return fmt.Sprintf("%s are not walked: %s", what, why)
}

func (w *Walker) rememberOffsets(spec *ebpf.CollectionSpec) {
	w.at = make(map[string]uint32)
	for _, name := range []string{"cephs", "fuses", "rbds", "clients"} {
		w.at[name] = spec.Variables[name].Offset
	}
}

// symbolsMissing says why the kernel's tables of wait queues were not found.
func symbolsMissing(errno int64) string {
	switch unix.Errno(-errno) {
	case unix.EPERM, unix.EACCES:
		return lost("walk_tables", "kernel symbols are hidden (kptr_restrict, or no CAP_SYSLOG)")
	case unix.ENOENT:
		return lost("walk_tables", "the kernel does not name its data (CONFIG_KALLSYMS_ALL)")
	}
	return lost("walk_tables", "kernel symbols: "+unix.Errno(-errno).Error())
}

// walkNotSupported adds what an error of loading the walker means.
func walkNotSupported(err error) error {
	if lockedDown(err) {
		return errLockdown
	}
	if loop := features.HaveProgramHelper(ebpf.Syscall, asm.FnLoop); errors.Is(loop, ebpf.ErrNotSupported) {
		return fmt.Errorf("%w: needs Linux 5.17 (bpf_loop): %w", ErrNotSupported, err)
	}
	return notSupported(err)
}
