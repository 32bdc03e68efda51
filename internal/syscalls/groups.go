package syscalls

import (
	"slices"
	"strings"
)

// Group gives the calls of strace's -e trace=%NAME, sorted: "file", "desc",
// "process", "network", "memory", "signal", "ipc", "stat", "lstat", "fstat",
// "%stat" (all three), "statfs", "fstatfs", "%statfs", "creds", "clock",
// "pure". They are those of all architectures together.
func Group(name string) ([]string, bool) {
	for _, g := range groups {
		if g.name == name {
			return strings.Fields(g.calls), true
		}
	}
	return nil, false
}

// Groups gives the names of all groups.
func Groups() []string {
	var out []string
	for _, g := range groups {
		out = append(out, g.name)
	}
	slices.Sort(out)
	return out
}
