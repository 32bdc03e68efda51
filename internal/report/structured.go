package report

import (
	"bufio"
	"io"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// field is one top-level field of a report: its name and its value, or its
// elements where it is a list. A report of 10,000 hangs is written one element
// at a time, because the whole of it as text would be larger than all else the
// tool holds.
type field struct {
	name     string
	value    any
	isList   bool
	elements []any
}

func fields(r *correlate.Report) []field {
	v := reflect.ValueOf(r).Elem()
	out := make([]field, 0, v.NumField())
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		f := field{name: name, value: v.Field(i).Interface()}
		if v.Field(i).Kind() == reflect.Slice {
			f.isList = true
			for j := range v.Field(i).Len() {
				f.elements = append(f.elements, v.Field(i).Index(j).Interface())
			}
		}
		out = append(out, f)
	}
	return out
}

// JSON writes a report as one indented JSON object, as docs/schema describes.
func JSON(w io.Writer, r *correlate.Report) error { return jsonValue(w, r) }

func jsonValue(w io.Writer, v any) error {
	// What a pipe holds: a report of 10,000 hangs is 46 MB.
	b := bufio.NewWriterSize(w, 64<<10)
	if err := correlate.EncodeJSONTo(b, v, jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_ = b.WriteByte('\n')
	return b.Flush()
}

// YAML writes a report as one YAML document with the fields of JSON.
func YAML(w io.Writer, r *correlate.Report) error {
	b := bufio.NewWriter(w)
	for _, f := range fields(r) {
		parts := []any{map[string]any{f.name: f.value}}
		if f.isList && len(f.elements) > 0 {
			_, _ = b.WriteString(f.name + ":\n")
			parts = parts[:0]
			for _, element := range f.elements {
				parts = append(parts, []any{element})
			}
		}
		for _, part := range parts {
			text, err := yaml.Marshal(part)
			if err != nil {
				return err
			}
			if _, err := b.Write(text); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}
