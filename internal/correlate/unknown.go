package correlate

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

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

// MarshalJSON gives null for an unknown text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	for i := range len(t) {
		if t[i] < ' ' || t[i] >= 0x7f || t[i] == '"' || t[i] == '\\' {
			return plainJSON(string(t))
		}
	}
	return []byte(`"` + t + `"`), nil
}

// Number is a kernel identifier (mount ID, namespace inode) that is never 0:
// 0 means "unknown" and is null in JSON.
type Number uint32

// MarshalJSON gives null for an unknown number.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(uint32(n))
}

// List is a slice that is [] in JSON when empty, because nothing found is not
// the same as not known. A plain []T can be assigned to it.
type List[T any] []T

// MarshalJSON gives [] for an empty list.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

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

// MarshalJSON gives {} for an empty set.
func (c Counts) MarshalJSON() ([]byte, error) {
	if len(c) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]uint64(c))
}

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

// MarshalJSON adds "bytes" (base64) when the path is not valid UTF-8.
func (p Path) MarshalJSON() ([]byte, error) {
	out := pathJSON{Value: p.Value, Source: p.Source, Truncated: p.Truncated}
	if !utf8.ValidString(string(p.Value)) {
		out.Bytes = []byte(p.Value)
	}
	return plainJSON(out)
}

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

// plainJSON leaves it to the outer encoder whether "<" and ">", which stand in
// stacks and shell commands, are escaped.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}
