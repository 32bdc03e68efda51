package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// The load: 16 threads that make some 300,000 calls a second together.
const (
	loadThreads = 16
	loadBursts  = 30
	loadSize    = 1000
	loadRest    = 50_000 // us
	loadCalls   = loadBursts * loadSize
	loadFirst   = victim.FirstClosed // as in load.c
)

// TestStraceUnderLoad wants every thread's calls in their order, and every one
// that is missing told of, in its place and at the end. A small buffer makes
// sure that some are.
func TestStraceUnderLoad(t *testing.T) {
	for _, buffer := range []string{"", "--buffer=64K"} {
		t.Run(buffer, func(t *testing.T) {
			s := newStage(t)
			p := s.subject(compiled(t, s.Sandbox, "load"), fmt.Sprint(loadThreads), fmt.Sprint(loadBursts), fmt.Sprint(loadSize), fmt.Sprint(loadRest))
			args := []string{"-f", "-e", "trace=close", "-p", strconv.Itoa(p.PID)}
			if buffer != "" {
				args = append(args, buffer)
			}
			tr := s.strace(args...)
			p.say("go")
			took := p.line()
			require.NoError(t, p.Wait(patience))
			got := checkLoad(t, tr.lines(exitOK), loadThreads, loadCalls)
			require.Zero(t, got.missing)
			require.Zero(t, got.own)
			require.Equal(t, loadThreads*loadCalls, got.shown+got.lost)
			said := tr.stderr.String()
			us, err := strconv.Atoi(took)
			require.NoError(t, err)
			t.Logf("%d calls a second of the 300,000 that the load is to make; %d calls shown, %d lost; %s",
				loadThreads*loadCalls*1_000_000/us, got.shown, got.lost, said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:])
			if got.lost == 0 {
				require.Contains(t, said, "none lost")
			} else {
				require.Contains(t, said, fmt.Sprintf("%d lost", got.lost))
			}
			if buffer != "" {
				require.Positive(t, got.lost, "the buffer was not small enough")
			}
			require.Positive(t, got.shown)
		})
	}
}

// TestStraceSeesEveryCall has threads take the CPU from one another in the middle of
// their calls. Some kernels keep those of one thread from a program that another
// thread was preempted in.
func TestStraceSeesEveryCall(t *testing.T) {
	const threads, calls = 4, 15_000
	s := newStage(t)
	v := s.victim("closes", fmt.Sprint(threads), fmt.Sprint(calls))
	tr := s.strace("-f", "-e", "trace=close", "-p", strconv.Itoa(v.PID))
	require.NoError(t, v.Say("go"))
	_, err := v.Await(victim.EventReturned, 1, patience)
	require.NoError(t, err)
	got := checkLoad(t, tr.stop(exitOK), threads, calls)
	said := tr.stderr.String()
	require.Contains(t, said, "calls traced")
	t.Logf("%d calls shown, %d lost, %d missing; %s", got.shown, got.lost, got.missing, said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:])
	// What the tool itself asks of its maps while it is preempted costs a call now
	// and then, and it says so.
	require.Less(t, got.missing, threads*calls/1000)
	if got.missing > 0 {
		require.Regexp(t, `\d+ times, for whatever process, the kernel did not run`, said)
	}
	if got.lost > 0 {
		require.Contains(t, said, fmt.Sprintf("%d lost", got.lost))
	}
}

// loadSeen counts calls: those with a line, those told of as lost, those that nothing
// tells of, and others than the load's.
type loadSeen struct{ shown, lost, missing, own int }

// checkLoad follows each thread's descriptors and the calls lost in between.
func checkLoad(t *testing.T, lines []string, wantThreads, wantCalls int) (seen loadSeen) {
	t.Helper()
	call := regexp.MustCompile(`^close\((\d+)(\) += -1 EBADF \(Bad file descriptor\)|( <return lost>| <unfinished \.\.\.>)?\) += \?)$`)
	gap := regexp.MustCompile(`^<(\d+) calls lost>$`)
	order, of := whole(t, lines)
	threads := 0
	for _, tid := range order {
		next := loadFirst
		for _, l := range of[tid] {
			if m := gap.FindStringSubmatch(l); m != nil {
				n, _ := strconv.Atoi(m[1])
				next += n
				seen.lost += n
				continue
			}
			m := call.FindStringSubmatch(l)
			if m == nil {
				continue // its end
			}
			n, _ := strconv.Atoi(m[1])
			if n < loadFirst {
				seen.own++
				continue
			}
			if n < next {
				t.Fatalf("thread %s closes %d where %d was to come", tid, n, next)
			}
			seen.missing += n - next
			next = n + 1
			seen.shown++
		}
		if next == loadFirst+wantCalls {
			threads++
		} else if next != loadFirst {
			t.Errorf("thread %s: %d of %d calls shown or told of, the last of them:\n%s", tid, next-loadFirst, wantCalls,
				strings.Join(of[tid][max(len(of[tid])-4, 0):], "\n"))
		}
	}
	require.Equal(t, wantThreads, threads)
	return seen
}
