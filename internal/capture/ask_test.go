package capture

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// opHang never answers.
const opHang expendable.Op = "hang"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == expendable.ChildCommand {
		os.Exit(expendable.Main(os.Stdin, os.Stdout, map[expendable.Op]expendable.Handler{
			opHang: func(expendable.Request, func(expendable.Answer)) (expendable.Answer, error) {
				time.Sleep(time.Hour)
				return expendable.Answer{}, nil
			},
		}))
	}
	testkit.Main(m)
}

// TestAskLeavesOutWhatHangs asks about three processes, one of which the child
// hangs on: the others must be answered, and the culprit remembered.
func TestAskLeavesOutWhatHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(p string) []expendable.Request {
		return []expendable.Request{{Op: expendable.OpReadfile, Root: "/", Path: expendable.Raw(p), Max: 64}}
	}
	s := &Session{opts: Options{Runner: expendable.NewRunner(expendable.Options{})}, cache: newCache()}
	work := map[int][]expendable.Request{1: read(file), 2: {{Op: opHang}}, 3: append(read(file), read(file)...), 4: nil}
	for range 2 { // the second time it is known what hangs
		replies := s.ask(t.Context(), work)
		if len(replies) != 3 {
			t.Fatalf("%d replies, want 3", len(replies))
		}
		for pid, n := range map[int]int{1: 1, 3: 2} {
			r := replies[pid]
			if r.err != nil || len(r.answers) != n {
				t.Fatalf("process %d: %v, %v", pid, r.answers, r.err)
			}
			for _, a := range r.answers {
				if string(a.Data) != "text" {
					t.Errorf("process %d: answer %q (%s)", pid, a.Data, a.Err)
				}
			}
		}
		if err := replies[2].err; !errors.Is(err, expendable.ErrDeadline) {
			t.Errorf("the process that hangs: %v", err)
		}
		if !s.cache.jammed[2] || len(s.cache.jammed) != 1 {
			t.Errorf("remembered as jammed: %v", s.cache.jammed)
		}
	}
	if left := s.opts.Runner.Abandoned(); len(left) > 0 {
		t.Errorf("abandoned: %v", left)
	}
}
