// Package report writes what correlate found: one file per form.
//
// In: a correlate.Report, or correlate.Event values one after the other. Out:
// text, wide, json, yaml or ndjson on an io.Writer. It must never judge, read
// /proc, or print a control character that came from the node it reports on.
package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// Form is a form of output, as -o names it.
type Form string

// The forms that both a report and a live stream have.
const (
	FormText   Form = "text"
	FormWide   Form = "wide"
	FormJSON   Form = "json"
	FormYAML   Form = "yaml"
	FormNDJSON Form = "ndjson"
)

// Forms lists the forms in the order in which they are documented.
func Forms() []Form {
	return []Form{FormText, FormWide, FormJSON, FormYAML, FormNDJSON}
}

// ParseForm checks the name of a form against those a command has; without any
// given, against Forms.
func ParseForm(name string, forms ...Form) (Form, error) {
	if len(forms) == 0 {
		forms = Forms()
	}
	names := make([]string, 0, len(forms))
	for _, form := range forms {
		if string(form) == name {
			return form, nil
		}
		names = append(names, string(form))
	}
	return "", fmt.Errorf("unknown output form %q; try: %s", name, strings.Join(names, ", "))
}

// ReportForms lists the forms of a report.
func ReportForms() []Form { return append(Forms(), FormPprof, FormFolded) }

// StacksForms lists the forms of a stack dump.
func StacksForms() []Form { return []Form{FormText, FormJSON, FormPprof, FormFolded} }

// Options tune the forms made for people. The zero value is fine.
type Options struct {
	// Width is the number of columns to wrap at; 0 means 100. A path is never
	// wrapped or cut, however narrow the terminal.
	Width int
	// Color allows a few ANSI colours.
	Color bool
	// Frames is how many kernel stack frames are shown; 0 means 6.
	Frames int
	// Blocks is how many blocks of root hangs are shown; 0 means 40. What is
	// left out is counted.
	Blocks int
	// Victims is how many victims are named under their root; 0 means 5.
	Victims int
	// Location is the time zone of times; nil means UTC.
	Location *time.Location
}

func (o Options) filled() Options {
	for _, d := range []struct {
		field    *int
		standard int
	}{{&o.Width, 100}, {&o.Frames, 6}, {&o.Blocks, 40}, {&o.Victims, 5}} {
		if *d.field <= 0 {
			*d.field = d.standard
		}
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	return o
}

// Write writes a report in one of the forms.
func Write(w io.Writer, form Form, r *correlate.Report, o Options) error {
	switch form {
	case FormText:
		return Text(w, r, o)
	case FormWide:
		return Wide(w, r)
	case FormJSON:
		return JSON(w, r)
	case FormYAML:
		return YAML(w, r)
	case FormNDJSON:
		return NDJSON(w, r)
	case FormPprof:
		return writeProfile(w, hangSamples(r), "blocked", "nanoseconds", r.TakenAt)
	case FormFolded:
		return folded(w, hangSamples(r))
	}
	_, err := ParseForm(string(form))
	return err
}
