package capture

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/proc"
)

// TestDetailOfAThreadThatRan: call and stack are read some time after the pass. Of
// a thread that ran meanwhile they are another wait's, and it did not sleep through.
func TestDetailOfAThreadThatRan(t *testing.T) {
	const pid = 1 << 30
	threads, _ := proc.New("/proc").ProcThreads([]int{os.Getpid()}, false)
	thread := threads[0]
	thread.PID, thread.TID = pid, pid
	thread.Status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t1\n"
	pass, err := encodeThreads(append(threads[:0:0], thread))
	require.NoError(t, err)
	before, err := events.DecodeTasks(pass)
	require.NoError(t, err)
	require.Equal(t, uint64(8), before[0].Switches())

	later := expendable.Thread{TID: pid, Syscall: "running", Status: "Name:\tx\nvoluntary_ctxt_switches:\t8\nnonvoluntary_ctxt_switches:\t1\n"}
	b := procBackend{ask: func(context.Context, map[int][]expendable.Request) map[int]reply {
		return map[int]reply{pid: {answers: []expendable.Answer{{Threads: []expendable.Thread{later}}}}}
	}}
	detailed, skipped := b.detail(t.Context(), pass, map[int][]int{pid: {pid}})
	require.Empty(t, skipped)
	after, err := events.DecodeTasks(detailed)
	require.NoError(t, err)
	require.Equal(t, uint64(9), after[0].Switches())
}
