package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The load: 16 threads that make some 300,000 calls a second together.
const (
	loadThreads = 16
	loadBursts  = 30
	loadSize    = 1000
	loadRest    = 50_000 // us
	loadCalls   = loadBursts * loadSize
	loadFirst   = 1_000_000
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
			shown, lost := checkLoad(t, tr.lines(exitOK))
			require.Equal(t, loadThreads*loadCalls, shown+lost)
			said := tr.stderr.String()
			us, err := strconv.Atoi(took)
			require.NoError(t, err)
			t.Logf("%d calls a second of the 300,000 that the load is to make; %d calls shown, %d lost; %s",
				loadThreads*loadCalls*1_000_000/us, shown, lost, said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:])
			if lost == 0 {
				require.Contains(t, said, "none lost")
			} else {
				require.Contains(t, said, fmt.Sprintf("%d lost", lost))
			}
			if buffer != "" {
				require.Positive(t, lost, "the buffer was not small enough")
			}
			require.Positive(t, shown)
		})
	}
}

// checkLoad follows each thread's descriptors and the calls lost in between.
func checkLoad(t *testing.T, lines []string) (shown, lost int) {
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
				lost += n
				continue
			}
			m := call.FindStringSubmatch(l)
			if m == nil {
				continue // its end
			}
			n, _ := strconv.Atoi(m[1])
			if n != next {
				t.Fatalf("thread %s closes %d where %d was to come", tid, n, next)
			}
			next++
			shown++
		}
		if next == loadFirst+loadCalls {
			threads++
		} else if next != loadFirst {
			t.Errorf("thread %s: %d of %d calls shown or told of, the last of them:\n%s", tid, next-loadFirst, loadCalls,
				strings.Join(of[tid][max(len(of[tid])-4, 0):], "\n"))
		}
	}
	require.Equal(t, loadThreads, threads)
	return shown, lost
}
