package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

func TestLossWords(t *testing.T) {
	const looks = "1 look not made in time (no CPU, too much to look at, or nobody took the output); hangs may be missing."
	for _, c := range []struct {
		lost correlate.Counts
		want string
	}{
		{correlate.Counts{"ring": 12, "slots": 3}, "Lost: 12 in ring, 3 in slots; hangs may be missing."},
		{correlate.Counts{"path_fault": 2}, "Partial: 2 in path_fault"},
		{correlate.Counts{"sleeps": 4}, "Partial: 4 in sleeps"},
		{correlate.Counts{"looks": 1}, looks},
		{correlate.Counts{"looks": 1, "ring": 2, "stack_fault": 3},
			"Lost: 2 in ring; hangs may be missing. " + looks + " Partial: 3 in stack_fault"},
	} {
		assert.Equal(t, c.want, lossWords("Lost: ", "Partial: ", "; hangs may be missing.", c.lost))
	}
}
