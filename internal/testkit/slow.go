package testkit

import (
	"os"
	"strconv"
	"time"
)

// Slow tells how many times as long as usual everything may take here
// (HANGTRACE_SLOW): in a guest without KVM a second's work takes ten and more.
func Slow() int {
	if n, err := strconv.Atoi(os.Getenv("HANGTRACE_SLOW")); err == nil && n > 1 {
		return n
	}
	return 1
}

// slowed is a time limit as it is on this machine.
func slowed(d time.Duration) time.Duration { return d * time.Duration(Slow()) }
