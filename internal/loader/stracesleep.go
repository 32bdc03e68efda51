package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/hangtrace/hangtrace/bpf"
)

// Sleeps gives, by thread ID, where in the kernel threads sleep now that are
// inside a traced call: addresses, innermost first. It needs Stacks.
func (s *Strace) Sleeps() (map[int][]uint64, error) {
	slots, sleeps := s.coll.Maps["slots"], s.coll.Maps["sleeps"]
	keys := make([]uint32, 1024)
	values := make([]bpf.StraceStraceSlot, len(keys))
	list := make(map[int][]uint64)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := slots.BatchLookup(&cursor, keys, values, nil)
		for i, v := range values[:n] {
			var at bpf.StraceSleep
			if v.Tid == 0 || v.State != straceInside || sleeps.Lookup(keys[i], &at) != nil || at.Since == 0 {
				continue
			}
			list[int(v.Tid)] = append([]uint64(nil), at.Ips[:min(int(at.Depth), len(at.Ips))]...)
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("sleeping threads: %w", err)
		}
	}
}
