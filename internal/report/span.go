package report

import (
	"fmt"
	"math"
	"time"
)

// millis turns a count of milliseconds into a duration without overflow.
func millis(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(max(ms, 0)) * time.Millisecond
}

// span says how long something has lasted, to the second where a second
// matters: 850ms, 4.2s, 41s, 12m41s, 41m, 3h05m, 2d03h.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%gs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return pair(int64(d/time.Minute), "m", int64(d%time.Minute/time.Second), "s")
	case d < 24*time.Hour:
		return pair(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "m")
	}
	day := 24 * time.Hour
	return pair(int64(d/day), "d", int64(d%day/time.Hour), "h")
}

func pair(big int64, bigUnit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", big, bigUnit)
	}
	return fmt.Sprintf("%d%s%02d%s", big, bigUnit, small, smallUnit)
}

// age is the AGE column, as kubectl prints it (HumanDuration of
// k8s.io/apimachinery), with ms below two seconds.
func age(d time.Duration) string {
	s, m, h := int64(d/time.Second), int64(d/time.Minute), int64(d/time.Hour)
	switch {
	case s < 2:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case s < 120:
		return fmt.Sprintf("%ds", s)
	case m < 10:
		return shortPair(m, "m", s%60, "s")
	case m < 180:
		return fmt.Sprintf("%dm", m)
	case h < 8:
		return shortPair(h, "h", m%60, "m")
	case h < 48:
		return fmt.Sprintf("%dh", h)
	case h < 24*8:
		return shortPair(h/24, "d", h%24, "h")
	case h < 24*365*2:
		return fmt.Sprintf("%dd", h/24)
	case h < 24*365*8:
		return shortPair(h/24/365, "y", h/24%365, "d")
	}
	return fmt.Sprintf("%dy", h/24/365)
}

func shortPair(big int64, bigUnit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", big, bigUnit)
	}
	return fmt.Sprintf("%d%s%d%s", big, bigUnit, small, smallUnit)
}

// exact prints a measured duration with no more digits than its resolution
// gives, and never finer than a millisecond from a second on.
func exact(ns, resolutionNS uint64) string {
	if ns > math.MaxInt64 {
		ns = math.MaxInt64
	}
	step := uint64(1)
	if ns >= uint64(time.Second) {
		step = uint64(time.Millisecond)
	} else if ns >= uint64(time.Millisecond) {
		step = uint64(time.Microsecond)
	}
	for step*10 <= resolutionNS {
		step *= 10
	}
	return time.Duration(ns - ns%step).String()
}
