package symbol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// ownTable is the table of the test binary itself.
func ownTable(t testing.TB) (*GoTable, []byte) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	g, err := OpenGo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return g, b
}

// FuzzUnwind walks random memory instead of a stack: a chain that ends with a
// reason, in bounded time, and never a panic.
func FuzzUnwind(f *testing.F) {
	g, _ := ownTable(f)
	first, _ := g.entry(0)
	for i := range uint64(20) {
		e, _ := g.entry(i * g.count / 20)
		f.Add(e+8, uint64(0xc000100000), []byte("\x00\x01\x02stack"), uint64(0))
		f.Add(e, uint64(0xc000100008), binary.LittleEndian.AppendUint64(nil, e+20), e+7)
	}
	f.Add(first, ^uint64(0)-7, []byte{}, ^uint64(0))
	f.Fuzz(func(t *testing.T, pc, sp uint64, stack []byte, lr uint64) {
		began := time.Now()
		s := g.Unwind(Regs{PC: pc, SP: sp, LR: lr}, repeating(stack), 0)
		if len(s.Frames) > 2*(keepInner+keepOuter)*256 || time.Since(began) > 20*time.Second {
			t.Fatalf("%d frames in %v", len(s.Frames), time.Since(began))
		}
	})
}

// repeating is memory that holds b over and over; the bytes where b holds an
// address of code are so found on every stack.
func repeating(b []byte) Memory {
	return func(addr uint64, buf []byte) (int, error) {
		if len(b) == 0 {
			return 0, errors.New("nothing there")
		}
		for i := range buf {
			buf[i] = b[(addr+uint64(i))%uint64(len(b))]
		}
		return len(buf), nil
	}
}

// TestRandomStack does the same with addresses of the program itself, in which
// every return address is one that a call could have left.
func TestRandomStack(t *testing.T) {
	g, _ := ownTable(t)
	for seed := range uint64(200) {
		stack := make([]byte, 0, 8192)
		for i := range uint64(1024) {
			e, _ := g.entry((seed*7919 + i*i*31) % g.count)
			stack = binary.LittleEndian.AppendUint64(stack, e+(seed+i)%64)
		}
		pc := binary.LittleEndian.Uint64(stack[8*(seed%1024):])
		s := g.Unwind(Regs{PC: pc, SP: 0xc000000000}, repeating(stack), 0)
		if len(s.Frames) > 64 && s.End == "" {
			t.Errorf("seed %d: %d frames\n%s", seed, len(s.Frames), s.format())
		}
	}
}

// patched is a file with some bytes changed.
type patched struct {
	io.ReaderAt
	at map[int64]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	for o, v := range p.at {
		if o >= off && o < off+int64(n) {
			b[o-off] = v
		}
	}
	return n, err
}

// FuzzTable changes bytes of the headers and of the table.
func FuzzTable(f *testing.F) {
	g, file := ownTable(f)
	table, _, _ := g.img.offset(g.base)
	f.Add([]byte{0, 0, 0, 8, 0xff})
	f.Add([]byte{1, 0, 0, 8, 0xff, 1, 0, 0, 9, 0xff, 1, 0, 0, 0, 0xfb})
	f.Add([]byte{1, 0, 0, 0, 0xfa, 2, 1, 2, 3, 0xff, 3, 0, 1, 2, 0x80})
	f.Fuzz(func(t *testing.T, changes []byte) {
		p := patched{bytes.NewReader(file), map[int64]byte{}}
		for ; len(changes) >= 5 && len(p.at) < 64; changes = changes[5:] {
			off := int64(changes[1])<<16 | int64(changes[2])<<8 | int64(changes[3])
			switch changes[0] % 4 {
			case 0:
				off %= 1024 // the ELF headers
			case 1:
				off = table + off%128
			case 2:
				off = table + off
			case 3:
				off = table + int64(g.funcs) + off
			}
			p.at[off] = changes[4]
		}
		c, err := OpenGo(p, int64(len(file)))
		if err != nil {
			return
		}
		for i := range uint64(8) {
			e, _ := g.entry(i * g.count / 8)
			c.FuncForPC(e + 4)
			stack := binary.LittleEndian.AppendUint64(nil, e+5)
			c.Unwind(Regs{PC: e + 4, SP: 0xc000000000}, repeating(stack), 0)
		}
	})
}

func TestNotGo(t *testing.T) {
	for _, path := range []string{"/bin/ls", "/etc/passwd", "/dev/null"} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if _, err := OpenGo(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNotGo) {
			t.Errorf("%s: %v, want ErrNotGo", path, err)
		}
	}
}

// FuzzRuntime lists goroutines of random memory, and unwinds them: an error or
// a bounded list, each with a chain or a reason. Where the memory holds a list
// that could be one, its goroutines are anywhere.
func FuzzRuntime(f *testing.F) {
	g, _ := ownTable(f)
	goroutine := func(id, sp, pc, status uint64) []byte {
		l, _ := runtimeLayoutOf(g.minor)
		b := make([]byte, 1024)
		put := func(off, v uint64) { binary.LittleEndian.PutUint64(b[off:], v) }
		const at = 0xc000000000
		put(gStackLo, sp-64)
		put(gStackHi, sp+64)
		put(gM, at)
		put(gSchedSP, sp)
		put(gSchedPC, pc)
		put(gSchedG, at)
		put(l.syscallSP, sp)
		put(l.syscallSP+8, pc)
		put(l.status, status)
		put(l.status+8, id)
		put(l.curg, at)
		return b
	}
	e, _ := g.entry(g.count / 2)
	for status := range uint64(12) {
		f.Add(goroutine(1, 0xc000000100, e+9, status), uint64(0xc000000000))
		f.Add(goroutine(1, ^uint64(0)-8, ^uint64(0), status), uint64(8))
	}
	f.Fuzz(func(t *testing.T, b []byte, list uint64) {
		mem := repeating(b)
		p := g.Process(mem, 0)
		// As if the list had been found: it is what memory can say least about.
		p.run = &goRuntime{byThread: map[uint64]mState{}, byAddr: map[uint64]int{}, byM: map[uint64]mState{}}
		p.run.layout, _ = runtimeLayoutOf(g.minor)
		if s, ok := p.readG(p.run.layout, list); ok {
			p.run.byAddr[s.addr] = 0
			p.run.gs = append(p.run.gs, s)
			m, _ := p.readM(p.run.layout, s.m)
			p.run.byThread[m.procid], p.run.byM[m.addr] = m, m
		}
		all, err := p.Goroutines(16)
		if err != nil || len(all) > 16 {
			t.Fatalf("%d goroutines, %v", len(all), err)
		}
		for _, g := range all {
			if s := p.Parked(g); len(s.Frames) == 0 && s.End == "" {
				t.Fatalf("neither a chain nor a reason: %+v", g)
			}
		}
		e, _ := g.entry(list % g.count)
		p.Thread(0, Regs{PC: e + 4, SP: list})
		if _, err := g.Process(mem, 0).Goroutines(16); err == nil && len(b) < 8 {
			t.Fatal("a list of goroutines in nothing")
		}
	})
}

// FuzzNative unwinds random memory as the stack of C code.
func FuzzNative(f *testing.F) {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		f.Skip(err)
	}
	maps := ParseMaps(string(b))
	var code []Mapping
	for _, m := range maps {
		if m.Executable() && m.Path != "" && m.Path[0] == '/' {
			code = append(code, m)
		}
	}
	_, file := ownTable(f)
	open := func(Mapping) (io.ReaderAt, int64, error) { return bytes.NewReader(file), int64(len(file)), nil }
	for i := range uint64(8) {
		m := code[int(i)%len(code)]
		f.Add(i*4096, uint64(0x7ffc00000000), uint64(0x7ffc00000010), binary.LittleEndian.AppendUint64(nil, m.Start+i*512))
	}
	f.Fuzz(func(t *testing.T, at, sp, bp uint64, stack []byte) {
		m := code[at%uint64(len(code))]
		s := NewNative(maps, open).Unwind(Regs{PC: m.Start + at%(m.End-m.Start), SP: sp, BP: bp}, repeating(stack))
		if len(s.Frames) == 0 || len(s.Frames) > maxNative {
			t.Fatalf("%d frames", len(s.Frames))
		}
	})
}
