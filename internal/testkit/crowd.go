package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

// Crowd blocks n threads of one process on a volume whose daemon it stops, and
// waits until the volume has a request of each.
func (s *Sandbox) Crowd(fs *HangFS, n int) (*Victim, error) {
	v, err := s.StartVictimAs("crowd", "crowd", fs.MountPoint, strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	if err := fs.Stop(); err != nil {
		return nil, err
	}
	if err := v.Say("go"); err != nil {
		return nil, err
	}
	if _, err := v.Await(victim.EventBlocking, 1, time.Minute); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) { // the last of them get there
		waiting, err := fs.Waiting()
		if err != nil {
			return nil, err
		}
		if waiting >= n {
			return v, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d threads are blocked", waiting, n)
		}
	}
}

// Waiting is how many requests the volume's connection has open.
func (f *HangFS) Waiting() (int, error) {
	dir, err := f.ConnectionDir()
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "waiting"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
