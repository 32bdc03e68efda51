package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// emitNames writes the names of errors and signals, which have the same
// numbers on all four architectures, and glibc's messages.
func emitNames(dir string, c constants) (string, error) {
	errs, err := byNumber(c.errnos, "EWOULDBLOCK", "EDEADLOCK", "ENOTSUP", "EFSBADCRC", "EFSCORRUPTED")
	if err != nil {
		return "", err
	}
	sigs, err := byNumber(c.sigs, "SIGIOT", "SIGCLD", "SIGPOLL", "SIGUNUSED")
	if err != nil {
		return "", err
	}
	if errs[5] != "EIO" || errs[133] != "EHWPOISON" || sigs[9] != "SIGKILL" {
		return "", fmt.Errorf("error names: %q %q %q", errs[5], errs[133], sigs[9])
	}
	messages, err := readMessages(filepath.Join(dir, "errors.txt"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("// errnos are the names of error numbers and what glibc says of them.\n")
	b.WriteString("var errnos = [...]struct{ name, message string }{\n")
	for v, name := range errs {
		if name == "" {
			continue
		}
		if messages[v] == "" {
			return "", fmt.Errorf("no message for %s", name)
		}
		fmt.Fprintf(&b, "%d: {%q, %q},\n", v, name, messages[v])
	}
	b.WriteString("}\n\n// signals are the names of signals.\nvar signals = [...]string{\n")
	for v, name := range sigs {
		if name != "" {
			fmt.Fprintf(&b, "%d: %q,\n", v, name)
		}
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// byNumber turns names round. A number with two names that are no known aliases
// would make the output depend on the order of a map.
func byNumber(values map[string]uint64, aliases ...string) (names [134]string, err error) {
	for _, a := range aliases {
		delete(values, a)
	}
	for name, v := range values {
		if v >= uint64(len(names)) {
			continue
		}
		if names[v] != "" {
			return names, fmt.Errorf("%s and %s are both %d", name, names[v], v)
		}
		names[v] = name
	}
	return names, nil
}

func readMessages(path string) (map[int]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, line := range strings.Split(string(data), "\n") {
		num, text, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(num); err == nil {
			out[n] = text
		}
	}
	return out, nil
}
