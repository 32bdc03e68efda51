package main

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPatientAtTheEnd has more to say at the end than is said within the grace:
// who reads gets it all.
func TestPatientAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	w := patiently(ctx, &out)
	cancel()
	for began := time.Now(); time.Since(began) < 2*endGrace; time.Sleep(endGrace / 10) {
		n, err := io.WriteString(w, "line\n")
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	require.GreaterOrEqual(t, bytes.Count(out.Bytes(), []byte("\n")), 2)
}

// stuck is a reader that takes nothing.
type stuck struct{ free chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	<-s.free
	return 0, io.ErrClosedPipe
}

// TestPatientGivesUp has nobody read: every writer has its say within one grace,
// however many writes there are, and whether they began before or after the end.
func TestPatientGivesUp(t *testing.T) {
	s := stuck{make(chan struct{})}
	defer close(s.free)
	ctx, cancel := context.WithCancel(t.Context())
	w := patiently(ctx, s)
	before := make(chan error)
	go func() {
		_, err := w.Write([]byte("before"))
		before <- err
	}()
	time.Sleep(10 * time.Millisecond)
	began := time.Now()
	cancel()
	require.ErrorIs(t, <-before, errGivenUp)
	for range 10 {
		_, err := w.Write([]byte("after"))
		require.ErrorIs(t, err, errGivenUp)
	}
	require.Less(t, time.Since(began), 5*endGrace)
}
