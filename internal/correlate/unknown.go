package correlate

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Each type here writes itself into the encoder of a report (MarshalJSONTo): a
// MarshalJSON alone would have its text parsed and laid out anew at each level
// of a report of 10,000 hangs. MarshalJSON gives the same to encoding/json.

// Text is a string whose empty value means "unknown": it is null in JSON, never
// "". Bytes that are not UTF-8 become U+FFFD there; see Path for the one place
// where they must survive.
type Text string

// Or gives the text, or the other one when it is unknown.
func (t Text) Or(other string) string {
	if t == "" {
		return other
	}
	return string(t)
}

// MarshalJSONTo gives null for an unknown text.
func (t Text) MarshalJSONTo(enc *jsontext.Encoder) error {
	if t == "" {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteToken(jsontext.String(string(t)))
}

// MarshalJSON gives null for an unknown text.
func (t Text) MarshalJSON() ([]byte, error) { return EncodeJSON(t) }

// Number is a kernel identifier (mount ID, namespace inode) that is never 0:
// 0 means "unknown" and is null in JSON.
type Number uint32

// MarshalJSONTo gives null for an unknown number.
func (n Number) MarshalJSONTo(enc *jsontext.Encoder) error {
	if n == 0 {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteToken(jsontext.Uint(uint64(n)))
}

// MarshalJSON gives null for an unknown number.
func (n Number) MarshalJSON() ([]byte, error) { return EncodeJSON(n) }

// List is a slice that is [] in JSON when empty, because nothing found is not
// the same as not known. A plain []T can be assigned to it.
type List[T any] []T

// MarshalJSONTo gives [] for an empty list.
func (l List[T]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if len(l) == 0 {
		return enc.WriteValue(jsontext.Value("[]"))
	}
	return jsonv2.MarshalEncode(enc, []T(l))
}

// MarshalJSON gives [] for an empty list.
func (l List[T]) MarshalJSON() ([]byte, error) { return EncodeJSON(l) }

// UnmarshalJSON gives nil for an empty list.
func (l *List[T]) UnmarshalJSON(data []byte) error {
	var items []T
	if err := json.Unmarshal(data, &items); err != nil {
		return err
	}
	*l = nil
	if len(items) > 0 {
		*l = items
	}
	return nil
}

// Counts is a set of counters by name, {} in JSON when nothing was counted.
type Counts map[string]uint64

// MarshalJSONTo gives {} for an empty set.
func (c Counts) MarshalJSONTo(enc *jsontext.Encoder) error {
	if len(c) == 0 {
		return enc.WriteValue(jsontext.Value("{}"))
	}
	return jsonv2.MarshalEncode(enc, map[string]uint64(c))
}

// MarshalJSON gives {} for an empty set.
func (c Counts) MarshalJSON() ([]byte, error) { return EncodeJSON(c) }

// UnmarshalJSON gives nil for an empty set.
func (c *Counts) UnmarshalJSON(data []byte) error {
	var counts map[string]uint64
	if err := json.Unmarshal(data, &counts); err != nil {
		return err
	}
	*c = nil
	if len(counts) > 0 {
		*c = counts
	}
	return nil
}

// pathJSON is Path as JSON shows it: Bytes has the exact bytes of a path that
// is not valid UTF-8, since a JSON string cannot.
type pathJSON struct {
	Value     Text   `json:"value"`
	Source    string `json:"source"`
	Truncated bool   `json:"truncated"`
	Bytes     []byte `json:"bytes,omitempty"`
}

// MarshalJSONTo adds "bytes" (base64) when the path is not valid UTF-8.
func (p Path) MarshalJSONTo(enc *jsontext.Encoder) error {
	out := pathJSON{Value: p.Value, Source: p.Source, Truncated: p.Truncated}
	if !utf8.ValidString(string(p.Value)) {
		out.Bytes = []byte(p.Value)
	}
	return jsonv2.MarshalEncode(enc, &out)
}

// MarshalJSON adds "bytes" (base64) when the path is not valid UTF-8.
func (p Path) MarshalJSON() ([]byte, error) { return EncodeJSON(p) }

// UnmarshalJSON is the reverse of MarshalJSON.
func (p *Path) UnmarshalJSON(data []byte) error {
	var in pathJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	*p = Path{Value: in.Value, Source: in.Source, Truncated: in.Truncated}
	if len(in.Bytes) > 0 {
		p.Value = Text(in.Bytes)
	}
	return nil
}

// EncodeJSON gives the JSON of anything in a report in one line, with the rules
// of encoding/json but for "<" and ">", which stand in stacks and shell
// commands and which only HTML needs escaped.
func EncodeJSON(v any, layout ...jsontext.Options) ([]byte, error) {
	return jsonv2.Marshal(v, jsonOptions(layout)...)
}

// EncodeJSONTo writes what EncodeJSON gives piece by piece: the whole text of a
// report of 10,000 hangs would be larger than all else the tool holds.
func EncodeJSONTo(w io.Writer, v any, layout ...jsontext.Options) error {
	return jsonv2.MarshalWrite(w, v, jsonOptions(layout)...)
}

func jsonOptions(layout []jsontext.Options) []jsonv2.Options {
	return append([]jsonv2.Options{jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false)}, layout...)
}
