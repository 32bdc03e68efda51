package loader

import (
	"errors"
	"fmt"
	"regexp"

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

// failedProgram finds in a collection's error which program was refused.
var failedProgram = regexp.MustCompile(`program (walk_\w+): `)

// load drops, one after the other, the programs that this kernel does not
// take; the walk of the super blocks must be taken.
func (w *Walker) load() error {
	spec, err := bpf.LoadWalk()
	if err != nil {
		return fmt.Errorf("embedded object: %w", err)
	}
	opts, err := w.types(spec)
	if err != nil {
		return err
	}
	for {
		w.coll, err = ebpf.NewCollectionWithOptions(spec, opts)
		if err == nil {
			w.rememberOffsets(spec)
			return nil
		}
		name := refused(err)
		if errors.Is(err, unix.EPERM) || lockedDown(err) || name == "" || name == "walk_supers" || spec.Programs[name] == nil {
			return err
		}
		delete(spec.Programs, name)
		w.missing[name] = lost(name, "this kernel refuses the program that reads them")
		if _, ok := walkModules[name]; !ok {
			w.degrade(w.missing[name])
		}
	}
}

// types loads the kernel's types and those of the few modules in question: the
// library's own default is every module of the node.
func (w *Walker) types(spec *ebpf.CollectionSpec) (ebpf.CollectionOptions, error) {
	var opts ebpf.CollectionOptions
	cache := btf.NewCache()
	kernel, err := cache.Kernel()
	if err != nil {
		return opts, fmt.Errorf("kernel types: %w", err)
	}
	opts.Programs.KernelTypes = kernel
	modules := make(map[string]bool)
	for name, m := range walkModules {
		has := knows(kernel, m.typ)
		if types, err := cache.Module(m.module); !has && err == nil {
			if has = knows(types, m.typ); has && !modules[m.module] {
				opts.Programs.ExtraRelocationTargets = append(opts.Programs.ExtraRelocationTargets, types)
				modules[m.module] = true
			}
		}
		if !has {
			delete(spec.Programs, name)
			w.missing[name] = lost(name, "no type information (BTF) of module "+m.module)
		}
	}
	return opts, nil
}

func knows(types *btf.Spec, name string) bool {
	_, err := types.AnyTypesByName(name)
	return err == nil
}

// refused names the program that an error of the whole collection is about.
func refused(err error) string {
	if m := failedProgram.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
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
