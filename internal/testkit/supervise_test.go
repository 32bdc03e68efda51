package testkit

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const envLeave = "HANGTRACE_TESTKIT_LEAVE"

// TestLeaveEverything is run by TestNothingSurvivesItsUser in another process,
// which is killed.
func TestLeaveEverything(t *testing.T) {
	if os.Getenv(envLeave) == "" {
		return
	}
	s, f := mountTest(t)
	require.NoError(t, f.Freeze())
	p := reader(t, s, filepath.Join(f.MountPoint, "data"))
	heldAtLeast(t, f, "LOOKUP", 1)
	fmt.Println("left", os.Getpid(), f.Daemon(), p.PID)
	time.Sleep(time.Minute)
}

func TestNothingSurvivesItsUser(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			s := New(t)
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestLeaveEverything$")
			cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
				return strings.HasPrefix(v, "HANGTRACE_TESTKIT_")
			}), envLeave+"=1")
			p, err := s.Start(cmd)
			require.NoError(t, err)
			var pids [3]int
			for lines := bufio.NewScanner(p.Stdout); lines.Scan(); {
				if n, _ := fmt.Sscanf(lines.Text(), "left %d %d %d", &pids[0], &pids[1], &pids[2]); n == 3 {
					break
				}
			}
			require.NotZero(t, pids[2])
			require.NoError(t, p.Signal(sig))
			require.Error(t, p.Wait(20*time.Second))
			for _, pid := range pids {
				awaitEnd(t, pid)
			}
		})
	}
}

// awaitEnd waits until a process is gone, or a zombie of our own supervisor.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		th, err := ReadThread(pid, pid)
		if err != nil || th.State == "Z" {
			return
		}
		require.False(t, time.Now().After(deadline), "process %d lives: %s in %s", pid, th.State, th.Wchan)
	}
}
