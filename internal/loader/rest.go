package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/hangtrace/hangtrace/bpf"
)

// Rest is one thread's stay in a wait: it ends with the next context switch.
type Rest struct {
	TID                   int
	StartBootNS, Switches uint64
}

// restsMost is how many stays are kept before those of ended threads are looked
// for; the map holds twice as many.
const restsMost = 32768

// Rest has Tasks not look into these threads while they stay where they are.
// alive tells which threads there still are: it is asked when many have ended.
func (s *Snapshotter) Rest(list []Rest, alive func(tid int) bool) error {
	m := s.coll.Maps["resting"]
	if len(s.rests)+len(list) > restsMost {
		for tid := range s.rests {
			if alive(int(tid)) {
				continue
			}
			if err := m.Delete(tid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("forget thread %d: %w", tid, err)
			}
			delete(s.rests, tid)
		}
	}
	for _, r := range list {
		tid := uint32(r.TID)
		if _, known := s.rests[tid]; !known && len(s.rests) >= 2*restsMost {
			continue // a thread more is looked into at every pass
		}
		if err := m.Put(tid, bpf.SnapshotRest{StartNs: r.StartBootNS, Switches: r.Switches}); err != nil {
			return fmt.Errorf("remember thread %d: %w", tid, err)
		}
		s.rests[tid] = struct{}{}
	}
	return nil
}
