package leftover

import "github.com/hangtrace/hangtrace/internal/correlate"

// Dangerous are the leftovers that hang whoever meets them, or the kubelet's
// next clean-up, or that already serve nobody: what a node should be looked at
// for. The others are untidy.
func Dangerous(list []*correlate.Leftover) []*correlate.Leftover {
	var out []*correlate.Leftover
	for _, l := range list {
		switch l.Class {
		case correlate.ClassUmountStuck, correlate.ClassHungMount, correlate.ClassDeadFuse:
			out = append(out, l)
		default:
			if l.Health == correlate.HealthHung {
				out = append(out, l)
			}
		}
	}
	return out
}
