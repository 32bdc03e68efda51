package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// item is one name of a set; with a mask it is one value of a field.
type item struct {
	name      string
	val, mask uint64
}

// nameSet is one set of sets.txt, with its items for each architecture.
type nameSet struct {
	name, dflt string
	items      [4][]item
}

func parseSets(path string, consts []constants) ([]*nameSet, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var sets []*nameSet
	var mask string // of the field being read, "" outside
	for n, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if line[0] != ' ' {
			head, rest, ok := strings.Cut(line, ":")
			name, dflt, ok2 := strings.Cut(head, " ")
			if !ok || !ok2 {
				return nil, fmt.Errorf("%s:%d: no SET DEFAULT", path, n+1)
			}
			sets = append(sets, &nameSet{name: name, dflt: dflt})
			line = rest
		}
		set := sets[len(sets)-1]
		for _, word := range strings.Fields(line) {
			if m, ok := strings.CutPrefix(word, "{"); ok {
				mask = m
				continue
			}
			word, last := strings.CutSuffix(word, "}")
			for a := range arches {
				if err := set.add(a, word, mask, consts[a]); err != nil {
					return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
				}
			}
			if last {
				mask = ""
			}
		}
	}
	return sets, nil
}

func (s *nameSet) add(arch int, word, mask string, c constants) error {
	name, _, _ := strings.Cut(word, "=")
	v, ok, err := valueOf(word, arch, c)
	if err != nil || !ok {
		return err
	}
	it := item{name: strings.ReplaceAll(name, "+", " or "), val: v}
	if mask != "" {
		if it.mask, _, err = valueOf(mask, arch, c); err != nil {
			return err
		}
	}
	s.items[arch] = append(s.items[arch], it)
	return nil
}

// valueOf gives the value of NAME, NUMBER or NAME=VALUE[/VALUE]; false when it
// does not exist on the architecture.
func valueOf(word string, arch int, c constants) (uint64, bool, error) {
	name, text, explicit := strings.Cut(word, "=")
	if !explicit {
		if v, ok := c.values[name]; ok {
			return v, true, nil
		}
		text = name
	}
	x86, arm, split := strings.Cut(text, "/")
	if !split {
		arm = x86
	}
	text = x86
	if arch == 1 || arch == 3 {
		text = arm
	}
	if text == "-" {
		return 0, false, nil
	}
	v, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return 0, false, fmt.Errorf("no value of %q on %s", word, arches[arch])
	}
	return uint64(v), true, nil
}

func findSet(sets []*nameSet, name string) *nameSet {
	for _, s := range sets {
		if s.name == name {
			return s
		}
	}
	return nil
}

// value looks a name up in all sets, for the conditions of calls.txt.
func value(sets []*nameSet, name string, arch int, c constants) (uint64, error) {
	for _, s := range sets {
		for _, it := range s.items[arch] {
			if it.name == name {
				return it.val, nil
			}
		}
	}
	if v, err := strconv.ParseUint(name, 0, 64); err == nil {
		return v, nil
	}
	if v, ok := c.values[name]; ok {
		return v, nil
	}
	return 0, fmt.Errorf("no value of %q", name)
}
