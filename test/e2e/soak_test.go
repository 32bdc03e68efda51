package e2e

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/testkit/victim"
)

const (
	soakMemory = 64 << 20 // the most that a session may have in memory
	soakEvery  = 5 * time.Second
	soakParts  = 10
	soakHangs  = 3 // threads that hang in each life of the kubelet
)

// TestSoak lets sessions watch for HANGTRACE_SOAK (a duration, "30m") a kubelet
// that restarts all the time and a process that bears and buries others: with
// hooks on their calls, by looking, and by looking at every process of the
// node. Days of a node's life go by: a volume is mounted, hangs, comes back and
// goes in each life of the kubelet. Each hang has to be told of once, with its
// end, and the sessions must not grow.
func TestSoak(t *testing.T) {
	text := os.Getenv("HANGTRACE_SOAK")
	if text == "" {
		t.Skip("takes as long as HANGTRACE_SOAK says: make soak")
	}
	duration, err := time.ParseDuration(text)
	require.NoError(t, err)

	k := newSoak(t)
	for begin, i := time.Now(), 0; time.Since(begin) < duration; i++ {
		k.life(i)
	}
	close(k.stop)
	k.background.Wait()
	k.churn.say("enough")
	t.Logf("born: %s (threads, processes); mounted %d times; lives of the kubelet: %d", k.churn.line(), k.mounted, k.lives)
	require.NoError(t, k.mountFailed)
	// The dead free what they had, and a sweep does for those that could not.
	traced := k.watchers[0].PID
	k.until("no slot and no target that is dead", func() bool {
		return len(staleSlots(t, traced)) == 0 && staleTargets(t, traced) == 0
	})
	for i, w := range k.watchers {
		list := w.stop(exitHung)
		k.t.Logf("%s:\n%s", w.name, table(k.samples[i]))
		k.told(w.name, list)
		k.flat(k.samples[i])
	}
}

// watcher is a session, and what it is called here.
type watcher struct {
	*live
	name string
}

// soak is what runs all the time.
type soak struct {
	*stage
	name           string // of the kubelet
	watchers       []watcher
	churn          *helper
	samples        [3][]sample
	hung           []hungThread
	lives, mounted int
	mountFailed    error
	stop           chan struct{}
	background     sync.WaitGroup
}

// hungThread is a thread that hung, and has to be told of.
type hungThread struct {
	pid  int
	line victim.Line
	at   time.Time
}

func newSoak(t *testing.T) *soak {
	s := newStage(t)
	k := &soak{stage: s, name: fmt.Sprintf("kubel%d", os.Getpid()), stop: make(chan struct{})}
	healthy := s.mount(filepath.Join(s.Dir, "healthy"), "")
	first := s.mount(filepath.Join(s.Dir, "first"), "")
	v, err := s.StartVictimAs(k.name, "ops", first.MountPoint, "stat")
	require.NoError(t, err)
	k.churn = s.hidden("churn", wordChurn, file(healthy))
	for _, w := range []struct {
		name string
		args []string
	}{
		{"hooks", []string{"--pid=" + k.name, pid(k.churn.PID), "--mode=trace"}},
		{"looks", []string{"--pid=" + k.name, pid(k.churn.PID), "--mode=sample"}},
		{"looks at all", []string{"--pid=all", "--mode=sample"}},
	} {
		args := append([]string{"--threshold=500ms", "--fs=all", s.kubeletRoot()}, w.args...)
		k.watchers = append(k.watchers, watcher{watch(t, s.Sandbox, args...), w.name})
	}
	require.NoError(t, v.Kill())
	k.background.Go(func() { k.mounted, k.mountFailed = mountsComeAndGo(s.Dir, k.stop) })
	k.background.Go(func() {
		every(k.stop, soakEvery, func() {
			for i, w := range k.watchers {
				k.samples[i] = append(k.samples[i], take(w.PID))
			}
		})
	})
	return k
}

// life is one of the kubelet: its volume is mounted, hangs, comes back, goes.
func (k *soak) life(i int) {
	t := k.t
	uid := fmt.Sprintf("%08x-7a57-4f6e-9f0e-5c2d8a1b9d42", i)
	fs := k.csi(uid, fmt.Sprintf("pvc-soak-%d", i))
	v, err := k.StartVictimAs(k.name, "ops", fs.MountPoint, "stat", "read", "fault")
	require.NoError(t, err)
	time.Sleep(time.Second) // the name is followed
	for _, line := range k.hang(v, fs, soakHangs) {
		k.hung = append(k.hung, hungThread{v.PID, line, time.Now()})
	}
	time.Sleep(1500*time.Millisecond + time.Duration(rand.Int63n(int64(2*time.Second))))
	require.NoError(t, fs.Thaw())
	_, err = v.Await(victim.EventReturned, soakHangs, patience)
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, v.Kill())
	require.NoError(t, fs.Kill())
	require.NoError(t, fs.Detach())
	require.NoError(t, os.RemoveAll(filepath.Join(k.tree.Root, "pods", uid)))
	k.lives++
}

// told holds a session to what happened: each hang seen once and ended once, or,
// where a busy machine let it fall between two looks, told of at its return, or
// those looks said to be missing. What else it tells of are slow calls that did
// return, and others' hangs.
func (k *soak) told(who string, list []correlate.Event) {
	told := map[string][]correlate.EventKind{}
	for _, e := range list {
		if e.Hang != nil && e.Kind != correlate.EventHangUpdate {
			key := fmt.Sprintf("%d/%d", e.Task.PID, e.Task.TID)
			told[key] = append(told[key], e.Kind)
		}
	}
	late, unseen := 0, 0
	for _, h := range k.hung { // in the order in which they hung: numbers are used again
		key := fmt.Sprintf("%d/%d", h.pid, h.line.TID)
		switch got := told[key]; {
		case len(got) >= 2 && got[0] == correlate.EventHangSeen && got[1] == correlate.EventHangEnded:
			told[key] = got[2:]
		case len(got) >= 1 && got[0] == correlate.EventSlowCall:
			told[key] = got[1:]
			late++
		case len(got) == 0 && saidLate(list, h.at):
			unseen++
		default:
			k.t.Errorf("%s: %s %s %s: %s\n%s", who, h.line.Op, key, h.line.Path, got, brief(around(list, h.at)))
		}
	}
	slow, others := 0, 0
	for _, kinds := range told {
		switch fmt.Sprint(kinds) {
		case "[]":
		case "[slow_call]":
			slow++
		default:
			others++
		}
	}
	if others > 0 && !strings.Contains(who, "all") {
		k.t.Errorf("%s: %d hangs that were none", who, others)
	}
	k.t.Logf("%s: %d hangs, %d of them told of at their return, %d while it said that looks are missing; %d slow calls; %d hangs of others; lost: %v",
		who, len(k.hung), late, unseen, slow, others, list[len(list)-1].Summary.Lost)
}

// saidLate tells whether a session said, of the time of a hang, that it looked
// too late.
func saidLate(list []correlate.Event, at time.Time) bool {
	var before, behind uint64
	for _, e := range list {
		switch {
		case e.Kind != correlate.EventLost:
		case e.Time.Before(at):
			before = e.Lost["looks"]
		case e.Time.Before(at.Add(10 * time.Second)):
			behind = e.Lost["looks"]
		}
	}
	return behind > before
}

// around is what a session told of when something happened.
func around(list []correlate.Event, at time.Time) []correlate.Event {
	const before, behind = 5 * time.Second, 10 * time.Second
	var out []correlate.Event
	for _, e := range list {
		if e.Time.After(at.Add(-before)) && e.Time.Before(at.Add(behind)) {
			out = append(out, e)
		}
	}
	return out
}

// flat wants no growth from the second tenth of the time to the last.
func (k *soak) flat(list []sample) {
	t := k.t
	require.Greater(t, len(list), 2*soakParts, "too short to tell")
	early, late := parts(list)[1], parts(list)[soakParts-1]
	assert.LessOrEqual(t, most(list, rss), int64(soakMemory))
	assert.LessOrEqual(t, middle(late, rss), middle(early, rss)+middle(early, rss)/5, "memory")
	assert.LessOrEqual(t, middle(late, fds), middle(early, fds), "descriptors")
	assert.LessOrEqual(t, middle(late, threads), middle(early, threads)+2, "threads")
	assert.LessOrEqual(t, middle(late, objects), middle(early, objects), "BPF objects")
	assert.LessOrEqual(t, middle(late, children), middle(early, children)+1, "children")
	assert.Empty(t, stayed(list), "children that stayed")
}
