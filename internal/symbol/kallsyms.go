package symbol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
)

var (
	// ErrRestricted says that the kernel hides its addresses from this reader
	// (kptr_restrict without CAP_SYSLOG): every address reads as zero.
	ErrRestricted = errors.New("kernel addresses are hidden (kptr_restrict)")
	// ErrNoSymbols says that a kallsyms text names no function.
	ErrNoSymbols = errors.New("no function symbols")
)

const (
	// maxSymbolGap is how far behind a symbol an address may lie. The largest
	// kernel functions are some tens of KiB; past this, the address is in
	// memory that no symbol describes.
	maxSymbolGap = 1 << 20
	// maxKallsyms bounds what is kept of a hostile text; a kernel with
	// everything built in has under 400,000 functions.
	maxKallsyms = 2 << 20
	maxNames    = 256 << 20
)

// Kallsyms names kernel addresses. It holds functions only, some 5 MB for a
// distribution kernel.
type Kallsyms struct {
	symbols []kernelSymbol // by address
	names   []byte
	modules []string // by kernelSymbol.module
}

type kernelSymbol struct {
	addr   uint64
	name   uint32 // offset in names
	length uint16
	module uint16
}

// ParseKallsyms reads the text of /proc/kallsyms. Lines that it does not
// understand are passed over, as a new kernel may add some; a text without
// functions is ErrNoSymbols, one whose addresses are all zero ErrRestricted.
func ParseKallsyms(r io.Reader) (*Kallsyms, error) {
	k := &Kallsyms{modules: []string{""}}
	modules := map[string]uint16{"": 0}
	zero, long := false, false
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, fmt.Errorf("read kallsyms: %w", err)
		}
		whole := !long && err != bufio.ErrBufferFull
		long = err == bufio.ErrBufferFull // a line of 64 KiB is none of the kernel's
		addr, name, module, ok := parseKallsymsLine(line)
		switch {
		case !ok || !whole:
		case addr == 0:
			zero = true
		default:
			if !k.add(addr, name, module, modules) {
				return nil, errors.New("kallsyms text is too large")
			}
		}
		if err == io.EOF {
			break
		}
	}
	if len(k.symbols) == 0 {
		if zero {
			return nil, ErrRestricted
		}
		return nil, ErrNoSymbols
	}
	k.sort()
	return k, nil
}

// add keeps one symbol; false means that the table is full.
func (k *Kallsyms) add(addr uint64, name, module []byte, modules map[string]uint16) bool {
	if len(k.symbols) >= maxKallsyms || len(k.names)+len(name) > maxNames || len(name) > 0xffff {
		return false
	}
	m, known := modules[string(module)]
	if !known {
		if len(k.modules) > 0xffff {
			return false
		}
		m = uint16(len(k.modules))
		k.modules = append(k.modules, string(module))
		modules[string(module)] = m
	}
	k.symbols = append(k.symbols, kernelSymbol{addr, uint32(len(k.names)), uint16(len(name)), m})
	k.names = append(k.names, name...)
	return true
}

// sort orders by address and keeps the first of several names of one address,
// which is the one the kernel prints.
func (k *Kallsyms) sort() {
	sort.SliceStable(k.symbols, func(i, j int) bool { return k.symbols[i].addr < k.symbols[j].addr })
	kept := k.symbols[:1]
	for _, s := range k.symbols[1:] {
		if s.addr != kept[len(kept)-1].addr {
			kept = append(kept, s)
		}
	}
	k.symbols = kept
}

// parseKallsymsLine splits "ffffffffc0a01230 t ceph_open\t[ceph]". ok is false
// for what is no function.
func parseKallsymsLine(line []byte) (addr uint64, name, module []byte, ok bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	hex, rest, _ := bytes.Cut(line, []byte(" "))
	if len(rest) < 3 || rest[1] != ' ' {
		return 0, nil, nil, false
	}
	switch rest[0] {
	case 't', 'T', 'w', 'W':
	default:
		return 0, nil, nil, false
	}
	addr, good := parseHex(hex)
	name, module, _ = bytes.Cut(rest[2:], []byte("\t"))
	if !good || len(name) == 0 {
		return 0, nil, nil, false
	}
	module = bytes.TrimPrefix(bytes.TrimSuffix(module, []byte("]")), []byte("["))
	return addr, name, module, true
}

// parseHex is strconv.ParseUint without the string: kallsyms has 200,000 lines.
func parseHex(b []byte) (v uint64, ok bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

// Len is the number of functions known.
func (k *Kallsyms) Len() int { return len(k.symbols) }

// Find gives the function that addr lies in. A return address may lie just
// behind a function that does not return: pass it as it is, the kernel prints
// it so too.
func (k *Kallsyms) Find(addr uint64) (KernelFrame, bool) {
	i := sort.Search(len(k.symbols), func(i int) bool { return k.symbols[i].addr > addr })
	if i == 0 {
		return KernelFrame{}, false
	}
	s := k.symbols[i-1]
	name := string(k.names[s.name : s.name+uint32(s.length)])
	if addr-s.addr >= maxSymbolGap || name == "_etext" || name == "_einittext" {
		return KernelFrame{}, false
	}
	return KernelFrame{Name: name, Offset: addr - s.addr, Module: k.modules[s.module]}, true
}

// Lookup names an address as the kernel does, without the size:
// "ceph_mdsc_wait_request+0xa5 [ceph]"; "" when no function holds it.
func (k *Kallsyms) Lookup(addr uint64) string {
	f, ok := k.Find(addr)
	if !ok {
		return ""
	}
	s := f.Name + "+0x" + strconv.FormatUint(f.Offset, 16)
	if f.Module != "" {
		s += " [" + f.Module + "]"
	}
	return s
}
