package session

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/userstack"
)

// stackOfWords is a stack of words from 0x1000 on.
func stackOfWords(words ...uint64) []events.Segment {
	var data []byte
	for _, w := range words {
		data = binary.LittleEndian.AppendUint64(data, w)
	}
	return []events.Segment{{Addr: 0x1000, Data: data}}
}

// TestChains wants a chain again for the same words in the places that decided,
// and for no others.
func TestChains(t *testing.T) {
	now := time.Now()
	c := make(chains)
	r := &events.Strace{PC: 1, SP: 0x1000, BP: 2}
	s := userstack.CallStack{Read: []int64{8, 24}}
	c.learn(r, stackOfWords(0, 7, 0, 9), &s, []string{"f"}, now)
	other := *r
	other.SP = 0x1008
	for name, k := range map[string]struct {
		r     *events.Strace
		words []uint64
		after time.Duration
		want  bool
	}{
		"same":            {r, []uint64{0, 7, 0, 9}, 0, true},
		"locals differ":   {r, []uint64{5, 7, 6, 9, 8}, 0, true},
		"caller differs":  {r, []uint64{0, 7, 0, 10}, 0, false},
		"cut":             {r, []uint64{0, 7, 0}, 0, false},
		"elsewhere":       {&other, []uint64{0, 7, 0, 9}, 0, false},
		"long afterwards": {r, []uint64{0, 7, 0, 9}, chainAge, false},
	} {
		lines, ok := c.find(k.r, stackOfWords(k.words...), now.Add(k.after))
		if ok != k.want || ok && !slices.Equal(lines, []string{"f"}) {
			t.Errorf("%s: %v, %v", name, lines, ok)
		}
	}
	for i := range uint64(2 * mostOfPlace) {
		c.learn(r, stackOfWords(0, i, 0, 9), &s, nil, now)
	}
	if n := len(c[placeOf(r)]); n != mostOfPlace {
		t.Errorf("%d chains of one place", n)
	}
	c.learn(r, stackOfWords(0), &s, nil, now)
	if _, ok := c.find(r, stackOfWords(0), now); ok {
		t.Error("a chain that was cut was kept")
	}
}
