package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// notSupported adds ErrNotSupported to the chain of errors that mean so.
func notSupported(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotSupported):
		return err
	case lockedDown(err):
		return errLockdown
	case errors.Is(err, unix.EPERM): // which map or program it was says nothing to who lacks rights
		return fmt.Errorf("%w: BPF is refused: needs root, or CAP_BPF and CAP_PERFMON: %w", ErrNotSupported, unix.EPERM)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w by this kernel: %w", ErrNotSupported, err)
	}
	return fmt.Errorf("%w: %w", ErrNotSupported, err)
}

func readStats(coll *ebpf.Collection) map[string]uint64 {
	counts := make([]uint64, len(statSites))
	v := coll.Variables["stats"]
	if v == nil || v.Get(counts) != nil {
		return nil
	}
	stats := make(map[string]uint64)
	for i, n := range counts {
		if n > 0 {
			stats[statSites[i].Name] = n
		}
	}
	return stats
}
