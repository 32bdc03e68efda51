package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

func TestSpanAndAge(t *testing.T) {
	for _, c := range []struct {
		d         time.Duration
		span, age string
	}{
		{0, "0ms", "0ms"},
		{850 * time.Millisecond, "850ms", "850ms"},
		{4299 * time.Millisecond, "4.2s", "4s"},
		{41 * time.Second, "41s", "41s"},
		{119 * time.Second, "1m59s", "119s"},
		{5*time.Minute + 30*time.Second, "5m30s", "5m30s"},
		{12*time.Minute + 41*time.Second, "12m41s", "12m"},
		{41 * time.Minute, "41m", "41m"},
		{59*time.Minute + 59*time.Second, "59m59s", "59m"},
		{3*time.Hour + 5*time.Minute, "3h05m", "3h5m"},
		{20*time.Hour + 30*time.Minute, "20h30m", "20h"},
		{51 * time.Hour, "2d03h", "2d3h"},
		{939 * time.Hour, "39d03h", "39d"},
		{3 * 365 * 24 * time.Hour, "1095d", "3y"},
	} {
		if got := span(c.d); got != c.span {
			t.Errorf("span(%v) = %s, want %s", c.d, got, c.span)
		}
		if got := age(c.d); got != c.age {
			t.Errorf("age(%v) = %s, want %s", c.d, got, c.age)
		}
	}
	if got := millis(math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("millis overflows to %v", got)
	}
	if got := millis(-1); got != 0 {
		t.Errorf("millis(-1) = %v", got)
	}
}

func TestExact(t *testing.T) {
	for _, c := range []struct {
		ns, resolution uint64
		want           string
	}{
		{761_236_412_345, 4_000_000, "12m41.236s"},
		{761_236_412_345, 10_000_000, "12m41.23s"},
		{761_236_412_345, 1_000_000_000, "12m41s"},
		{1_500_123_456, 0, "1.5s"},
		{850_123_456, 0, "850.123ms"},
		{math.MaxUint64, 0, "2562047h47m16.854s"},
	} {
		if got := exact(c.ns, c.resolution); got != c.want {
			t.Errorf("exact(%d, %d) = %s, want %s", c.ns, c.resolution, got, c.want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"kubelet":            "kubelet",
		"größe 日本":           "größe 日本",
		"a\x1b[31mb":         `a\x1b[31mb`,
		"a\nb\tc\x7f":        `a\nb\tc\x7f`,
		"\xff":               `\xff`,
		"\u009b31m\u202ex":   `\u009b31m\u202ex`,
		"\U000e0041":         `\U000e0041`,
		`"a\n", 0`:           `"a\n", 0`,
		"real \ufffd stands": "real \ufffd stands",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestCleanPathIsShell gives what cleanPath made to a real bash.
func TestCleanPathIsShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	for _, path := range []string{"/a\nb", "/it's\\n\xff7\x1b[0m", "/\u202e1", "/日本\x01\xe6\x97"} {
		out, err := exec.Command(bash, "-c", "printf %s "+cleanPath(path)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != path {
			t.Errorf("%q came back as %q from %s", path, out, cleanPath(path))
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff'\\")
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range []string{clean(s), cleanPath(s), cleanWord(s)} {
			for _, r := range out {
				if !unicode.IsPrint(r) {
					t.Errorf("%q of %q is not printable", r, s)
				}
			}
		}
		if strings.Contains(cleanWord(s), " ") {
			t.Errorf("blank in the word of %q", s)
		}
	})
}

func TestParseForm(t *testing.T) {
	if form, err := ParseForm("yaml"); err != nil || form != FormYAML {
		t.Errorf("got %q, %v", form, err)
	}
	if _, err := ParseForm("xml"); err == nil || !strings.Contains(err.Error(), "try: text, wide, json, yaml, ndjson") {
		t.Errorf("got %v", err)
	}
	if _, err := NewStream(io.Discard, "xml", Options{}); err == nil {
		t.Error("a stream in an unknown form")
	}
}

func TestRingOfVictims(t *testing.T) {
	a, b := fuseHang(), fuseHang()
	a.ID, a.Role, a.WaitsBehind = "a", "victim", "b"
	b.ID, b.Role, b.WaitsBehind = "b", "victim", "a"
	b.Path.Value = "/other"
	if got := blocks([]*correlate.Hang{a, b}); len(got) != 2 {
		t.Errorf("%d blocks", len(got))
	}
}

// TestManyHangsAreCounted: what does not fit is counted, nothing is dropped
// without a word.
func TestManyHangsAreCounted(t *testing.T) {
	var hangs []*correlate.Hang
	for i := range 60 {
		h := fuseHang()
		h.ID, h.Task.PID, h.Task.TID = fmt.Sprint(i), 100+i, 100+i
		hangs = append(hangs, h)
	}
	var b strings.Builder
	if err := Text(&b, base("bpf-iter", hangs...), Options{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "] hangs in newfstatat"); n != 40 {
		t.Errorf("%d blocks", n)
	}
	if !strings.Contains(b.String(), "(+20 more hangs: -o wide names each)") {
		t.Error("the rest is not counted")
	}
}

type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrorsComeBack(t *testing.T) {
	for _, form := range Forms() {
		if err := Write(brokenPipe{}, form, kubeletFUSE(), Options{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", form, err)
		}
		s, err := NewStream(brokenPipe{}, form, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(session()[0]); !errors.Is(err, errBroken) {
			t.Errorf("live %s: %v", form, err)
		}
	}
}

// BenchmarkText10000 is a node where everything hangs.
func BenchmarkText10000(b *testing.B)   { benchmark(b, FormText) }
func BenchmarkJSON10000(b *testing.B)   { benchmark(b, FormJSON) }
func BenchmarkWide10000(b *testing.B)   { benchmark(b, FormWide) }
func BenchmarkNDJSON10000(b *testing.B) { benchmark(b, FormNDJSON) }

func benchmark(b *testing.B, form Form) {
	var hangs []*correlate.Hang
	for i := range 10_000 {
		h := fuseHang()
		h.ID, h.Task.TID = fmt.Sprint(i), 3000+i
		hangs = append(hangs, h)
	}
	r := base("bpf-iter", hangs...)
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(io.Discard, form, r, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
