package symbol

import (
	"strconv"
	"strings"
)

// KernelFrame is one named address of a kernel stack.
type KernelFrame struct {
	// Name is the function as kallsyms has it, compiler suffixes included.
	Name   string
	Offset uint64
	// Size of the function; 0 where the text does not say.
	Size uint64
	// Module is "" for the kernel itself.
	Module string
}

// ParseKernelFrame splits a frame as kernels print it: in /proc/PID/stack
// ("[<0>] request_wait_answer+0x1e/0x40 [fuse]"), with %pS, with a build ID
// after the module name, in wchan (the name alone), or as Kallsyms.Lookup
// gives it. ok is false where the line names no function, as for a bare
// address.
func ParseKernelFrame(line string) (f KernelFrame, ok bool) {
	s := strings.TrimSpace(line)
	if strings.HasPrefix(s, "[<") {
		_, after, found := strings.Cut(s, ">]")
		if !found {
			return f, false
		}
		s = strings.TrimLeft(after, " ")
	}
	s = strings.TrimPrefix(s, "? ")
	s, module, _ := strings.Cut(s, " ")
	if module = strings.TrimSpace(module); strings.HasPrefix(module, "[") && strings.HasSuffix(module, "]") {
		f.Module, _, _ = strings.Cut(module[1:len(module)-1], " ")
	}
	name, at, hasOffset := strings.Cut(s, "+0x")
	if hasOffset {
		offset, size, _ := strings.Cut(at, "/0x")
		v, err := strconv.ParseUint(offset, 16, 64)
		if err != nil {
			return KernelFrame{}, false
		}
		f.Offset = v
		if size != "" {
			if f.Size, err = strconv.ParseUint(size, 16, 64); err != nil {
				return KernelFrame{}, false
			}
		}
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return KernelFrame{}, false // a bare address, or wchan's "0": not waiting
	}
	f.Name = name
	return f, true
}

// Function is the name in the source: without what compilers append to copies
// and parts of a function (".isra.0", ".constprop.0", ".part.0", ".cold",
// ".llvm.123").
func (f KernelFrame) Function() string {
	if i := strings.IndexByte(f.Name, '.'); i > 0 {
		return f.Name[:i]
	}
	return f.Name
}
