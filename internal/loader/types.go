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
	kernel func() (*rawBTF, error)
	module func(name string) (*rawBTF, error)
	all    *btf.Cache // the library's, for what ours do not do
}

// NewTypes begins to read the types; meanwhile the caller does something else.
func NewTypes() *Types {
	t := newTypes()
	go func() { _, _ = t.kernel() }() // whoever needs them says what is missing
	return t
}

func newTypes() *Types {
	t := &Types{all: btf.NewCache()}
	t.kernel = sync.OnceValues(func() (*rawBTF, error) { return readBTF("vmlinux", nil) })
	var mu sync.Mutex
	modules := make(map[string]*rawBTF)
	t.module = func(name string) (*rawBTF, error) {
		kernel, err := t.kernel()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if b := modules[name]; b != nil {
			return b, nil
		}
		b, err := readBTF(name, kernel)
		modules[name] = b
		return b, err
	}
	return t
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
	var loaded []*rawBTF
	for _, name := range modules {
		if b, err := t.module(name); err == nil {
			loaded = append(loaded, b)
		}
	}
	return prune(kernel, loaded, names, attached)
}
