package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/loader"
	"github.com/hangtrace/hangtrace/internal/record"
	"github.com/hangtrace/hangtrace/internal/strace"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// call is the two records of close(fd).
func call(seq uint32, fd uint64, ret int64) []byte {
	le := binary.LittleEndian
	enter := make([]byte, 88)
	le.PutUint32(enter, 32)
	le.PutUint32(enter[4:], 88)
	le.PutUint64(enter[8:], uint64(seq)*1e6)
	le.PutUint32(enter[16:], 10)
	le.PutUint32(enter[20:], 10)
	le.PutUint32(enter[24:], seq)
	c, _ := syscalls.ByName(syscalls.AMD64, "close")
	le.PutUint32(enter[28:], uint32(c.NR))
	le.PutUint64(enter[40:], fd)
	exit := make([]byte, 40)
	le.PutUint32(exit, 33)
	le.PutUint32(exit[4:], 40)
	le.PutUint64(exit[8:], uint64(seq)*1e6+5e5)
	le.PutUint32(exit[16:], 10)
	le.PutUint32(exit[20:], 10)
	le.PutUint32(exit[24:], seq)
	le.PutUint64(exit[32:], uint64(ret))
	return append(enter, exit...)
}

func recording(t *testing.T, frames func(w *record.Writer, tp *tape) error) *record.Reader {
	t.Helper()
	var b bytes.Buffer
	w, err := record.NewWriter(&b, record.Header{Command: "strace"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(frames(w, &tape{w: w}), w.Close()); err != nil {
		t.Fatal(err)
	}
	rd, err := record.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	return rd
}

func shown(rd *record.Reader) (string, Summary, error) {
	var out, said strings.Builder
	opts := Options{Lines: strace.Options{Output: &out, Column: 1, FDPaths: true, Location: time.UTC}, Messages: &said}
	sum, err := Replay(rd, opts)
	return out.String(), sum, err
}

var amd64 = strace.Options{Arch: syscalls.AMD64}

// TestReplay shows descriptors as /proc had them then, batch by batch.
func TestReplay(t *testing.T) {
	rd := recording(t, func(w *record.Writer, tp *tape) error {
		errs := []error{tp.start(&amd64, 1)}
		tp.lookup(10, "fd/3", "/first")
		tp.lookup(10, "fd/3", "/second")
		errs = append(errs, tp.batch(formatRecords, append(call(1, 3, 0), call(2, 3, 0)...), 2))
		errs = append(errs, tp.batch(formatRecords, call(3, 3, -9), 3))
		errs = append(errs, tp.json(formatEnd, 4, Summary{Calls: 3, Hung: 1}))
		return errors.Join(errs...)
	})
	text, sum, err := shown(rd)
	if err != nil {
		t.Fatal(err)
	}
	if want := "close(3</first>) = 0\nclose(3</second>) = 0\nclose(3) = -1 EBADF (Bad file descriptor)\n"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if sum.Calls != 3 || sum.Hung != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestReplayOfDamage(t *testing.T) {
	for name, frames := range map[string]func(w *record.Writer, tp *tape) error{
		"no start": func(w *record.Writer, tp *tape) error { return tp.batch(formatRecords, call(1, 3, 0), 1) },
		"arch": func(w *record.Writer, tp *tape) error {
			return tp.start(&strace.Options{Arch: "vax"}, 1)
		},
		"records": func(w *record.Writer, tp *tape) error {
			return errors.Join(tp.start(&amd64, 1), tp.batch(formatRecords, call(1, 3, 0)[:100], 1))
		},
		"json": func(w *record.Writer, tp *tape) error {
			return errors.Join(tp.start(&amd64, 1), w.Raw(formatEnd, 1, []byte("{")))
		},
		"snapshot": func(w *record.Writer, tp *tape) error {
			return errors.Join(tp.start(&amd64, 1), w.Snapshot(&facts.Snapshot{Passes: []facts.Pass{{Format: facts.FormatBPFTask, Data: []byte("x")}}}))
		},
	} {
		if _, _, err := shown(recording(t, frames)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestRows holds what the tracer is told of calls.
func TestRows(t *testing.T) {
	f, err := strace.ParseTrace("openat,pipe2,read")
	if err != nil {
		t.Fatal(err)
	}
	table := rows(syscalls.AMD64, &f, true)
	row := func(name string) (int, bool) {
		c, _ := syscalls.ByName(syscalls.AMD64, name)
		return c.NR, table[c.NR].Traced
	}
	if _, traced := row("close"); traced {
		t.Error("close is traced")
	}
	nr, traced := row("openat")
	if r := table[nr]; !traced || r.FDs != 1 || !r.ReturnsFD || len(r.Needs) != 1 {
		t.Errorf("openat: %+v", r)
	}
	nr, _ = row("pipe2")
	if r := table[nr]; r.FDPair != 1 || r.ReturnsFD {
		t.Errorf("pipe2: %+v", r)
	}
	poll, _ := syscalls.ByName(syscalls.AMD64, "poll")
	if rows(syscalls.AMD64, &strace.Filter{}, true)[poll.NR].Waits != loader.WaitsPoll {
		t.Error("descriptors of poll are not told")
	}
	if nr, _ = row("read"); len(rows(syscalls.AMD64, &f, false)[nr].Needs) != 0 {
		t.Error("memory is read though nobody shows it")
	}
	if cacheable(&f, moving) {
		t.Error("without close, what descriptors stand for is not known")
	}
}
