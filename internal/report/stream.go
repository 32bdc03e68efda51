package report

import (
	"fmt"
	"io"

	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// NDJSON writes a report in the lines of a live stream: hang_seen for each
// hang, a notice for whatever is missing, a summary.
func NDJSON(w io.Writer, r *correlate.Report) error {
	for _, e := range asEvents(r) {
		if err := EventNDJSON(w, e); err != nil {
			return err
		}
	}
	return nil
}

func asEvents(r *correlate.Report) []*correlate.Event {
	event := func(kind correlate.EventKind) *correlate.Event {
		return &correlate.Event{Schema: correlate.EventSchema, Kind: kind, Time: r.TakenAt}
	}
	var out []*correlate.Event
	for _, h := range r.Hangs {
		e := event(correlate.EventHangSeen)
		e.Hang = h
		out = append(out, e)
	}
	notice := func(text string) {
		e := event(correlate.EventNotice)
		e.Notice = text
		out = append(out, e)
	}
	for _, s := range r.Capture.Skipped {
		notice("not read: " + s.What + ": " + s.Why)
	}
	for _, sentence := range r.Capture.Degraded {
		notice("known with less certainty: " + sentence)
	}
	e := event(correlate.EventSummary)
	e.Summary = &correlate.LiveSummary{
		DurationMS: r.TookMS,
		Seen:       r.Summary.HungThreads,
		StillHung:  r.Summary.HungThreads,
		OldestMS:   r.Summary.OldestMS,
		Elsewhere:  r.Summary.Elsewhere,
		ByServer:   r.Summary.ByServer,
		Verdict:    r.Summary.Verdict,
	}
	return append(out, e)
}

// EventNDJSON writes one event as one line of JSON, in one Write.
func EventNDJSON(w io.Writer, e *correlate.Event) error {
	text, err := correlate.EncodeJSON(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// EventYAML writes one event as one YAML document.
func EventYAML(w io.Writer, e *correlate.Event) error {
	text, err := yaml.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append([]byte("---\n"), text...))
	return err
}

// Stream writes the events of a live session in one form. It is not safe for
// use by several goroutines.
type Stream struct {
	w      io.Writer
	form   Form
	o      Options
	headed bool
}

// NewStream returns a writer of events. FormJSON is FormNDJSON here: a stream
// has no end at which to close a list.
func NewStream(w io.Writer, form Form, o Options) (*Stream, error) {
	if _, err := ParseForm(string(form)); err != nil {
		return nil, err
	}
	return &Stream{w: w, form: form, o: o}, nil
}

// Write writes one event.
func (s *Stream) Write(e *correlate.Event) error {
	switch s.form {
	case FormText:
		return EventText(s.w, e, s.o)
	case FormWide:
		return s.wide(e)
	case FormYAML:
		return EventYAML(s.w, e)
	case FormJSON, FormNDJSON:
		return EventNDJSON(s.w, e)
	}
	return fmt.Errorf("unknown output form %q", s.form)
}
