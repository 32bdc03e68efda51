package testkit

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a test that notes how it was ended.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skip(...any)           { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

func TestSkipIsAFailureWhenBPFIsRequired(t *testing.T) {
	for value, want := range map[string]recorder{"": {skipped: true}, "1": {failed: true}} {
		t.Setenv(envRequireBPF, value)
		var got recorder
		done := make(chan struct{})
		go func() {
			defer close(done)
			skip(&got, "needs the moon")
		}()
		<-done
		require.Equal(t, want, got)
	}
}

func TestCoverHidesADirectoryUntilClose(t *testing.T) {
	NeedRoot(t)
	before, err := names("/var")
	require.NoError(t, err)
	s, err := Open()
	require.NoError(t, err)
	require.NoError(t, s.Cover("/var"))
	covered, err := names("/var")
	require.NoError(t, err)
	require.Empty(t, covered)
	require.NoError(t, s.Close())
	after, err := names("/var")
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}
