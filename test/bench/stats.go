package main

import (
	"fmt"
	"math"
	"slices"
)

// quantile is that of a list, between two values where it falls between.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(list))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func median(list []float64) float64 { return quantile(list, 0.5) }

// spread prints a median and the quartiles beside it.
func spread(list []float64, unit string) string {
	if len(list) == 0 {
		return "not measured"
	}
	m := median(list)
	text := figure(m) + unit
	if len(list) > 1 {
		text += fmt.Sprintf(" (%s to %s, %d)", figure(quantile(list, 0.25)), figure(quantile(list, 0.75)), len(list))
	}
	return text
}

// figure prints a number with three digits that count, and a ratio near 1 with
// as many behind the point as tell.
func figure(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "?"
	case a >= 1e6:
		return fmt.Sprintf("%.2f M", x/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.0f,%03d", math.Floor(x/1000), int(x)%1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", x)
	case a >= 10:
		return fmt.Sprintf("%.1f", x)
	case a >= 2:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}
