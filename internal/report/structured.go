package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"

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
func JSON(w io.Writer, r *correlate.Report) error {
	b := bufio.NewWriter(w)
	separator := "{\n"
	for _, f := range fields(r) {
		_, _ = b.WriteString(separator + `  "` + f.name + `": `)
		separator = ",\n"
		if err := jsonField(b, f); err != nil {
			return err
		}
	}
	_, _ = b.WriteString("\n}\n")
	return b.Flush()
}

func jsonField(b *bufio.Writer, f field) error {
	if !f.isList || len(f.elements) == 0 {
		return jsonValue(b, f.value, "  ")
	}
	separator := "[\n"
	for _, element := range f.elements {
		_, _ = b.WriteString(separator + "    ")
		separator = ",\n"
		if err := jsonValue(b, element, "    "); err != nil {
			return err
		}
	}
	_, err := b.WriteString("\n  ]")
	return err
}

func jsonValue(b *bufio.Writer, v any, prefix string) error {
	text, err := plainJSON(v, prefix, "  ")
	if err != nil {
		return err
	}
	_, err = b.Write(text)
	return err
}

// plainJSON is json.Marshal without the escapes that only HTML needs, which
// make a "->" in a stack or a shell command unreadable.
func plainJSON(v any, prefix, step string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, step)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
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
