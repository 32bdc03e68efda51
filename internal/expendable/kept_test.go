package expendable

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func keep(t *testing.T, r *Runner) *Kept {
	t.Helper()
	k, err := r.Keep("k")
	must(t, err)
	t.Cleanup(k.Close)
	return k
}

func TestKeptAnswersAgainAndAgain(t *testing.T) {
	r := NewRunner(Options{Grace: long})
	k := keep(t, r)
	for range 3 {
		a, err := k.Ask(t.Context(), cmdline(os.Getpid()), long)
		if err != nil || a.Err != "" || !slices.Equal(a.Args, args()) {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	// What the child says of a request is not the end of the child.
	if a, err := k.Ask(t.Context(), cmdline(1<<30), long); err != nil || !strings.Contains(a.Err, "no such file") {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := r.Do(t.Context(), "k", []Request{cmdline(1)}, long); err == nil {
		t.Error("a second child for the same key")
	}
	k.Close()
	if _, err := k.Ask(t.Context(), cmdline(os.Getpid()), long); !errors.Is(err, os.ErrClosed) {
		t.Errorf("asked when closed: %v", err)
	}
	if _, err := r.Do(t.Context(), "k", []Request{cmdline(os.Getpid())}, long); err != nil {
		t.Errorf("the key is free: %v", err)
	}
}

func TestKeptIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		req   Request
		after time.Duration
		says  string
	}{
		"hangs": {Request{Op: opHang, Path: fifo(t), Len: 5}, 300 * time.Millisecond, "deadline passed"},
		"ends":  {Request{Op: opExit}, long, "ended early"},
		"junk":  {Request{Op: opJunk}, long, `index\":7`},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRunner(Options{Grace: long})
			k := keep(t, r)
			for range 2 { // and stays so
				_, err := k.Ask(t.Context(), c.req, c.after)
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("%v, want %s", err, c.says)
				}
			}
			if left := r.Abandoned(); len(left) != 0 {
				t.Errorf("abandoned %+v", left)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := keep(t, NewRunner(Options{Grace: long}))
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := k.Ask(ctx, Request{Op: opHang, Path: fifo(t)}, long); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
