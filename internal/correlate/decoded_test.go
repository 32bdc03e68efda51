package correlate

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// TestDecodedIsTheSame judges with and without a Decoded, again, and after the
// raw passes were given back: always the same.
func TestDecodedIsTheSame(t *testing.T) {
	for _, backend := range []string{"bpf", "proc"} {
		t.Run(backend, func(t *testing.T) {
			s := newScene()
			s.proc = backend == "proc"
			for tid := 1; tid <= 3; tid++ { // alike: they share a stack
				s.thread(tid, nrFstatat, []uint64{atFDCWD, s.str(fuseVol + "/f")}, fuseStat)
			}
			s.thread(4, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat).State = stateKillable
			s.thread(5, nrStat, []uint64{s.str(cephVol + "/e")}, cephStat)
			s.moved[5] = true
			text := func(snap *facts.Snapshot, opts Options) string {
				r, err := Judge(snap, opts)
				require.NoError(t, err)
				out, err := json.Marshal(r)
				require.NoError(t, err)
				return string(out)
			}
			snap, opts := s.snapshot(), options(t, "all")
			if s.proc { // it knows how long by its passes only
				opts.Threshold = 1
			}
			plain := text(snap, opts)
			require.Contains(t, plain, `"hung_threads":4`)
			opts.Decoded = NewDecoded()
			require.Equal(t, plain, text(snap, opts))
			require.Equal(t, plain, text(snap, opts), "from memory")
			_, err := Suspects(snap, opts.Decoded)
			require.NoError(t, err)
			opts.Decoded.Release(snap)
			for _, p := range append(snap.Passes, snap.Walks...) {
				require.Len(t, p.Data, 1)
			}
			require.Equal(t, plain, text(snap, opts), "after the release")
		})
	}
}

// TestDecodedForgets holds on to the passes of one snapshot only.
func TestDecodedForgets(t *testing.T) {
	d := NewDecoded()
	for range 5 {
		s := newScene()
		s.thread(1, nrStat, []uint64{s.str(cephVol + "/d")}, cephStat)
		opts := options(t, "all")
		opts.Decoded = d
		_, err := Judge(s.snapshot(), opts)
		require.NoError(t, err)
		require.LessOrEqual(t, len(d.tasks)+len(d.sightings), 2)
	}
}

// TestRests: what waits by nature need not be looked into again, what may hang
// must be, and what rests already is not named twice.
func TestRests(t *testing.T) {
	s := newScene()
	s.thread(1, nrFutexWait, nil, "futex_wait_queue futex_wait do_futex"+inCall)
	s.thread(2, nrRead, []uint64{9}, "anon_pipe_read vfs_read"+inCall)
	s.thread(3, nrFstatat, []uint64{atFDCWD, s.str(fuseVol + "/f")}, fuseStat)
	s.thread(4, nrFutexWait, nil, "futex_wait_queue futex_wait do_futex"+inCall)
	s.moved[4] = true
	s.thread(5, nrFutexWait, nil, "futex_wait_queue futex_wait do_futex"+inCall).State = stateD
	s.thread(6, nrFutexWait, nil, "").Resting = true
	s.thread(7, nrStat, nil, lockWalk)
	list, err := Rests(s.snapshot(), nil)
	require.NoError(t, err)
	var tids []int
	for _, r := range list {
		tids = append(tids, r.TID)
		require.Equal(t, uint64(5), r.Switches)
	}
	require.Equal(t, []int{1, 2}, tids)
	require.Len(t, s.judge(t, options(t, "all")).Hangs, 1)
}
