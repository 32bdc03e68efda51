package symbol

import (
	"debug/elf"
	"strconv"
	"strings"
)

// Mapping is one line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64
	Perm       string // "r-xp"
	Offset     uint64 // in the file
	Device     string // "fd:00"
	Inode      uint64
	// Path as the kernel prints it, " (deleted)" cut off; "" for anonymous
	// memory, "[stack]", "[vdso]"... for the kernel's own.
	Path    string
	Deleted bool
}

// ParseMaps reads the text of /proc/PID/maps. Lines it does not understand are
// passed over.
func ParseMaps(text string) []Mapping {
	var out []Mapping
	for line := range strings.Lines(text) {
		if m, ok := parseMapping(strings.TrimSuffix(line, "\n")); ok {
			out = append(out, m)
		}
	}
	return out
}

// parseMapping splits "7f00-7f01 r-xp 00001000 fd:00 1234     /usr/bin/x".
func parseMapping(line string) (m Mapping, ok bool) {
	field := func() string {
		f, rest, _ := strings.Cut(line, " ")
		line = rest
		return f
	}
	span, perm, offset, device, inode := field(), field(), field(), field(), field()
	start, end, found := strings.Cut(span, "-")
	var errs [4]error
	m = Mapping{Perm: perm, Device: device}
	m.Start, errs[0] = strconv.ParseUint(start, 16, 64)
	m.End, errs[1] = strconv.ParseUint(end, 16, 64)
	m.Offset, errs[2] = strconv.ParseUint(offset, 16, 64)
	m.Inode, errs[3] = strconv.ParseUint(inode, 10, 64)
	if !found || errs != [4]error{} || len(perm) != 4 || m.End <= m.Start {
		return Mapping{}, false
	}
	m.Path = strings.TrimLeft(line, " ")
	// The kernel writes a new line in a name as \012 and nothing else so.
	m.Path = strings.ReplaceAll(m.Path, `\012`, "\n")
	m.Path, m.Deleted = strings.CutSuffix(m.Path, " (deleted)")
	return m, true
}

// Executable tells whether code may run there.
func (m Mapping) Executable() bool { return m.Perm[2] == 'x' }

// sameFile tells whether two mappings are of one file. Device and inode are not
// enough on overlay file systems of old kernels, names not for deleted files.
func (m Mapping) sameFile(o Mapping) bool {
	return m.Inode == o.Inode && m.Device == o.Device && m.Path == o.Path && m.Deleted == o.Deleted
}

// Bias is what a process adds to the addresses of the program: 0 unless it is
// position independent. ofProgram tells the mappings of the program itself,
// usually by comparing Path with where /proc/PID/exe points; of several such
// loads (a program may map its own file once more) the one that fits the
// program headers wins. ok is false when none does.
func (t *GoTable) Bias(maps []Mapping, ofProgram func(Mapping) bool) (bias uint64, ok bool) {
	if !t.img.pie {
		return 0, true
	}
	for _, m := range maps {
		if ofProgram(m) && m.Executable() {
			if bias, ok := t.img.bias(m); ok {
				return bias, true
			}
		}
	}
	return 0, false
}

// bias fits one executable mapping to the program headers.
func (m *image) bias(at Mapping) (uint64, bool) {
	for _, s := range m.segments {
		if s.Flags&elf.PF_X == 0 || at.Offset/pageSize < s.Off/pageSize || at.Offset >= s.Off+s.Filesz {
			continue
		}
		return at.Start - (s.Vaddr + at.Offset - s.Off), true
	}
	return 0, false
}
