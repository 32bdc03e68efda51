package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// fact is what /proc shows of a task's main thread. Only files that take no
// mmap_lock are read: no cmdline, environ or maps.
type fact struct {
	PID     string   `json:"pid"`
	Comm    string   `json:"comm"`
	State   string   `json:"state"`
	Wchan   string   `json:"wchan"`
	Syscall string   `json:"syscall"`
	Stack   []string `json:"stack"`
}

func printFacts(w io.Writer, pids []string) error {
	facts := make([]fact, 0, len(pids))
	for _, pid := range pids {
		facts = append(facts, readFact(filepath.Join("/proc", pid), pid))
	}
	return json.NewEncoder(w).Encode(facts)
}

// readFact leaves empty what is gone.
func readFact(dir, pid string) fact {
	text := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(b))
	}
	f := fact{PID: pid, Comm: text("comm"), Wchan: text("wchan"), Syscall: text("syscall")}
	for line := range strings.Lines(text("status")) {
		if rest, ok := strings.CutPrefix(line, "State:"); ok {
			f.State = strings.Fields(rest)[0]
		}
	}
	for line := range strings.Lines(text("stack")) {
		f.Stack = append(f.Stack, strings.TrimSpace(strings.TrimPrefix(line, "[<0>]")))
	}
	return f
}
