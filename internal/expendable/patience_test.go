package expendable

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestWorkingChildIsWaitedFor has a child compute past its deadline: for a while
// it may, for ever it may not, nor past the end of its caller's time.
func TestWorkingChildIsWaitedFor(t *testing.T) {
	work := func(d time.Duration) []Request { return []Request{{Op: opWork, Len: int(d.Milliseconds())}} }
	r := NewRunner(Options{Grace: long})
	if _, err := r.Do(t.Context(), "works", work(2*time.Second), time.Second); err != nil {
		t.Errorf("a child at work: %v", err)
	}
	begin := time.Now()
	if _, err := r.Do(t.Context(), "works on", work(10*time.Minute), 500*time.Millisecond); !errors.Is(err, ErrDeadline) {
		t.Errorf("a child that never comes to an end: %v", err)
	}
	if took := time.Since(begin); took > long {
		t.Errorf("it was waited for during %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := r.Do(ctx, "works on", work(10*time.Minute), 1500*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the end of the caller's time: %v", err)
	}
}

// TestUnreadAnswersCountAsWork is for when this process has no time to read.
func TestUnreadAnswersCountAsWork(t *testing.T) {
	r := NewRunner(Options{Grace: long})
	p, err := r.begin("unread", "")
	must(t, err)
	defer func() { p.hangUp(); r.end(p) }()
	input, err := encode(hello{Name: childName("unread"), Proc: "/proc", Requests: 1}, []Request{cmdline(1)})
	must(t, err)
	_, err = p.requests.Write(input)
	must(t, err)
	for range 600 {
		if unread(p) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("nothing to read")
}
