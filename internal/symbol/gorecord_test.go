package symbol

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// The recordings in testdata/recorded are what the unwinder read of programs
// built by old toolchains, and the dumps of those programs: so the old layouts
// stay tested where the toolchains are not installed. To record anew:
//
//	HANGTRACE_GOROOTS=/path/to/go1.15:... go test -run TestRecord -record
var record = flag.Bool("record", false, "record programs of the toolchains in HANGTRACE_GOROOTS")

// recording is one program with its threads.
type recording struct {
	Go      string
	Size    int64
	Bias    uint64
	File    map[int64][]byte
	Memory  map[uint64][]byte
	Threads map[string]recordedThread
	Dump    map[uint64]goDump
}

type recordedThread struct {
	TID    int
	PC, SP uint64
}

// recordedScenes is what is worth the room.
var recordedScenes = map[string]bool{
	"plain": true, "inlined": true, "wrapper": true, "methodValue": true, "panicking": true, "nilDeref": true,
	"deep": true, "loopDefer": true, "madeFunc": true, "generic": true, "finalizer": true,
}

// noting is a reader that notes what is read.
type noting struct {
	io.ReaderAt
	got map[int64][]byte
}

func (n noting) ReadAt(b []byte, off int64) (int, error) {
	c, err := n.ReaderAt.ReadAt(b, off)
	if old := n.got[off]; len(old) < c {
		n.got[off] = append([]byte(nil), b[:c]...)
	}
	return c, err
}

func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	for _, tc := range toolchains(t) {
		for _, v := range tc.variants() {
			if v.name == "stripped" {
				recordOne(t, start(t, build(t, tc.root, "goprog", v.env, append(v.flags, "-trimpath")...)), v.name)
			}
		}
	}
}

func recordOne(t *testing.T, v *victim, name string) {
	f, err := os.Open(v.exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	r := recording{Size: st.Size(), Memory: map[uint64][]byte{}, File: map[int64][]byte{}, Threads: map[string]recordedThread{}, Dump: v.dump}
	table, err := OpenGo(noting{f, r.File}, r.Size)
	if err != nil {
		t.Fatal(err)
	}
	r.Go = table.Version()
	r.Bias, _ = table.Bias(v.maps(t), func(m Mapping) bool { return m.Path == v.exe })
	from := v.memory(t)
	p := table.Process(func(addr uint64, b []byte) (int, error) {
		n, err := from(addr, b)
		if old := r.Memory[addr]; len(old) < n {
			r.Memory[addr] = append([]byte(nil), b[:n]...)
		}
		return n, err
	}, r.Bias)
	for scene, tid := range v.threads {
		if recordedScenes[scene] {
			regs := v.regs(t, tid)
			r.Threads[scene] = recordedThread{tid, regs.PC, regs.SP}
			p.Thread(tid, regs)
		}
	}
	r.shrink()
	minor, _, _ := strings.Cut(strings.TrimPrefix(r.Go, "go1."), ".")
	r.write(t, filepath.Join("testdata", "recorded", fmt.Sprintf("go1.%s-%s.json.gz", minor, name)))
}

func (r recording) write(t *testing.T, path string) {
	var keep []uint64
	for id, d := range r.Dump {
		if len(d.Inner) == 0 || !r.keeps(d) {
			keep = append(keep, id)
		}
	}
	for _, id := range keep {
		delete(r.Dump, id)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err := json.NewEncoder(z).Encode(r); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// shrink zeroes what the result does not depend on.
func (r recording) shrink() {
	want := r.chains()
	var zero func(b []byte)
	zero = func(b []byte) {
		const smallest = 128
		old := append([]byte(nil), b...)
		clear(b)
		if string(old) == string(b) || r.chains() == want {
			return
		}
		copy(b, old)
		if half := len(b) / 2; half >= smallest {
			zero(b[:half])
			zero(b[half:])
		}
	}
	for _, b := range r.File {
		zero(b)
	}
	for _, b := range r.Memory {
		zero(b)
	}
}

// chains gives all results as text.
func (r recording) chains() string {
	table, err := OpenGo(replayedFile(replayed(r.File)), r.Size)
	if err != nil {
		return err.Error()
	}
	p := table.Process(replayed(r.Memory), r.Bias)
	var out []string
	for name, th := range r.Threads {
		s := p.Thread(th.TID, Regs{PC: th.PC, SP: th.SP})
		out = append(out, fmt.Sprintf("%s %+v %+v %s", name, s.Frames, s.Goroutine, s.End))
	}
	sort.Strings(out)
	return table.Version() + strings.Join(out, "\n")
}

// keeps tells whether a dump is of one of the threads.
func (r recording) keeps(d goDump) bool { return !d.lacks("main.(*seat).block") }

// replayed reads from a recording.
func replayed[K int64 | uint64](parts map[K][]byte) func(addr K, b []byte) (int, error) {
	var starts []K
	for at := range parts {
		starts = append(starts, at)
	}
	sort.Slice(starts, func(i, j int) bool { return starts[i] < starts[j] })
	return func(addr K, b []byte) (int, error) {
		n := 0
		for _, at := range starts {
			p := parts[at]
			if from := addr + K(n); at <= from && from < at+K(len(p)) {
				n += copy(b[n:], p[from-at:])
			}
		}
		if n < len(b) {
			return n, io.ErrUnexpectedEOF
		}
		return n, nil
	}
}

type replayedFile func(off int64, b []byte) (int, error)

func (f replayedFile) ReadAt(b []byte, off int64) (int, error) { return f(off, b) }

// TestRecorded unwinds the recordings.
func TestRecorded(t *testing.T) {
	paths, _ := filepath.Glob("testdata/recorded/*.json.gz")
	if len(paths) < 8 {
		t.Errorf("only %d recordings", len(paths))
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json.gz"), func(t *testing.T) { checkRecorded(t, path) })
	}
}

func checkRecorded(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.NewDecoder(z).Decode(&r); err != nil {
		t.Fatal(err)
	}
	table, err := OpenGo(replayedFile(replayed(r.File)), r.Size)
	if err != nil {
		t.Fatal(err)
	}
	if table.Version() != r.Go {
		t.Errorf("version %q, want %q", table.Version(), r.Go)
	}
	p := table.Process(replayed(r.Memory), r.Bias)
	if len(r.Threads) < 10 {
		t.Errorf("only %d threads", len(r.Threads))
	}
	for name, th := range r.Threads {
		s := p.Thread(th.TID, Regs{PC: th.PC, SP: th.SP})
		if s.Goroutine == nil {
			t.Errorf("%s: no goroutine\n%s", name, s.format())
			continue
		}
		if err := sameAsDump(s, r.Dump[s.Goroutine.ID]); err != nil {
			t.Errorf("%s: %v\n%s", name, err, s.format())
		}
	}
}
