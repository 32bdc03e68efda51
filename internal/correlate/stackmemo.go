package correlate

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/hangtrace/hangtrace/internal/events"
)

// stackMemo remembers what stacks say: what hangs by the thousand hangs alike.
type stackMemo struct {
	reader *stackReader
	// symbols are the names that the frames have, named is how many there were:
	// more of them change the frames.
	symbols map[uint64]string
	named   int
	seen    map[string]seenStack
	key     []byte
}

type seenStack struct {
	frames []string
	view   stackView
}

func newStackMemo() *stackMemo {
	return &stackMemo{reader: newStackReader(), seen: make(map[string]seenStack)}
}

// of gives a thread's frames, innermost first, and what they tell.
func (m *stackMemo) of(t *events.Task, symbols map[uint64]string) seenStack {
	const most = 1024 // a session of days sees many
	if len(symbols) != m.named || len(m.seen) > most || reflect.ValueOf(symbols).Pointer() != reflect.ValueOf(m.symbols).Pointer() {
		m.symbols, m.named = symbols, len(symbols)
		clear(m.seen)
	}
	m.key = appendStack(m.key[:0], t)
	s, ok := m.seen[string(m.key)]
	if ok {
		return s
	}
	s.frames = t.StackNames
	if len(s.frames) == 0 && len(t.Stack) > 0 {
		s.frames = make([]string, len(t.Stack))
		for i, addr := range t.Stack {
			if s.frames[i] = symbols[addr]; s.frames[i] == "" {
				s.frames[i] = fmt.Sprintf("%#x", addr)
			}
		}
	}
	s.view = m.reader.view(s.frames, t.Wchan)
	m.seen[string(m.key)] = s
	return s
}

func appendStack(key []byte, t *events.Task) []byte {
	key = append(append(key, t.Wchan...), 0)
	if len(t.StackNames) == 0 {
		for _, addr := range t.Stack {
			key = binary.NativeEndian.AppendUint64(key, addr)
		}
		return key
	}
	for _, name := range t.StackNames {
		key = append(append(key, name...), 0)
	}
	return key
}
