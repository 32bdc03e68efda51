package record

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/facts"
)

var created = time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)

func header() Header {
	return Header{
		Schema: Schema, Created: created, ToolVersion: "v0.1.0", Command: "live",
		Options: Options{ThresholdMS: 1000, Filesystems: []string{"ceph"}, Targets: []string{"kubelet"}},
	}
}

func snapshot() *facts.Snapshot {
	return &facts.Snapshot{
		TakenAt: created, Backend: facts.BackendBPF,
		Passes: []facts.Pass{{Format: facts.FormatBPFTask, AtNS: 7, Data: bytes.Repeat([]byte{0, 255, '\n'}, 40_000)}},
		Links:  []facts.Link{{PID: 1, Name: "cwd", To: "/größe <&>\n"}}, Symbols: map[uint64]string{0xffffffff81000000: "f+0x1 [ceph]"},
		Mounts: []facts.MountTable{{Namespace: 4026531841, PID: 1, Text: "33 1 0:28 / /a rw - ceph m:/ rw\n"}},
	}
}

func frames() []*Frame {
	return []*Frame{
		{Kind: KindSnapshot, Snapshot: snapshot()},
		{Kind: KindRaw, AtNS: 12, Format: "bpf-ring/v1", Data: []byte("\x00\xff\n{")},
		{Kind: KindNotice, AtNS: 13, Notice: "kubelet[1] has ended"},
		{Kind: KindLost, AtNS: 14, Lost: map[string]uint64{"ring": 3}},
	}
}

func written(t *testing.T, compress, end bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header(), compress)
	if err != nil {
		t.Fatal(err)
	}
	steps := []error{
		w.Snapshot(snapshot()), w.Raw("bpf-ring/v1", 12, []byte("\x00\xff\n{")),
		w.Notice(13, "kubelet[1] has ended"), w.Lost(14, map[string]uint64{"ring": 3}),
	}
	if end {
		steps = append(steps, w.Close())
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, from io.Reader) ([]*Frame, error) {
	t.Helper()
	r, err := NewReader(from)
	if err != nil {
		return nil, err
	}
	if diff := cmp.Diff(header(), r.Header()); diff != "" {
		t.Errorf("header came back different:\n%s", diff)
	}
	var out []*Frame
	for {
		f, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				t.Errorf("first %v, then %v", err, again)
			}
			return out, err
		}
		out = append(out, f)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, compress := range []bool{false, true} {
		got, err := read(t, iotest.HalfReader(bytes.NewReader(written(t, compress, true))))
		if err != io.EOF {
			t.Errorf("compress %v: %v", compress, err)
		}
		if diff := cmp.Diff(frames(), got); diff != "" {
			t.Errorf("compress %v: came back different:\n%s", compress, diff)
		}
	}
}

// TestCutOff cuts a recording at every byte of its first and last kilobyte: no
// cut may pass for a whole recording, nor cost a frame that was complete.
func TestCutOff(t *testing.T) {
	for _, compress := range []bool{false, true} {
		whole := written(t, compress, true)
		most := 0
		for at := range len(whole) {
			if at > 1000 && at < len(whole)-1000 {
				continue
			}
			got, err := read(t, bytes.NewReader(whole[:at]))
			switch {
			case err == io.EOF:
				// Only the last newline, or gzip's closing words, may be missing.
				if len(got) != 4 || at < len(whole)-20 {
					t.Errorf("compress %v: cut at %d of %d passes for whole", compress, at, len(whole))
				}
			case errors.Is(err, ErrTruncated), errors.Is(err, ErrNotRecording) && at < 96: // too little to know it by
			default:
				t.Errorf("compress %v: cut at %d of %d: %v", compress, at, len(whole), err)
			}
			if len(got) < most {
				t.Errorf("compress %v: %d frames at %d, %d before", compress, len(got), at, most)
			}
			most = max(most, len(got))
		}
		if most != 4 {
			t.Errorf("compress %v: at most %d frames", compress, most)
		}
	}
}

// TestKilledWriter is a writer that never got to Close.
func TestKilledWriter(t *testing.T) {
	for _, compress := range []bool{false, true} {
		got, err := read(t, bytes.NewReader(written(t, compress, false)))
		if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), "recording cut off after 4 frames") {
			t.Errorf("compress %v: %v", compress, err)
		}
		if diff := cmp.Diff(frames(), got); diff != "" {
			t.Errorf("compress %v: frames before the cut:\n%s", compress, diff)
		}
	}
}

func TestForeignFiles(t *testing.T) {
	head := `{"frame":"header","schema":"hangtrace.recording/v1","created":"2026-03-04T03:00:00Z"}` + "\n"
	for name, c := range map[string]struct {
		text string
		want error
		says string
	}{
		"empty":              {"", ErrNotRecording, "it is empty"},
		"text":               {"root:x:0:0\n", ErrNotRecording, "not a hangtrace recording"},
		"report":             {"{\n  \"schema\": \"hangtrace.report/v1\",\n", ErrNotRecording, "hangtrace.report/v1"},
		"no newline":         {strings.Repeat("x", 3<<20), ErrNotRecording, ""},
		"gzip of text":       {zipped("hello\n"), ErrNotRecording, ""},
		"broken gzip":        {"\x1f\x8b\x00\x00", ErrNotRecording, ""},
		"newer":              {`{"frame":"header","schema":"hangtrace.recording/v3","created":7}` + "\n", ErrNewer, "schema v3, this one reads v2"},
		"version 0":          {`{"frame":"header","schema":"hangtrace.recording/v0"}` + "\n", ErrNotRecording, ""},
		"other header":       {`{"frame":"header","schema":"pcap/v1"}` + "\n", ErrNotRecording, "pcap/v1"},
		"cut header":         {head[:60], ErrTruncated, "within its header"},
		"bad header":         {`{"frame":"header","schema":"hangtrace.recording/v1","created":7}` + "\n", ErrDamaged, "header"},
		"header only":        {head, ErrTruncated, "after 0 frames"},
		"damaged in between": {head + "\x00\x00\x00\n" + `{"frame":"end"}` + "\n", ErrDamaged, "frame 1"},
		"no kind":            {head + "{}\n", ErrDamaged, "without a kind"},
		"null":               {head + "null\n", ErrDamaged, "without a kind"},
		"second header":      {head + head, ErrDamaged, "second header"},
		"empty snapshot":     {head + `{"frame":"snapshot"}` + "\n", ErrDamaged, "without a snapshot"},
		"raw of nothing":     {head + `{"frame":"raw"}` + "\n", ErrDamaged, "without a format"},
		"frames missing":     {head + `{"frame":"end","frames":3}` + "\n", ErrDamaged, "its end says 3"},
		"future frame":       {head + `{"frame":"smell","new":1}` + "\n" + `{"frame":"end","frames":1}` + "\n", io.EOF, ""},
	} {
		err := readAll(strings.NewReader(c.text))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.says)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: not one line: %v", name, err)
		}
	}
}

func readAll(from io.Reader) error {
	r, err := NewReader(from)
	if err != nil {
		return err
	}
	for {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func TestCorruptGzip(t *testing.T) {
	whole := written(t, true, true)
	whole[len(whole)-6] ^= 0xff // checksum
	whole[len(whole)/2] ^= 0xff
	err := readAll(bytes.NewReader(whole))
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTruncated) {
		t.Errorf("got %v", err)
	}
}

func TestFrameSizeIsBounded(t *testing.T) {
	r, err := NewReader(bytes.NewReader(written(t, false, true)))
	if err != nil {
		t.Fatal(err)
	}
	r.maxFrame = 1000
	if _, err := r.Next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if cap(r.line) > 200_000 {
		t.Errorf("%d bytes kept for a frame of at most 1000", cap(r.line))
	}
}

// TestRawRecords reads what follows a line, and what does not.
func TestRawRecords(t *testing.T) {
	head := `{"frame":"header","schema":"hangtrace.recording/v2"}` + "\n"
	end := `{"frame":"end","frames":1}` + "\n"
	for text, want := range map[string]error{
		`{"frame":"raw","format":"x","bytes":3}` + "\na\nb\n" + end:            io.EOF,
		`{"frame":"later","bytes":3}` + "\na\nb\n" + end:                       io.EOF, // a kind to come
		`{"frame":"raw","format":"x","bytes":3}` + "\na\nb":                    ErrTruncated,
		`{"frame":"raw","format":"x","bytes":3}` + "\na\n":                     ErrTruncated,
		`{"frame":"raw","format":"x","bytes":2}` + "\na\nb\n" + end:            ErrDamaged,
		`{"frame":"raw","format":"x","bytes":-1}` + "\n" + end:                 ErrDamaged,
		`{"frame":"raw","format":"x","bytes":1e99}` + "\n" + end:               ErrDamaged,
		`{"frame":"raw","format":"x","bytes":300000000}` + "\n" + end:          ErrTooLarge,
		`{"frame":"raw","format":"x","bytes":200000000}` + "\n" + end:          ErrTruncated,
		`{"frame":"raw","format":"x","bytes":1,"data":"AAAA"}` + "\na\n" + end: ErrDamaged,
	} {
		if err := readAll(strings.NewReader(head + text)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

// TestVersion1 had raw records as base64.
func TestVersion1(t *testing.T) {
	r, err := NewReader(strings.NewReader(`{"frame":"header","schema":"hangtrace.recording/v1"}
{"frame":"raw","format":"bpf-ring/v1","data":"AP8K","at_ns":1}
{"frame":"end","frames":1}
`))
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Next()
	if err != nil || string(f.Data) != "\x00\xff\n" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestReadErrorsComeBack(t *testing.T) {
	bad := errors.New("input/output error")
	for _, n := range []int{0, 10, 5000} {
		from := io.MultiReader(bytes.NewReader(written(t, false, true)[:n]), iotest.ErrReader(bad))
		if err := readAll(from); !errors.Is(err, bad) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// disk takes so many bytes and is then full.
type disk struct{ left int }

var errFull = errors.New("no space left on device")

func (d *disk) Write(p []byte) (int, error) {
	if len(p) > d.left {
		return 0, errFull
	}
	d.left -= len(p)
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	if _, err := NewWriter(&disk{}, header(), false); !errors.Is(err, errFull) {
		t.Errorf("header: %v", err)
	}
	d := &disk{left: 500}
	w, err := NewWriter(d, header(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Snapshot(snapshot()); !errors.Is(err, errFull) {
		t.Errorf("snapshot: %v", err)
	}
	// A frame that would fit now must not follow half a frame.
	if err := w.Notice(0, "x"); !errors.Is(err, errFull) {
		t.Errorf("frame after a failed one: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("close: %v", err)
	}
}

func TestGoOnWithoutTheDisk(t *testing.T) {
	d := &disk{left: 500}
	w, err := NewWriter(d, header(), false)
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	w.GoOn(func(err error) { told = append(told, err) })
	if err := errors.Join(w.Snapshot(snapshot()), w.Notice(0, "x")); err != nil {
		t.Errorf("frames: %v", err)
	}
	if len(told) != 1 || !errors.Is(told[0], errFull) {
		t.Errorf("told %v", told)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("close: %v", err)
	}
}

func TestClosed(t *testing.T) {
	w, err := NewWriter(io.Discard, header(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Notice(0, "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestIsRecording(t *testing.T) {
	whole := written(t, true, true)
	for text, want := range map[string]bool{
		string(whole): true, string(whole[:200]): true,
		`{"frame":"header","schema":"hangtrace.recording/v9"}`: true,
		"": false, "my thesis": false, `{"schema":"hangtrace.report/v1"}`: false,
	} {
		if got := IsRecording(strings.NewReader(text)); got != want {
			t.Errorf("IsRecording(%.40q) = %v", text, got)
		}
	}
}

func TestCompressed(t *testing.T) {
	if !Compressed("a.hangtrace.gz") || Compressed("a.hangtrace") {
		t.Error("by name")
	}
}

// FuzzReader: any input ends with an error, and what a reader gives can be
// written and read again.
func FuzzReader(f *testing.F) {
	head := `{"frame":"header","schema":"hangtrace.recording/v1"}` + "\n"
	f.Add([]byte(head + `{"frame":"raw","format":"bpf-ring/v1","data":"AAAA","at_ns":1}` + "\n" + `{"frame":"end","frames":1}` + "\n"))
	f.Add([]byte(head + `{"frame":"raw","format":"bpf-ring/v1","bytes":3}` + "\n\x00\n\xff\n" + `{"frame":"end","frames":1}` + "\n"))
	f.Add([]byte(head + `{"frame":"snapshot","snapshot":{"symbols":{"1":"x"}}}` + "\n"))
	f.Add([]byte(zipped(head + `{"frame":"notice","notice":"x"}` + "\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		w, err := NewWriter(&b, r.Header(), false)
		if err != nil {
			return // a year that JSON cannot express
		}
		n := 0
		for {
			f, err := r.Next()
			if err != nil {
				break
			}
			if w.frame(f) == nil {
				n++
			}
		}
		if w.err != nil {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := NewReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := again.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := again.Next(); err != io.EOF {
			t.Fatal(fmt.Errorf("end: %w", err))
		}
	})
}
