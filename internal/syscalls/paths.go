package syscalls

// PathArg is one argument that the kernel looks up as a path.
type PathArg struct {
	// Arg is its index, Dir that of the directory descriptor it is relative
	// to, -1 for the working directory.
	Arg, Dir int
	// EmptyFlags is the index of the flags in which AT_EMPTY_PATH makes an
	// empty path stand for Dir itself, -1 if the call has no such flag. With
	// EmptyBit the value of that flag.
	EmptyFlags int
	EmptyBit   uint64
	// EmptyIsDir tells that an empty path stands for Dir itself without any
	// flag (readlinkat: a link opened with O_PATH).
	EmptyIsDir bool
	// NullIsDir tells that a null pointer stands for Dir itself without any
	// flag (utimensat, futimesat).
	NullIsDir bool
}

// The flags that let a path be empty.
const (
	atEmptyPath   = 0x1000
	moveEmptyFrom = 0x4
	moveEmptyTo   = 0x40
	fspickEmpty   = 0x8
	fsconfigEmpty = 4 // FSCONFIG_SET_PATH_EMPTY, a command
)

// PathArgs gives the paths that a call with these arguments looks up, in their
// order. The text of a new symbolic link and the source of a mount that is
// none of files are not among them.
func (c Call) PathArgs(args [6]uint64) []PathArg {
	var out []PathArg
	list := c.ArgsFor(args)
	for i, a := range list {
		if a.Kind != KindPath {
			continue
		}
		p := PathArg{Arg: i, Dir: -1, EmptyFlags: -1}
		switch {
		case i > 0 && list[i-1].Kind == KindDirFD:
			p.Dir = i - 1
		case c.Name == "fsconfig" && i+1 < len(list) && list[i+1].Kind == KindDirFD:
			p.Dir = i + 1
		}
		if p.Dir >= 0 {
			p.EmptyFlags, p.EmptyBit = c.emptyFlag(list, len(out))
			p.EmptyIsDir = c.Name == "readlinkat"
			p.NullIsDir = c.Name == "utimensat" || c.Name == "utimensat_time64" || c.Name == "futimesat"
		}
		out = append(out, p)
	}
	return out
}

// emptyFlag finds the argument with which the nth path may be empty.
func (c Call) emptyFlag(list []Arg, nth int) (int, uint64) {
	switch c.Name {
	case "move_mount":
		if nth == 0 {
			return 4, moveEmptyFrom
		}
		return 4, moveEmptyTo
	case "linkat":
		if nth == 0 {
			return 4, atEmptyPath
		}
		return -1, 0
	case "fspick":
		return 2, fspickEmpty
	case "fsconfig":
		return 1, fsconfigEmpty
	}
	for i, a := range list {
		if a.Kind != KindFlags {
			continue
		}
		switch a.Set {
		case SetAt, SetAtStat, SetAtStatx, SetAtExec, SetAtHandle, SetFaccessat, SetOpenTree, SetMountSetattr:
			return i, atEmptyPath
		}
	}
	return -1, 0
}

// IsDir tells whether the call acts on the directory descriptor itself instead
// of on a path below it. path is the string, null whether the pointer was 0.
func (p PathArg) IsDir(args [6]uint64, path string, null bool) bool {
	if null && p.NullIsDir || !null && path == "" && p.EmptyIsDir {
		return true
	}
	// statx and newfstatat take a null pointer too since 6.11.
	return (path == "" || null) && p.EmptyFlags >= 0 && args[p.EmptyFlags]&p.EmptyBit != 0
}

// FDArg gives the index of the file descriptor that the call acts on, or -1.
// For close it is a number only: by the time close blocks, the descriptor is
// out of the table, and the number may belong to another file.
func (c Call) FDArg(args [6]uint64) int {
	if fds := c.FDArgs(args); len(fds) > 0 {
		return fds[0]
	}
	return -1
}

// FDArgs gives the indexes of all file descriptors of the call, directories of
// paths excepted.
func (c Call) FDArgs(args [6]uint64) []int {
	var out []int
	for i, a := range c.ArgsFor(args) {
		if a.Kind == KindFD || a.Kind == KindDirFD && c.Name == "open_by_handle_at" {
			out = append(out, i)
		}
	}
	return out
}
