package loader

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/testkit"
)

// BenchmarkTasks is one pass of the task iterator over a thousand threads.
func BenchmarkTasks(b *testing.B) {
	testkit.NeedBPF(b)
	const threads = 1000
	var pipe [2]int
	require.NoError(b, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	asleep := make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread()
			asleep <- struct{}{}
			var one [1]byte
			_, _ = unix.Read(pipe[0], one[:])
		}()
		<-asleep
	}
	defer unix.Close(pipe[1])
	s, err := NewSnapshotter(SnapshotOptions{})
	require.NoError(b, err)
	defer s.Close()
	require.NoError(b, s.SetTargets([]int{os.Getpid()}))
	b.ReportAllocs()
	for b.Loop() {
		pass, err := s.Tasks()
		require.NoError(b, err)
		b.SetBytes(int64(len(pass.Data)))
	}
}
