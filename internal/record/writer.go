package record

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// Writer writes a recording. Each frame is handed to the kernel before the
// method returns; nothing is synced to disk, because a sync may hang on just
// the storage that is being looked at. It is safe for concurrent use.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	zip    *gzip.Writer // nil: not compressed
	raw    []byte       // the last frame with raw records, for its memory
	frames int
	err    error // the first error stays: a frame after half a frame is lost
	failed func(error)
}

// GoOn has frames that can no longer be written dropped without an error: who
// looks at a hung node wants to see more than to keep. failed is told of the
// first error, which Close returns.
func (w *Writer) GoOn(failed func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = failed
}

// NewWriter writes the header and returns a writer for the frames. The caller
// closes w after Close.
func NewWriter(w io.Writer, h Header, compress bool) (*Writer, error) {
	out := &Writer{w: w}
	if compress {
		out.zip = gzip.NewWriter(w)
	}
	h.Schema = Schema
	if err := out.write(headerFrame{Kind: kindHeader, Header: h}, nil, maxHeader); err != nil {
		return nil, fmt.Errorf("write header of recording: %w", err)
	}
	return out, nil
}

// Snapshot writes one look at the node.
func (w *Writer) Snapshot(s *facts.Snapshot) error {
	return w.frame(&Frame{Kind: KindSnapshot, Snapshot: s})
}

// Raw writes records as they came from the kernel. The format is one of
// package facts, or the caller's own.
func (w *Writer) Raw(format string, atNS int64, data []byte) error {
	return w.frame(&Frame{Kind: KindRaw, AtNS: atNS, Format: format, Data: data})
}

// Notice writes a sentence. The time is that of day, in ns since 1970.
func (w *Writer) Notice(atNS int64, sentence string) error {
	return w.frame(&Frame{Kind: KindNotice, AtNS: atNS, Notice: sentence})
}

// Symbols writes names of kernel addresses for the raw records to come.
func (w *Writer) Symbols(names map[uint64]string) error {
	return w.frame(&Frame{Kind: KindSymbols, Symbols: names})
}

// Lost writes how many records were lost so far, by place. The time is that of
// day, in ns since 1970.
func (w *Writer) Lost(atNS int64, counts map[string]uint64) error {
	return w.frame(&Frame{Kind: KindLost, AtNS: atNS, Lost: counts})
}

// Close writes the end frame. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.write(&Frame{Kind: KindEnd, Frames: w.frames}, nil, MaxFrame); err != nil {
		w.err = fmt.Errorf("write end of recording: %w", err)
		return w.err
	}
	w.err = ErrClosed
	if w.zip != nil {
		return w.zip.Close()
	}
	return nil
}

func (w *Writer) frame(f *Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		line := *f
		line.Data, line.Bytes = nil, len(f.Data)
		if err := w.write(&line, f.Data, MaxFrame); err != nil {
			w.err = fmt.Errorf("write %s frame of recording: %w", f.Kind, err)
			if w.failed != nil {
				w.failed(w.err)
			}
		} else {
			w.frames++
		}
	}
	if w.failed != nil && w.err != ErrClosed {
		return nil
	}
	return w.err
}

// write writes a line, and raw records behind it.
func (w *Writer) write(v any, raw []byte, most int) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if n := max(len(text), len(raw)); n > most {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, most)
	}
	text = append(text, '\n')
	if len(raw) > 0 {
		w.raw = append(append(append(w.raw[:0], text...), raw...), '\n')
		text = w.raw
	}
	if w.zip == nil {
		_, err = w.w.Write(text)
		return err
	}
	if _, err := w.zip.Write(text); err != nil {
		return err
	}
	return w.zip.Flush()
}
