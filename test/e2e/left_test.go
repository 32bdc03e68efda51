package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nothingLeft fails if a child of a tool that has ended still lives: orphans
// come to the supervisor, our parent.
func nothingLeft(t testing.TB) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left = orphans(); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes are left: %v", left)
			return
		}
	}
}

// orphans lists the processes that the supervisor inherited, zombies not
// counted.
func orphans() []string {
	var out []string
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		at := strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[at+1:])) // from the third, state, on
		var ppid, threads, id int
		fmt.Sscan(fields[1], &ppid)
		fmt.Sscan(fields[17], &threads)
		fmt.Sscan(string(text), &id)
		// The first thread may be a zombie while another one hangs.
		if ppid == os.Getppid() && id != os.Getpid() && (fields[0] != "Z" || threads > 1) {
			out = append(out, string(text[:at+1])+" "+fields[0])
		}
	}
	return out
}

// bpfObjects lists the BPF programs and links that a process holds, as
// "prog_id 17", from its descriptors.
func bpfObjects(t testing.TB, pid int) []string {
	t.Helper()
	var out []string
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		link := strings.Contains(string(text), "link_id:")
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if key == "link_id" || key == "prog_id" && !link {
				out = append(out, key+" "+strings.TrimSpace(value))
			}
		}
	}
	return out
}
