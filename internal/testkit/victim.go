package testkit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// VictimName is what a victim's process, its threads and its executable are
// called.
const VictimName = "kubelet"

// Victim is a process that hangs on purpose.
type Victim struct {
	*Process
	lines chan victim.Line
	seen  []victim.Line
}

// StartVictim starts a victim called "kubelet" and waits until it is prepared.
// The modes are those of package victim:
//
//	"ops", DIR, OPERATION...   blocks one thread per operation at Go
//	"jam", DIR                 jams its own mmap_lock at Go (freeze WRITE, or all)
//	"exit", DIR                blocks in its own exit at Go (freeze WRITE)
//	"umount", MOUNTPOINT       unmounts at Go: on fuseblk with a stopped daemon it
//	                           blocks in task_work after the call
//	"idle", DIR, "load"        waits in every way that is no hang
//	"crowd", DIR, N            blocks N threads in a stat at Go, see Crowd
//	"rest", N                  N threads that wait for nothing
//	"naps", DIR, N, DURATION   N threads that sleep and stat by turns
//	"closes", N, CALLS         N threads that close what they do not have, at Go
//	"kubelet", OPTIONS         walks pod directories as the kubelet does
func (s *Sandbox) StartVictim(mode string, args ...string) (*Victim, error) {
	return s.StartVictimAs(VictimName, mode, args...)
}

// StartVictimAs starts a victim of another name.
func (s *Sandbox) StartVictimAs(name, mode string, args ...string) (*Victim, error) {
	p, err := s.startHidden(name, wordVictim, append([]string{mode}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("victim %s: %w", mode, err)
	}
	v := &Victim{Process: p, lines: make(chan victim.Line, 1024)}
	go func() {
		defer close(v.lines)
		for lines := json.NewDecoder(p.Stdout); ; {
			var l victim.Line
			if lines.Decode(&l) != nil {
				return
			}
			v.lines <- l
		}
	}()
	if _, err := v.Await(victim.EventPrepared, 1, slowed(30*time.Second)); err != nil {
		return nil, fmt.Errorf("victim %s: %w", mode, err)
	}
	return v, nil
}

// Say writes a word to the victim: "go" or "quit".
func (v *Victim) Say(word string) error {
	_, err := fmt.Fprintln(v.Stdin, word)
	return err
}

// Await waits until the victim has printed n lines of an event, and returns
// all it has printed of it. Nothing else may read the victim's lines meanwhile.
func (v *Victim) Await(event string, n int, limit time.Duration) ([]victim.Line, error) {
	deadline := time.After(limit)
	for {
		if got := v.of(event); len(got) >= n {
			return got, nil
		}
		select {
		case l, ok := <-v.lines:
			if !ok {
				return v.of(event), fmt.Errorf("victim %d ended before %d lines %q", v.PID, n, event)
			}
			v.seen = append(v.seen, l)
		case <-deadline:
			return v.of(event), fmt.Errorf("victim %d has printed %d of %d lines %q after %v", v.PID, len(v.of(event)), n, event, limit)
		}
	}
}

func (v *Victim) of(event string) []victim.Line {
	var out []victim.Line
	for _, l := range v.seen {
		if l.Event == event {
			out = append(out, l)
		}
	}
	return out
}

// Hang says "go", waits until n threads are about to block, and then until the
// kernel shows each of them blocked.
func (v *Victim) Hang(n int) ([]victim.Line, error) {
	if err := v.Say("go"); err != nil {
		return nil, err
	}
	lines, err := v.Await(victim.EventBlocking, n, slowed(30*time.Second))
	if err != nil {
		return lines, err
	}
	for _, l := range lines {
		if _, err := AwaitBlocked(v.PID, l.TID, slowed(30*time.Second)); err != nil {
			return lines, fmt.Errorf("%s: %w", l.Op, err)
		}
	}
	return lines, nil
}
