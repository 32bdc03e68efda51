package strace

import (
	"path"
	"slices"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// onPath tells whether a call names or acts on one of the paths of -P.
func (p *Printer) onPath(t *thread) bool {
	p.mem.load(t.memory, nil)
	p.pid = t.pid
	for _, a := range t.call.PathArgs(t.args) {
		name := p.stringAt(t, t.args[a.Arg], nil)
		if name == "" {
			continue
		}
		if slices.Contains(p.o.Paths, name) {
			return true
		}
		if !path.IsAbs(name) {
			dir := syscalls.ATFDCWD
			if a.Dir >= 0 {
				dir = int(int32(t.args[a.Dir]))
			}
			if base := p.fdPath(dir); base != "" && slices.Contains(p.o.Paths, path.Join(base, name)) {
				return true
			}
		}
	}
	for _, i := range t.call.FDArgs(t.args) {
		if slices.Contains(p.o.Paths, p.fdPath(int(int32(t.args[i])))) {
			return true
		}
	}
	return false
}
