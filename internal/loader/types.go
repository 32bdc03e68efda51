package loader

import "github.com/cilium/ebpf/btf"

// Types are the kernel's own type descriptions (BTF), read once for all programs
// that are loaded with them: that takes longer than to load some programs. They
// hold some MiB, so let go of them when everything is loaded.
type Types struct{ cache *btf.Cache }

// btf is where the library finds them, or reads them anew where there are none.
func (t *Types) btf() *btf.Cache {
	if t == nil {
		return btf.NewCache()
	}
	return t.cache
}

// NewTypes begins to read the types; meanwhile the caller does something else.
func NewTypes() *Types {
	t := &Types{cache: btf.NewCache()}
	go func() { _, _ = t.cache.Kernel() }() // whoever needs them says what is missing
	return t
}
