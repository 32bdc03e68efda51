package expendable

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"time"
)

const (
	namePrefix = "ht-"
	nameDigits = 12 // with the prefix the 15 bytes that the kernel keeps
	// scanEvery is how long a list of earlier children is good for: another
	// run at the same time can slip through, one after the other cannot.
	scanEvery = time.Second
)

// childName is what the child for a key calls itself.
func childName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return namePrefix + hex.EncodeToString(sum[:])[:nameDigits]
}

// earlier is a child that this runner did not start.
type earlier struct {
	pid         int
	startBootNS uint64
}

// leftBehind looks for a living child of another run by its name. The caller
// holds mu.
func (r *Runner) leftBehind(name string) (pid int, ok bool) {
	if r.earlier == nil || time.Since(r.scanned) > scanEvery {
		r.scan()
	}
	e, ok := r.earlier[name]
	return e.pid, ok && r.opts.Proc.Alive(e.pid, e.startBootNS)
}

func (r *Runner) scan() {
	r.earlier, r.scanned = map[string]earlier{}, time.Now()
	pids, err := r.opts.Proc.PIDs()
	if err != nil {
		return
	}
	own := map[int]bool{}
	for _, p := range r.children {
		own[p.pid] = true
	}
	for _, pid := range pids {
		name, err := r.opts.Proc.Comm(pid)
		if err != nil || own[pid] || len(name) != len(namePrefix)+nameDigits || !strings.HasPrefix(name, namePrefix) {
			continue
		}
		// Anybody may bear such a name; a user must not keep root from asking.
		p, err := r.opts.Proc.Process(pid)
		if err != nil || p.UID != 0 && p.UID != os.Getuid() {
			continue
		}
		r.earlier[name] = earlier{pid, p.StartBootNS}
	}
}
