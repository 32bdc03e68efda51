package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

var update = flag.Bool("update", false, "write the golden files anew")

func extension(form Form) string {
	return map[Form]string{FormText: "txt"}[form] + map[bool]string{true: string(form)}[form != FormText]
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (write it anew with -update):\n%s", path, diff)
	}
}

func TestReportGolden(t *testing.T) {
	for name, r := range samples() {
		for _, form := range Forms() {
			var b bytes.Buffer
			if err := Write(&b, form, r, Options{}); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+extension(form), b.Bytes())
		}
	}
}

func TestLiveGolden(t *testing.T) {
	for _, form := range Forms() {
		if form == FormJSON { // the same as ndjson
			continue
		}
		var b bytes.Buffer
		s, err := NewStream(&b, form, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range session() {
			if err := s.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		golden(t, "live."+extension(form), b.Bytes())
	}
}

func TestColorGolden(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, detached(), Options{Color: true, Width: 80}); err != nil {
		t.Fatal(err)
	}
	for _, e := range session() {
		if err := EventText(&b, e, Options{Color: true, Width: 80}); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "color.txt", b.Bytes())
}

// TestNothingForeignReachesTheTerminal holds every form against a report full
// of escapes.
func TestNothingForeignReachesTheTerminal(t *testing.T) {
	for _, form := range Forms() {
		var b bytes.Buffer
		if err := Write(&b, form, weirdBytes(), Options{}); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if !utf8.ValidString(text) {
			t.Errorf("%s: not UTF-8", form)
		}
		if strings.Contains(text, "\u202e") && (form == FormText || form == FormWide) {
			t.Errorf("%s: a bidirectional override came through", form)
		}
		for _, r := range text {
			if unicode.IsControl(r) && r != '\n' {
				t.Errorf("%s: control character %q", form, r)
			}
		}
	}
}

// TestTextKeepsPathsWhole: whatever the width, a path is in one piece.
func TestTextKeepsPathsWhole(t *testing.T) {
	for _, width := range []int{1, 20, 40, 79, 100, 200} {
		var b bytes.Buffer
		if err := Text(&b, kubeletFUSE(), Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), csiPath); n < 1 || n > 1 && width <= 100 {
			t.Errorf("width %d: the path is whole %d times:\n%s", width, n, b.String())
		}
	}
}

func TestTextFitsTheWidth(t *testing.T) {
	for name, r := range samples() {
		var b bytes.Buffer
		if err := Text(&b, r, Options{Width: 100}); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(b.String(), "\n") {
			words := strings.Fields(line)
			if utf8.RuneCountInString(line) > 100 && !strings.Contains(line, "/") && words[0] != "handle" {
				t.Errorf("%s: line too long: %q", name, line)
			}
		}
	}
}

func TestStructuredFormsSayTheSame(t *testing.T) {
	for name, r := range samples() {
		whole, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		same(t, name+" json", whole, b.Bytes())
		var back correlate.Report
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if name != "weird-bytes" { // its evidence and call text lose their bytes
			if diff := cmp.Diff(r, &back, textOnly); diff != "" {
				t.Errorf("%s: came back different:\n%s", name, diff)
			}
		} else if back.Hangs[0].Path != r.Hangs[0].Path {
			t.Errorf("path came back as %q", back.Hangs[0].Path.Value)
		}
		b.Reset()
		if err := YAML(&b, r); err != nil {
			t.Fatal(err)
		}
		text, err := yaml.YAMLToJSON(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, name+" yaml", whole, text)
	}
}

func same(t *testing.T, what string, want, got []byte) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(want, &a); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s differs: %s", what, cmp.Diff(a, b))
	}
}

func TestWideIsOneLineAHang(t *testing.T) {
	for name, r := range samples() {
		var b bytes.Buffer
		if err := Wide(&b, r); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != 1+len(r.Hangs) {
			t.Errorf("%s: %d lines for %d hangs", name, len(lines), len(r.Hangs))
		}
		for _, line := range lines {
			if n := len(strings.Fields(line)); n != len(wideHead) {
				t.Errorf("%s: %d columns in %q", name, n, line)
			}
		}
	}
}

// textOnly passes over what the structured forms say elsewhere: what the
// kubelet said stands with the target.
var textOnly = cmp.FilterPath(func(p cmp.Path) bool {
	return p.Last().String() == ".Healthz" && p.Index(-2).Type() == reflect.TypeFor[correlate.Hang]()
}, cmp.Ignore())
