package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// arg is one argument as calls.txt gives it.
type arg struct {
	name, kind, set, str, dir string
	ref                       string // Go expression of type Ref
}

// variant is a ~ line.
type variant struct {
	arg    int
	mask   uint64
	values []uint64
	any    bool // any of the bits, not the value
	class  string
	args   []arg
	ret    string
}

// call is one line of calls.txt with its variants.
type call struct {
	name, class, ret string
	arches           []string // empty: all others
	args             []arg
	variants         []variant
}

// kindNames are the words of calls.txt and the constants of kinds.go.
var kindNames = map[string]string{
	"int": "KindInt", "uint": "KindUint", "long": "KindLong", "ulong": "KindUlong",
	"hex": "KindHex", "hex32": "KindHex32", "size": "KindSize", "ptr": "KindPtr",
	"fd": "KindFD", "dirfd": "KindDirFD", "fandirfd": "KindDirFD", "path": "KindPath",
	"text": "KindText", "str": "KindStr", "pid": "KindPID", "uid": "KindUID", "gid": "KindUID",
	"uid16": "KindUID16", "gid16": "KindUID16", "mode": "KindMode", "fmode": "KindFileMode",
	"dev": "KindDev", "off": "KindOff", "pair": "KindPair", "pairswap": "KindPairSwap",
	"pairhex": "KindPairHex", "skip": "KindSkip", "sig": "KindSignal", "pgoff": "KindPageOff",
	"ioctl": "KindIoctl", "quotacmd": "KindQuotaCmd", "sockproto": "KindSockProto",
	"sockopt": "KindSockOpt", "ipckey": "KindIPCKey", "ipcflags": "KindIPCFlags", "shmflags": "KindShmFlags", "ipccmd": "KindIPCCmd",
	"ioprio": "KindIOPrio", "wakeop": "KindWakeOp", "swapflags": "KindSwapFlags", "sigmask": "KindSigMask", "syslogtype": "KindSyslogType",
}

var retNames = map[string]string{
	"": "RetInt", "fd": "RetFD", "ptr": "RetPtr", "hex": "RetPtr", "oct": "RetOctal", "pid": "RetPID",
	"none": "RetNone", "fdflags": "RetFDFlags", "flflags": "RetFileFlags", "sig": "RetSignal",
	"lease": "RetLease", "seals": "RetSeals", "sched": "RetSched", "time": "RetTime", "persona": "RetPersonality",
	"membarrier": "RetMembarrier", "ioprio": "RetIOPrio", "timestate": "RetTimeState", "dumpable": "RetDumpable",
}

func parseCalls(path string, sets []*nameSet, consts []constants) ([]*call, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var calls []*call
	for n, line := range strings.Split(string(data), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || line[0] == '#' {
			continue
		}
		if len(words) > 2 && words[1] == "=" {
			var c *call
			c, err = copyCall(calls, words)
			calls = append(calls, c)
		} else if line[0] == '~' {
			err = calls[len(calls)-1].addVariant(words, sets, consts)
		} else {
			var c *call
			c, err = parseCall(words, sets)
			calls = append(calls, c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
	}
	return calls, nil
}

func parseCall(words []string, sets []*nameSet) (*call, error) {
	name, on, _ := strings.Cut(words[0], "@")
	c := &call{name: name}
	for _, a := range strings.Split(on, ",") {
		switch a {
		case "":
		case "compat":
			c.arches = append(c.arches, "386", "arm")
		case "i386":
			c.arches = append(c.arches, "386")
		default:
			c.arches = append(c.arches, a)
		}
	}
	if len(words) < 2 {
		return c, fmt.Errorf("%s has no class", name)
	}
	var err error
	if c.class, err = className(words[1]); err != nil {
		return c, err
	}
	c.args, c.ret, err = parseArgs(words[2:], sets)
	return c, err
}

// copyCall makes NAME = OTHER [STRUCT>STRUCT]: the same but for a structure.
func copyCall(calls []*call, words []string) (*call, error) {
	c, err := parseCall([]string{words[0], "other"}, nil)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(calls, func(o *call) bool { return o.name == words[2] })
	if i < 0 {
		return nil, fmt.Errorf("no call %q above", words[2])
	}
	var from, to string
	if len(words) > 3 {
		from, to, _ = strings.Cut(words[3], ">")
	}
	swap := func(args []arg) []arg {
		args = slices.Clone(args)
		for i := range args {
			if from != "" && args[i].str == from {
				args[i].str = to
			}
		}
		return args
	}
	o := calls[i]
	c.class, c.ret, c.args = o.class, o.ret, swap(o.args)
	for _, v := range o.variants {
		v.args = swap(v.args)
		c.variants = append(c.variants, v)
	}
	return c, nil
}

func className(w string) (string, error) {
	names := map[string]string{
		"path": "ClassPath", "fd": "ClassFD", "sync": "ClassSync", "wait": "ClassWait",
		"lock": "ClassLock", "exit": "ClassExit", "other": "ClassOther", "-": "classSame",
	}
	c, ok := names[w]
	if !ok {
		return "", fmt.Errorf("no class %q", w)
	}
	return c, nil
}

func parseArgs(words []string, sets []*nameSet) (args []arg, ret string, err error) {
	ret = retNames[""]
	if i := slices.Index(words, "->"); i >= 0 {
		r, ok := retNames[words[i+1]]
		if !ok {
			return nil, "", fmt.Errorf("no return kind %q", words[i+1])
		}
		ret, words = r, words[:i]
	}
	for _, w := range words {
		a, err := parseArg(w, sets)
		if err != nil {
			return nil, "", err
		}
		args = append(args, a)
	}
	if len(args) > 6 {
		return nil, "", fmt.Errorf("%d arguments", len(args))
	}
	return args, ret, nil
}

func parseArg(w string, sets []*nameSet) (arg, error) {
	name, kind, ok := strings.Cut(w, ":")
	if !ok {
		return arg{}, fmt.Errorf("argument %q has no kind", w)
	}
	a := arg{name: name}
	if kind[0] == '|' || kind[0] == '=' {
		a.kind, a.set = "KindFlags", kind[1:]
		if kind[0] == '=' {
			a.kind = "KindEnum"
		}
		if findSet(sets, a.set) == nil {
			return a, fmt.Errorf("no set %q", a.set)
		}
		return a, nil
	}
	if k, ok := kindNames[kind]; ok {
		a.kind = k
		return a, nil
	}
	rest := strings.TrimLeft(kind, "<>")
	a.dir = map[string]string{"<": "DirIn", ">": "DirOut", "<>": "DirIn | DirOut"}[kind[:len(kind)-len(rest)]]
	if a.dir == "" {
		return a, fmt.Errorf("no kind %q", kind)
	}
	a.kind = "KindMem"
	s, ref, _ := strings.Cut(rest, "(")
	a.str = s
	switch ref = strings.TrimSuffix(ref, ")"); {
	case ref == "":
	case ref == "ret":
		a.ref = "LenReturn"
	case ref[0] == '*':
		a.ref = "LenAt + Len(" + ref[1:] + ")"
	default:
		a.ref = "LenArg + Len(" + ref + ")"
	}
	return a, nil
}

func (c *call) addVariant(words []string, sets []*nameSet, consts []constants) error {
	n, err := strconv.Atoi(words[0][1:])
	if err != nil || len(words) < 3 {
		return fmt.Errorf("variant %q: %v", strings.Join(words, " "), err)
	}
	v := variant{arg: n, mask: ^uint64(0)}
	words = words[1:]
	if m, ok := strings.CutPrefix(words[0], "/"); ok {
		if m == "FUTEX_CMD_MASK" { // all but PRIVATE and CLOCK_REALTIME
			v.mask = 0x7f
		} else if v.mask, err = value(sets, m, 0, consts[0]); err != nil {
			return err
		}
		words = words[1:]
	}
	names, isAny := strings.CutPrefix(words[0], "&")
	v.any = isAny
	for _, name := range strings.Split(names, ",") {
		x, err := value(sets, name, 0, consts[0])
		if err != nil {
			return err
		}
		v.values = append(v.values, x)
	}
	if v.class, err = className(words[1]); err != nil {
		return err
	}
	v.args, v.ret, err = parseArgs(words[2:], sets)
	if v.ret == retNames[""] {
		v.ret = c.ret
	}
	c.variants = append(c.variants, v)
	return err
}
