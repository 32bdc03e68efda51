// Command gen writes the tables of package syscalls.
//
// In: calls.txt and sets.txt beside this file, and the constants of
// golang.org/x/sys/unix for four architectures. Out: z*.go in the directory it
// is run in. It must never take a number from the machine it runs on.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// arches are x/sys's names, in the order of the Arch constants.
var arches = []string{"amd64", "arm64", "386", "arm"}

func main() {
	dir := flag.String("dir", "gen", "directory of calls.txt and sets.txt")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	unixDir, err := moduleDir("golang.org/x/sys")
	if err != nil {
		return err
	}
	var consts []constants
	for _, a := range arches {
		c, err := readConstants(filepath.Join(unixDir, "unix"), a)
		if err != nil {
			return fmt.Errorf("constants of %s: %w", a, err)
		}
		consts = append(consts, c)
	}
	sets, err := parseSets(filepath.Join(dir, "sets.txt"), consts)
	if err != nil {
		return err
	}
	calls, err := parseCalls(filepath.Join(dir, "calls.txt"), sets, consts)
	if err != nil {
		return err
	}
	for name, text := range map[string]func() (string, error){
		"zcalls.go":  func() (string, error) { return emitCalls(calls, consts) },
		"zkinds.go":  func() (string, error) { return emitKinds(calls, sets), nil },
		"zsets.go":   func() (string, error) { return emitSets(sets), nil },
		"zgroups.go": func() (string, error) { return emitGroups(filepath.Join(dir, "groups.txt"), calls) },
		"znames.go":  func() (string, error) { return emitNames(dir, consts[0]) },
	} {
		s, err := text()
		if err != nil {
			return err
		}
		if err := writeGo(name, s); err != nil {
			return err
		}
	}
	return nil
}

func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}
