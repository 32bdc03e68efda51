package session

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hangtrace/hangtrace/internal/capture"
)

// kernelLines names kernel addresses. How a thread leaves the CPU is the same for
// all and left out.
func kernelLines(addrs []uint64, c *capture.Session) []string {
	if len(addrs) == 0 {
		return nil
	}
	names := c.Names(addrs)
	list := make([]string, len(addrs))
	for i, a := range addrs {
		if list[i] = names[a]; list[i] == "" {
			list[i] = fmt.Sprintf("0x%x", a)
		}
	}
	from := 0
	for i, name := range list[:min(len(list), 12)] {
		function, _, _ := strings.Cut(name, "+")
		if slices.Contains(schedulers, function) {
			from = i + 1
		}
	}
	return list[from:]
}

// schedulers are the kernel's functions that put a thread to sleep, whatever for.
var schedulers = []string{"__schedule", "schedule", "schedule_timeout", "schedule_hrtimeout_range", "schedule_hrtimeout_range_clock", "io_schedule", "io_schedule_timeout"}
