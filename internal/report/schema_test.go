package report

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

const (
	schemaBase   = "https://github.com/hangtrace/hangtrace/raw/main/docs/schema/"
	reportSchema = "hangtrace.report.v1.json"
	eventSchema  = "hangtrace.event.v1.json"
)

func schemaText(t *testing.T, name string) any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "schema", name))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc
}

func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.AssertContent()
	for _, resource := range []string{reportSchema, eventSchema, stacksSchema, "hangtrace.scan.v1.json"} {
		if err := c.AddResource(schemaBase+resource, schemaText(t, resource)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(schemaBase + name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, what string, text []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("%s: %#v\n%s", what, err, text)
	}
}

// TestGoldensFitTheSchema holds the schema against every golden.
func TestGoldensFitTheSchema(t *testing.T) {
	reports, events := compiled(t, reportSchema), compiled(t, eventSchema)
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kind := filepath.Ext(file)
		seen[kind]++
		switch {
		case kind == ".json":
			validate(t, reports, file, text)
		case kind == ".yaml" && file != "testdata/live.yaml":
			text, err := yaml.YAMLToJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, reports, file, text)
		case kind == ".ndjson":
			for line := range bytes.Lines(text) {
				validate(t, events, file, line)
			}
		}
	}
	if seen[".json"] == 0 || seen[".yaml"] == 0 || seen[".ndjson"] == 0 {
		t.Errorf("goldens are missing: %v", seen)
	}
}

// TestSchemaIsStrict plants faults that the schema must see.
func TestSchemaIsStrict(t *testing.T) {
	reports, events := compiled(t, reportSchema), compiled(t, eventSchema)
	for name, plant := range map[string]func(m map[string]any){
		"unknown field":         func(m map[string]any) { m["extra"] = 1 },
		"unknown field in hang": func(m map[string]any) { m["hangs"].([]any)[0].(map[string]any)["extra"] = 1 },
		"missing field":         func(m map[string]any) { delete(m, "capture") },
		"missing field in hang": func(m map[string]any) { delete(m["hangs"].([]any)[0].(map[string]any), "blocked") },
		"null list":             func(m map[string]any) { m["hangs"] = nil },
		"bad reason":            func(m map[string]any) { m["hangs"].([]any)[0].(map[string]any)["reason"] = "tired" },
		"other schema":          func(m map[string]any) { m["schema"] = "hangtrace.report/v2" },
		"time":                  func(m map[string]any) { m["taken_at"] = "yesterday" },
	} {
		m := asMap(t, kubeletFUSE())
		plant(m)
		if reports.Validate(m) == nil {
			t.Errorf("%s: not seen", name)
		}
	}
	for name, plant := range map[string]func(m map[string]any){
		"unknown field":     func(m map[string]any) { m["extra"] = 1 },
		"duration too soon": func(m map[string]any) { m["duration_ns"] = 1 },
		"missing field":     func(m map[string]any) { delete(m, "task") },
		"unknown event":     func(m map[string]any) { m["event"] = "party" },
		"hang in a notice":  func(m map[string]any) { m["event"], m["notice"] = "notice", "x" },
	} {
		m := asMap(t, session()[0])
		plant(m)
		if events.Validate(m) == nil {
			t.Errorf("event: %s: not seen", name)
		}
	}
}

func asMap(t *testing.T, v any) map[string]any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

// filled are values for fields that do not take just any string.
var filled = map[string]string{
	"schema": correlate.ReportSchema, "backend": "proc", "reason": "in_syscall", "role": "root",
	"path.source": "fd", "args": "0x1", "device": "0:28", "pod.state": "running", "waiting_on.kind": "lock",
	"waiting_on.source": "walk", "daemon_waits_on.kind": "mds", "daemon_waits_on.source": "admin_socket", "reach": "refused", "healthz.syncloop": "ok", "build_id": "93ac",
	"class": "orphan_dir", "health": "hung",
}

// fill sets every field of a type to something, found by reflection, so that a
// field that the schema does not know cannot hide behind omitempty.
func fill(v reflect.Value, parent, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), parent, name)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(sampleTime))
			return
		}
		for i := range v.NumField() {
			key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			fill(v.Field(i), name, key)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), parent, name)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		one := reflect.New(v.Type().Elem()).Elem()
		fill(one, name, "")
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), one)
	case reflect.String:
		text := "x"
		for _, key := range []string{name, parent + "." + name} {
			if special, ok := filled[key]; ok {
				text = special
			}
		}
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		panic("no filling for " + v.Kind().String() + " " + name)
	}
}

func TestSchemaKnowsEveryField(t *testing.T) {
	var r correlate.Report
	fill(reflect.ValueOf(&r).Elem(), "", "")
	r.Hangs[0].Path.Value = "\xff" // so that "bytes" is there
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, compiled(t, reportSchema), "report", text)

	got, want := map[string]bool{}, map[string]bool{}
	keysOf(asMap(t, r), "", got)
	declared(t, schemaText(t, reportSchema), want)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("schema (-) and types (+) differ:\n%s", diff)
	}
}

func TestSchemaKnowsEveryEventField(t *testing.T) {
	schema := compiled(t, eventSchema)
	got, want := map[string]bool{}, map[string]bool{}
	for _, kind := range []correlate.EventKind{
		correlate.EventHangSeen, correlate.EventHangUpdate, correlate.EventHangEnded,
		correlate.EventSlowCall, correlate.EventLost, correlate.EventNotice, correlate.EventSummary,
	} {
		var e correlate.Event
		fill(reflect.ValueOf(&e).Elem(), "", "")
		e.Schema, e.Kind = correlate.EventSchema, kind
		e.Hang.Path.Value = "\xff"
		keep(&e)
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		validate(t, schema, string(kind), text)
		keysOf(asMap(t, e), "", got)
	}
	declared(t, schemaText(t, eventSchema), want)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("schema (-) and types (+) differ:\n%s", diff)
	}
}

// keep leaves an event the fields of its kind. A field of Event that is named
// nowhere here stays and meets the schema.
func keep(e *correlate.Event) {
	hang := e.Kind == correlate.EventHangSeen || e.Kind == correlate.EventHangUpdate
	ended := e.Kind == correlate.EventHangEnded || e.Kind == correlate.EventSlowCall
	if !hang && !ended {
		e.Hang = nil
	}
	if !ended {
		e.DurationNS, e.ResolutionNS, e.Ret, e.RetText = nil, nil, nil, ""
	}
	if e.Kind != correlate.EventLost {
		e.Lost = nil
	}
	if e.Kind != correlate.EventNotice {
		e.Notice = ""
	}
	if e.Kind != correlate.EventSummary {
		e.Summary = nil
	}
}

// keysOf collects "hangs.task.pid" for what a document has.
func keysOf(v any, at string, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if key == "x" { // the key of a map, not of a struct
				continue
			}
			out[at+key] = true
			keysOf(value, at+key+".", out)
		}
	case []any:
		for _, value := range v {
			keysOf(value, at, out)
		}
	}
}

// declared collects the same for what a schema declares.
func declared(t *testing.T, root any, out map[string]bool) {
	t.Helper()
	var walk func(doc, schema any, at string)
	walk = func(doc, schema any, at string) {
		m, ok := schema.(map[string]any)
		if !ok {
			return
		}
		if ref, ok := m["$ref"].(string); ok {
			file, pointer, _ := strings.Cut(ref, "#/$defs/")
			from := doc
			if file != "" {
				from = schemaText(t, file)
			}
			walk(from, from.(map[string]any)["$defs"].(map[string]any)[pointer], at)
		}
		if one, ok := m["oneOf"].([]any); ok {
			for _, s := range one {
				walk(doc, s, at)
			}
		}
		if items, ok := m["items"]; ok {
			walk(doc, items, at)
		}
		properties, _ := m["properties"].(map[string]any)
		for key, s := range properties {
			out[at+key] = true
			walk(doc, s, at+key+".")
		}
	}
	walk(root, root, "")
}

// TestEveryFieldIsDocumented looks for each field's name in docs/output.md.
func TestEveryFieldIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "output.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	declared(t, schemaText(t, reportSchema), names)
	declared(t, schemaText(t, eventSchema), names)
	for name := range names {
		last := name[strings.LastIndex(name, ".")+1:]
		if !strings.Contains(string(text), "`"+last) && !strings.Contains(string(text), "."+last) {
			t.Errorf("%s is not in docs/output.md", name)
		}
	}
}
