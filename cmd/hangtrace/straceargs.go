package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/strace/session"
)

// straceLine is a command line of strace's letters.
type straceLine struct {
	pids      []string
	follow    int // -f, -ff
	output    string
	fds       int
	clock     int
	quiet     int
	stacks    bool
	help      bool
	duration  time.Duration
	threshold time.Duration
	deadline  time.Duration
	buffer    int
	ready     string
	record    string
	backend   string
	root      string
	lines     strace.Options
	filter    strace.Filter
}

// straceOption is one option: what takes its value, or nothing.
type straceOption struct {
	short byte
	long  []string
	value bool
	set   func(l *straceLine, value string) error
}

func number(text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, fmt.Errorf("%q is no number from %d on", text, least)
	}
	return n, nil
}

func straceOptions() []straceOption {
	flag := func(f func(l *straceLine)) func(*straceLine, string) error {
		return func(l *straceLine, _ string) error { f(l); return nil }
	}
	return []straceOption{
		{'p', []string{"pid", "attach"}, true, func(l *straceLine, v string) error {
			list := strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
			if len(list) == 0 {
				return fmt.Errorf("%q names no process", v)
			}
			l.pids = append(l.pids, list...)
			return nil
		}},
		{'f', []string{"follow-forks"}, false, flag(func(l *straceLine) { l.follow++ })},
		{0, []string{"output-separately"}, false, flag(func(l *straceLine) { l.follow = 2 })},
		{'e', nil, true, setExpression},
		{0, []string{"trace"}, true, setTrace},
		{0, []string{"status"}, true, setStatus},
		{0, []string{"signal"}, true, setSignal},
		{'P', []string{"trace-path"}, true, func(l *straceLine, v string) error { l.lines.Paths = append(l.lines.Paths, v); return nil }},
		{'z', []string{"successful-only"}, false, flag(func(l *straceLine) { l.lines.Status = strace.Successful })},
		{'Z', []string{"failed-only"}, false, flag(func(l *straceLine) { l.lines.Status = strace.Failed })},
		{'y', []string{"decode-fds"}, false, flag(func(l *straceLine) { l.fds++ })},
		{'s', []string{"string-limit"}, true, func(l *straceLine, v string) (err error) {
			l.lines.StringLimit, err = number(v, 0)
			return err
		}},
		{'a', []string{"columns"}, true, func(l *straceLine, v string) (err error) {
			l.lines.Column, err = number(v, 0)
			return err
		}},
		{'v', []string{"no-abbrev"}, false, flag(func(l *straceLine) { l.lines.Verbose = true })},
		{'o', []string{"output", "out"}, true, func(l *straceLine, v string) error {
			if strings.HasPrefix(v, "|") || strings.HasPrefix(v, "!") {
				return fmt.Errorf("output into a command is not here")
			}
			l.output = v
			return nil
		}},
		{'t', []string{"absolute-timestamps"}, false, flag(func(l *straceLine) { l.clock++ })},
		{'r', []string{"relative-timestamps"}, false, flag(func(l *straceLine) { l.lines.Relative = true })},
		{'T', []string{"syscall-times"}, false, flag(func(l *straceLine) { l.lines.Duration = true })},
		{'c', []string{"summary-only"}, false, flag(func(l *straceLine) { l.lines.Only = true })},
		{'C', []string{"summary"}, false, flag(func(l *straceLine) { l.lines.Summary = true })},
		{'w', []string{"summary-wall-clock"}, false, flag(func(*straceLine) {})}, // always
		{'S', []string{"summary-sort-by"}, true, func(l *straceLine, v string) error {
			l.lines.SortBy = v
			return strace.ParseSort(v)
		}},
		{'U', []string{"summary-columns"}, true, func(l *straceLine, v string) (err error) {
			l.lines.Columns, err = strace.ParseColumns(v)
			return err
		}},
		{'k', []string{"stack-traces"}, false, flag(func(l *straceLine) { l.stacks = true })},
		{'q', []string{"quiet"}, false, flag(func(l *straceLine) { l.quiet++ })},
		{'h', []string{"help"}, false, flag(func(l *straceLine) { l.help = true })},
		{0, []string{"ring"}, true, func(l *straceLine, v string) (err error) {
			l.lines.Ring, err = number(v, 1)
			return err
		}},
		{0, []string{"threshold"}, true, func(l *straceLine, v string) error { return setDuration(&l.threshold, v) }},
		{0, []string{"duration"}, true, func(l *straceLine, v string) error { return setDuration(&l.duration, v) }},
		{0, []string{"deadline"}, true, func(l *straceLine, v string) error { return setDuration(&l.deadline, v) }},
		{0, []string{"ready-file"}, true, func(l *straceLine, v string) error { l.ready = v; return nil }},
		{0, []string{"buffer"}, true, func(l *straceLine, v string) (err error) { l.buffer, err = bufferSize(v); return err }},
		{0, []string{"record"}, true, func(l *straceLine, v string) error { l.record = v; return nil }},
		{0, []string{"kubelet-root"}, true, func(l *straceLine, v string) error { l.root = v; return nil }},
	}
}

// bufferSize reads a size such as 64K or 16M. The kernel takes powers of two of
// pages only.
func bufferSize(text string) (int, error) {
	digits, unit := strings.TrimRight(text, "KMG"), 1
	switch strings.TrimPrefix(text, digits) {
	case "":
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("%q is no size; for example 64M", text)
	}
	const least, most = 64 << 10, 1 << 30
	n, err := strconv.Atoi(digits)
	if err != nil || n <= 0 || n > most/unit || n*unit < least || n&(n-1) != 0 {
		return 0, fmt.Errorf("%q is no power of two between 64K and 1G; for example 64M", text)
	}
	return n * unit, nil
}

func setDuration(d *time.Duration, text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is no duration; for example 500ms, 30s", text)
	}
	*d = v
	return nil
}

// setExpression reads -e KEY=VALUE; without a key it is trace.
func setExpression(l *straceLine, text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return setTrace(l, text)
	}
	switch key {
	case "t", "trace":
		return setTrace(l, value)
	case "status":
		return setStatus(l, value)
	case "s", "signal", "signals":
		return setSignal(l, value)
	case "q", "quiet", "silent", "silence":
		return setQuiet(l, value)
	case "decode-fd", "decode-fds":
		return setDecodeFDs(l, value)
	}
	if why, ok := straceMissing[key]; ok {
		return fmt.Errorf("strace's %s= is not here: %s", key, why)
	}
	return fmt.Errorf("%q is unknown: there are trace, status, signal, quiet, decode-fds", key)
}

// setQuiet reads strace's names of what not to say, as far as they fall into the
// three steps of -q.
func setQuiet(l *straceLine, text string) error {
	step, err := highest("quiet", text, map[string]int{
		"none": 0, "attach": 1, "personality": 1, "path-resolution": 1, "path-resolve": 1,
		"exit": 2, "exits": 2, "superseded": 2, "thread-execve": 2, "all": 3,
	}, "none, attach, personality, path-resolution, exit, superseded, thread-execve, all")
	l.quiet = max(l.quiet, step)
	return err
}

// setDecodeFDs reads strace's names of what to say of descriptors, as far as
// they fall into the two steps of -y.
func setDecodeFDs(l *straceLine, text string) (err error) {
	l.fds, err = highest("decode-fds", text, map[string]int{"none": 0, "path": 1, "socket": 2, "dev": 2, "pidfd": 2, "all": 2},
		"none, path, socket, dev, pidfd, all")
	return err
}

// highest is the highest step of those that a list names.
func highest(what, text string, steps map[string]int, names string) (most int, err error) {
	for _, name := range strings.Split(text, ",") {
		step, ok := steps[name]
		if !ok {
			return 0, fmt.Errorf("%s %q is unknown: there are %s", what, name, names)
		}
		most = max(most, step)
	}
	return most, nil
}

func setTrace(l *straceLine, v string) (err error) {
	l.filter, err = strace.ParseTrace(v)
	return err
}

func setStatus(l *straceLine, v string) (err error) {
	l.lines.Status, err = strace.ParseStatus(v)
	return err
}

func setSignal(l *straceLine, v string) (err error) {
	l.lines.Signals, err = strace.ParseSignals(v)
	return err
}

// parseStrace reads a command line as getopt does: letters together (-ttf),
// values attached or apart (-s100, -s 100), long options with = or apart.
func parseStrace(args []string) (*straceLine, error) {
	l := &straceLine{threshold: time.Second, backend: "auto"}
	options := straceOptions()
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		var err error
		switch {
		case a == "--" || len(a) < 2 || a[0] != '-':
			if a == "--" && len(args) > 0 {
				a = args[0]
			}
			return nil, fmt.Errorf("strace starts no command, it only attaches, got %q; try: hangtrace strace -p %s", a, a)
		case strings.HasPrefix(a, "--"):
			args, err = l.long(options, a[2:], args)
		default:
			args, err = l.short(options, a[1:], args)
		}
		if err != nil {
			return nil, err
		}
	}
	if l.lines.StringLimit > session.MaxString {
		return nil, fmt.Errorf("-s %d: no more than %d bytes of data are copied; try: -s %d", l.lines.StringLimit, session.MaxString, session.MaxString)
	}
	if l.lines.Only && l.lines.Summary {
		return nil, fmt.Errorf("-c is the table alone, -C the lines and the table: both cannot be; try: hangtrace strace --help")
	}
	l.lines.Summary = l.lines.Summary || l.lines.Only
	if l.follow > 1 && l.output == "" {
		l.follow = 1 // as strace: separate files need a name
	}
	l.lines.Quiet = l.quiet
	l.lines.FDPaths, l.lines.FDDetails = l.fds > 0, l.fds > 1
	l.lines.Clock = strace.Clock(min(l.clock, 3))
	l.lines.Threshold = l.threshold
	return l, nil
}

func (l *straceLine) long(options []straceOption, a string, args []string) ([]string, error) {
	name, value, attached := strings.Cut(a, "=")
	for _, o := range options {
		if !slices.Contains(o.long, name) {
			continue
		}
		switch {
		case name == "decode-fds" && attached, name == "quiet" && attached:
			return args, setExpression(l, a)
		case !o.value && attached:
			return nil, fmt.Errorf("flag --%s takes no value here, got %q; try: hangtrace strace --help", name, value)
		case !o.value:
			return args, o.set(l, "")
		}
		if !attached {
			if len(args) == 0 {
				return nil, fmt.Errorf("flag --%s needs a value; try: hangtrace strace --help", name)
			}
			value, args = args[0], args[1:]
		}
		if err := o.set(l, value); err != nil {
			return nil, fmt.Errorf("--%s: %w; try: hangtrace strace --help", name, err)
		}
		return args, nil
	}
	if why, ok := straceMissing[name]; ok {
		return nil, fmt.Errorf("strace's --%s is not here: %s; try: hangtrace strace --help", name, why)
	}
	return nil, fmt.Errorf("flag --%s is unknown; try: hangtrace strace --help", name)
}

func (l *straceLine) short(options []straceOption, letters string, args []string) ([]string, error) {
	for i := 0; i < len(letters); i++ {
		at := slices.IndexFunc(options, func(o straceOption) bool { return o.short == letters[i] })
		if at < 0 {
			if why, ok := straceMissing[string(letters[i])]; ok {
				return nil, fmt.Errorf("strace's -%c is not here: %s; try: hangtrace strace --help", letters[i], why)
			}
			return nil, fmt.Errorf("flag -%c is unknown; try: hangtrace strace --help", letters[i])
		}
		o := options[at]
		if !o.value {
			if err := o.set(l, ""); err != nil {
				return nil, err
			}
			continue
		}
		value := letters[i+1:]
		if value == "" {
			if len(args) == 0 {
				return nil, fmt.Errorf("flag -%c needs a value; try: hangtrace strace --help", letters[i])
			}
			value, args = args[0], args[1:]
		}
		if err := o.set(l, value); err != nil {
			return nil, fmt.Errorf("-%c: %w; try: hangtrace strace --help", letters[i], err)
		}
		return args, nil
	}
	return args, nil
}
