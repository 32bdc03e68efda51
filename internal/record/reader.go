package record

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Reader reads a recording frame by frame.
type Reader struct {
	in       *bufio.Reader
	header   Header
	line     []byte
	frames   int
	maxFrame int
	err      error // what Next goes on to return
}

// NewReader reads the header. The error is ErrNotRecording, ErrNewer or
// ErrTruncated with a reason, or what r returned.
func NewReader(r io.Reader) (*Reader, error) {
	in, err := decompressed(r)
	if err != nil {
		return nil, err
	}
	out := &Reader{in: in, maxFrame: MaxFrame}
	head, _ := in.Peek(512)
	line, err := out.readLine(maxHeader)
	switch {
	case err == nil, errors.Is(err, io.EOF), cut(err), errors.Is(err, ErrTooLarge):
	case corrupt(err):
		return nil, fmt.Errorf("%w in its header: %w", ErrDamaged, err)
	default:
		return nil, fmt.Errorf("read recording: %w", err)
	}
	whole := err == nil
	// The version is read alone: what else a later header has may not fit.
	var version struct {
		Kind   Kind   `json:"frame"`
		Schema string `json:"schema"`
	}
	if json.Unmarshal(line, &version) != nil || version.Kind != kindHeader {
		return nil, foreign(head, whole)
	}
	if err := checkSchema(version.Schema); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(line, &out.header); err != nil {
		return nil, fmt.Errorf("%w in its header: %w", ErrDamaged, err)
	}
	return out, nil
}

// Header is the header of the recording.
func (r *Reader) Header() Header { return r.header }

// Next returns the next frame: io.EOF after the end frame, ErrTruncated where
// the recording was cut off, ErrDamaged where a frame cannot be read. Once
// Next has failed it goes on returning the same error.
func (r *Reader) Next() (*Frame, error) {
	if r.err != nil {
		return nil, r.err
	}
	f, err := r.next()
	if err != nil {
		r.err = err
		return nil, err
	}
	r.frames++
	return f, nil
}

func (r *Reader) next() (*Frame, error) {
	line, err := r.readLine(r.maxFrame)
	whole := err == nil
	if err != nil && !errors.Is(err, io.EOF) && !cut(err) {
		return nil, r.failed(err)
	}
	f, err := parse(line)
	switch {
	case err != nil && !whole:
		return nil, r.truncated()
	case err != nil:
		return nil, fmt.Errorf("%w at frame %d: %w", ErrDamaged, r.frames+1, err)
	case f.Kind == KindEnd && f.Frames != r.frames:
		return nil, fmt.Errorf("%w: it has %d frames and its end says %d", ErrDamaged, r.frames, f.Frames)
	case f.Kind == KindEnd:
		if _, err := r.in.ReadByte(); corrupt(err) { // the checksum
			return nil, r.failed(err)
		}
		return nil, io.EOF
	case f.Bytes != 0:
		return f, r.readRaw(f)
	}
	return f, nil
}

// failed says what became of reading a frame that was not just cut off.
func (r *Reader) failed(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("frame %d of recording: %w: more than %d bytes", r.frames+1, err, r.maxFrame)
	case corrupt(err):
		return fmt.Errorf("%w at frame %d: %w", ErrDamaged, r.frames+1, err)
	}
	return fmt.Errorf("read recording: %w", err)
}

// readRaw reads the records that follow a frame's line. They are held as they
// come: the line may promise more than there is.
func (r *Reader) readRaw(f *Frame) error {
	n := f.Bytes
	f.Bytes = 0
	if n > r.maxFrame {
		return r.failed(ErrTooLarge)
	}
	var raw bytes.Buffer
	_, err := io.CopyN(&raw, r.in, int64(n))
	switch {
	case errors.Is(err, io.EOF), cut(err):
		return r.truncated()
	case err != nil:
		return r.failed(err)
	}
	f.Data = raw.Bytes()
	// Without the newline the next frame is what is cut off.
	end, err := r.in.ReadByte()
	switch {
	case err == nil && end != '\n':
		return fmt.Errorf("%w at frame %d: more than %d bytes", ErrDamaged, r.frames+1, n)
	case err != nil && !errors.Is(err, io.EOF) && !cut(err):
		return r.failed(err)
	}
	return nil
}

func (r *Reader) truncated() error {
	noun := "frames"
	if r.frames == 1 {
		noun = "frame"
	}
	return fmt.Errorf("%w after %d %s", ErrTruncated, r.frames, noun)
}

// parse reads one frame and checks that it has what its kind promises.
func parse(line []byte) (*Frame, error) {
	f := new(Frame)
	if err := json.Unmarshal(line, f); err != nil {
		return nil, err
	}
	switch {
	case f.Kind == "":
		return nil, errors.New("line without a kind of frame")
	case f.Kind == kindHeader:
		return nil, errors.New("second header")
	case f.Kind == KindSnapshot && f.Snapshot == nil:
		return nil, errors.New("snapshot frame without a snapshot")
	case f.Kind == KindRaw && f.Format == "":
		return nil, errors.New("raw frame without a format")
	case f.Bytes < 0, f.Bytes > 0 && f.Data != nil:
		return nil, errors.New("records in two places")
	}
	return f, nil
}

// readLine reads up to a newline, or what is left together with the error. The
// line is valid until the next call.
func (r *Reader) readLine(most int) ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.line = append(r.line, part...)
		if len(r.line) > most+1 {
			return nil, ErrTooLarge
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return r.line, err
		}
	}
}

func decompressed(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read recording: %w", err)
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return in, nil
	}
	zip, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: gzip header: %w", ErrNotRecording, err)
	}
	return bufio.NewReaderSize(zip, 64<<10), nil
}

// cut tells whether a compressed stream ended in the middle.
func cut(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

var otherSchema = regexp.MustCompile(`"schema":\s*"(hangtrace\.[a-z]+/v[0-9]+)"`)

// foreign says what a file is instead, where that helps.
func foreign(head []byte, whole bool) error {
	switch m := otherSchema.FindSubmatch(head); {
	case len(head) == 0:
		return fmt.Errorf("%w: it is empty", ErrNotRecording)
	case m != nil && strings.HasPrefix(string(m[1]), schemaPrefix) && !whole:
		return fmt.Errorf("%w within its header", ErrTruncated)
	case m != nil && strings.HasPrefix(string(m[1]), schemaPrefix):
		return fmt.Errorf("%w in its header", ErrDamaged)
	case m != nil:
		return fmt.Errorf("%w but output (%s)", ErrNotRecording, m[1])
	}
	return ErrNotRecording
}

func checkSchema(schema string) error {
	version, isOurs := strings.CutPrefix(schema, schemaPrefix)
	n, err := strconv.Atoi(version)
	if !isOurs || err != nil || n < 1 {
		return fmt.Errorf("%w: schema %q", ErrNotRecording, schema)
	}
	if n > schemaVersion {
		return fmt.Errorf("%w (schema v%d, this one reads v%d)", ErrNewer, n, schemaVersion)
	}
	return nil
}

// IsRecording tells whether a file may be overwritten as an old recording:
// it is one, of whatever version, complete or not.
func IsRecording(r io.Reader) bool {
	_, err := NewReader(r)
	return err == nil || errors.Is(err, ErrNewer) || errors.Is(err, ErrTruncated)
}
