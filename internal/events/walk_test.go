package events

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// FuzzDecodeWalk: every input gives a walk or an error, and agreeing with
// itself a walk keeps its requests.
func FuzzDecodeWalk(f *testing.F) {
	for kind, size := range walkSizes {
		if size == 0 {
			continue
		}
		rec := make([]byte, size+16)
		for i := range rec {
			rec[i] = byte(i)
		}
		binary.LittleEndian.PutUint32(rec, uint32(kind))
		binary.LittleEndian.PutUint32(rec[4:], uint32(len(rec)))
		f.Add(rec, int64(250))
		f.Add(append(rec, rec...), int64(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, hz int64) {
		w, _ := DecodeWalk(facts.Pass{Format: facts.FormatBPFWalk, Data: data}, facts.Clock{HZ: hz})
		both := AgreeWalks(w, w)
		require.Len(t, both.FuseRequests, len(w.FuseRequests))
		require.Len(t, both.MDSRequests, len(w.MDSRequests))
		require.Len(t, both.Locks, len(w.Locks))
	})
}

func TestDecodeWalkRefuses(t *testing.T) {
	clock := facts.Clock{}
	for name, p := range map[string]facts.Pass{
		"format":    {Format: facts.FormatBPFTask},
		"kind":      {Format: facts.FormatBPFWalk, Data: []byte{1, 0, 0, 0, 8, 0, 0, 0}},
		"short":     {Format: facts.FormatBPFWalk, Data: []byte{32, 0, 0}},
		"size":      {Format: facts.FormatBPFWalk, Data: []byte{32, 0, 0, 0, 8, 0, 0, 0}},
		"truncated": {Format: facts.FormatBPFWalk, Data: []byte{32, 0, 0, 0, 24, 0, 0, 0}},
	} {
		_, err := DecodeWalk(p, clock)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

func TestAgreeWalks(t *testing.T) {
	waiter := func(tid int, start uint64) Waiter { return Waiter{TID: tid, StartNS: start} }
	a := Walk{
		MDSRequests: []MDSRequest{
			{Addr: 1, TID: 10, Waiters: []Waiter{waiter(5, 50), waiter(6, 60)}},
			{Addr: 2, TID: 11},
		},
		Locks: []Lock{{Addr: 3, OwnerTID: 5, Waiters: []Waiter{waiter(7, 70)}}, {Addr: 4, Waiters: []Waiter{waiter(8, 80)}}},
		Pages: []PageWait{{Addr: 9, Waiters: []Waiter{waiter(9, 90)}}},
	}
	b := Walk{
		AtNS: 2,
		MDSRequests: []MDSRequest{
			{Addr: 1, TID: 10, Waiters: []Waiter{waiter(5, 50), waiter(6, 61)}}, // the TID was reused
			{Addr: 2, TID: 12}, // the memory was reused
			{Addr: 3, TID: 13}, // new
		},
		Locks: []Lock{{Addr: 3, OwnerTID: 6, Waiters: []Waiter{waiter(7, 70)}}, {Addr: 4, Waiters: []Waiter{waiter(8, 80)}}},
		Pages: []PageWait{{Addr: 9, Waiters: []Waiter{waiter(10, 90)}}},
	}
	got := AgreeWalks(a, b)
	require.Equal(t, uint64(2), got.AtNS)
	require.Equal(t, []MDSRequest{{Addr: 1, TID: 10, Waiters: []Waiter{waiter(5, 50)}}}, got.MDSRequests)
	require.Equal(t, []Lock{{Addr: 4, Waiters: []Waiter{waiter(8, 80)}}}, got.Locks, "the first lock changed hands")
	require.Empty(t, got.Pages, "nobody waits in both")
	require.Len(t, b.MDSRequests[0].Waiters, 2, "b is not changed")
}

func TestPeer(t *testing.T) {
	v4 := []byte{2, 0, 0x1a, 0x85, 10, 99, 0, 1}
	v6 := append([]byte{10, 0, 0x0c, 0xe4, 0, 0, 0, 0}, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
	for _, tt := range []struct {
		kind byte
		addr []byte
		want string
	}{
		{1, v4, "v1:10.99.0.1:6789"},
		{2, v4, "v2:10.99.0.1:6789"},
		{1, v6, "v1:[2001:db8::1]:3300"},
		{2, v6, "v2:[2001:db8::1]:3300"},
		{3, v4, "any:10.99.0.1:6789"},
		{0, v4, "10.99.0.1:6789"},
		{0, nil, ""},
		{1, []byte{2, 0, 0, 0, 0, 0, 0, 0}, ""},
		{1, []byte{99, 0, 1, 1}, ""},
	} {
		b := make([]byte, 40)
		b[0] = tt.kind
		copy(b[8:], tt.addr)
		f := &fields{b: b}
		require.Equal(t, tt.want, f.peer())
		require.Equal(t, 40, f.at)
	}
}
