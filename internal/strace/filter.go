package strace

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// Filter says which calls are traced. The zero value traces all.
type Filter struct {
	set    bool
	not    bool
	names  map[string]bool
	regexs []*regexp.Regexp
}

// Match tells whether a call with this name is traced. Unknown calls have
// strace's name for them, syscall_0x1d7.
func (f *Filter) Match(name string) bool {
	if !f.set {
		return true
	}
	in := f.names[name]
	for i := 0; !in && i < len(f.regexs); i++ {
		in = f.regexs[i].MatchString(name)
	}
	return in != f.not
}

// ParseTrace reads what strace takes behind -e trace=: names, %groups and
// /regular expressions, separated by commas, "!" before them all, "all" and
// "none".
func ParseTrace(expr string) (Filter, error) {
	f := Filter{set: true, names: make(map[string]bool)}
	if rest, ok := strings.CutPrefix(expr, "!"); ok {
		f.not, expr = true, rest
	}
	switch expr {
	case "all":
		f.set, f.not = f.not, false // "!all" is none
		return f, nil
	case "none":
		return f, nil
	case "":
		return f, fmt.Errorf("no system call is named")
	}
	for _, item := range strings.Split(expr, ",") {
		if err := f.add(item); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *Filter) add(item string) error {
	item, optional := strings.CutPrefix(item, "?")
	for _, bits := range []string{"@64", "@32", "@x32"} {
		item = strings.TrimSuffix(item, bits)
	}
	if text, ok := strings.CutPrefix(item, "/"); ok {
		re, err := regexp.Compile(text)
		if err != nil {
			return fmt.Errorf("regular expression %q: %w", text, err)
		}
		f.regexs = append(f.regexs, re)
		return nil
	}
	if group, ok := strings.CutPrefix(item, "%"); ok {
		return f.addGroup(group, optional)
	}
	// strace's older spelling of groups has no percent sign, and comes first:
	// "ipc" and "signal" are calls of 32-bit programs, too.
	switch item {
	case "file", "desc", "process", "network", "net", "signal", "ipc", "memory":
		return f.addGroup(item, optional)
	}
	if known(item) {
		f.names[item] = true
		return nil
	}
	if optional {
		return nil
	}
	return fmt.Errorf("system call %q is unknown", item)
}

func (f *Filter) addGroup(group string, optional bool) error {
	if group == "net" {
		group = "network"
	}
	names, ok := syscalls.Group(group)
	if !ok {
		if optional {
			return nil
		}
		return fmt.Errorf("group %%%s is unknown: there are %%%s", group, strings.Join(syscalls.Groups(), " %"))
	}
	for _, n := range names {
		f.names[n] = true
	}
	return nil
}

func known(name string) bool {
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.I386, syscalls.ARM} {
		if _, ok := syscalls.ByName(arch, name); ok {
			return true
		}
	}
	return false
}

// Status is a set of outcomes.
type Status uint8

// The outcomes that -e status= names.
const (
	Successful Status = 1 << iota
	Failed
	Unfinished
	Unavailable
	Detached

	AnyStatus = Successful | Failed | Unfinished | Unavailable | Detached
)

var statusNames = []string{"successful", "failed", "unfinished", "unavailable", "detached"}

// ParseStatus reads what strace takes behind -e status=.
func ParseStatus(expr string) (Status, error) {
	rest, not := strings.CutPrefix(expr, "!")
	var s Status
	for _, item := range strings.Split(rest, ",") {
		i := slices.Index(statusNames, item)
		switch {
		case item == "all":
			s = AnyStatus
		case item == "none":
		case i < 0:
			return 0, fmt.Errorf("status %q is unknown: there are all, none, %s", item, strings.Join(statusNames, ", "))
		default:
			s |= 1 << i
		}
	}
	if not {
		s ^= AnyStatus
	}
	return s, nil
}

// ParseSignals reads what strace takes behind -e signal=, as a predicate.
func ParseSignals(expr string) (func(sig int) bool, error) {
	rest, not := strings.CutPrefix(expr, "!")
	switch rest {
	case "all":
		return func(int) bool { return !not }, nil
	case "none":
		return func(int) bool { return not }, nil
	}
	set := make(map[int]bool)
	for _, item := range strings.Split(rest, ",") {
		n := 0
		for i := 1; i <= 64; i++ {
			name := syscalls.SignalName(i)
			if up := strings.ToUpper(item); up == name || "SIG"+up == name || item == strconv.Itoa(i) {
				n = i
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("signal %q is unknown", item)
		}
		set[n] = true
	}
	return func(sig int) bool { return set[sig] != not }, nil
}
