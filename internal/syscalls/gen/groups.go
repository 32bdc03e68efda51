package main

import (
	"fmt"
	"os"
	"strings"
)

// emitGroups writes the groups of groups.txt; each name must be a call.
func emitGroups(path string, calls []*call) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	known := map[string]bool{}
	for _, c := range calls {
		known[c.name] = true
	}
	var b strings.Builder
	b.WriteString("// groups are the names behind strace's -e trace=%GROUP.\nvar groups = [...]struct {\nname string\ncalls string\n}{\n")
	for n, line := range strings.Split(string(data), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ": ")
		if !ok {
			return "", fmt.Errorf("%s:%d: no GROUP: NAME", path, n+1)
		}
		for _, c := range strings.Fields(rest) {
			if !known[c] {
				return "", fmt.Errorf("%s:%d: no call %q", path, n+1, c)
			}
		}
		fmt.Fprintf(&b, "{%q, %q},\n", name, rest)
	}
	b.WriteString("}\n")
	return b.String(), nil
}
