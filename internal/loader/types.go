package loader

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Types are the kernel's own type descriptions (BTF), read once for all programs
// that are loaded with them.
type Types struct {
	mu      sync.Mutex // of what pruning marks, and of modules
	kernel  func() (*rawBTF, error)
	modules map[string]*rawBTF
	all     *btf.Cache // the library's, for what ours do not do
}

// NewTypes begins to read the types; meanwhile the caller does something else.
func NewTypes() *Types {
	t := newTypes()
	go func() { _, _ = t.kernel() }() // whoever needs them says what is missing
	return t
}

func newTypes() *Types {
	return &Types{
		kernel:  sync.OnceValues(func() (*rawBTF, error) { return readBTF("vmlinux", nil) }),
		modules: make(map[string]*rawBTF),
		all:     btf.NewCache(),
	}
}

// of describes what the programs of a spec know, of the kernel and of those of
// the modules that are loaded.
func (t *Types) of(spec *ebpf.CollectionSpec, modules ...string) (*pruned, error) {
	names, attached, err := wants(spec)
	if err != nil {
		return nil, err
	}
	kernel, err := t.kernel()
	if err != nil {
		return nil, fmt.Errorf("kernel types: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var loaded []*rawBTF
	for _, name := range modules {
		if t.modules[name] == nil {
			if t.modules[name], err = readBTF(name, kernel); err != nil {
				continue // not loaded, or built in
			}
		}
		loaded = append(loaded, t.modules[name])
	}
	return prune(kernel, loaded, names, attached)
}
