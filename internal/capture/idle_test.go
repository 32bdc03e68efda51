package capture

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/correlate"
	"github.com/hangtrace/hangtrace/internal/expendable"
	"github.com/hangtrace/hangtrace/internal/mounts"
	"github.com/hangtrace/hangtrace/internal/proc"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// TestNothingIsWalkedWhileNothingHangs: the walker costs a tenth of a second to
// load; a node on which nothing hangs never pays that.
func TestNothingIsWalkedWhileNothingHangs(t *testing.T) {
	testkit.NeedBPF(t)
	box := testkit.New(t)
	fs, err := box.MountHangFS(testkit.HangFSOptions{MountPoint: filepath.Join(box.Dir, "vol")})
	if err != nil {
		t.Fatal(err)
	}
	v, err := box.StartVictim("ops", fs.MountPoint, "stat")
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := mounts.ParseKinds([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	p := proc.New("/proc")
	targets, err := FindTargets(p, []string{strconv.Itoa(v.PID)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Options{
		Proc: p, Sys: "/sys", Runner: expendable.NewRunner(expendable.Options{Proc: p}), Backend: BackendBPF,
		Targets: targets, Judge: correlate.Options{Threshold: time.Second, Kinds: kinds},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	look := func() int {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		snap, err := s.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(snap.Walks)
	}
	for range 3 {
		if n := look(); n != 0 || s.walker != nil {
			t.Fatalf("%d walks, walker %v, while nothing hangs", n, s.walker)
		}
	}
	if err := fs.Freeze(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Hang(1); err != nil {
		t.Fatal(err)
	}
	if n := look(); n != 2 || s.walker == nil {
		t.Errorf("%d walks, walker %v, while a call hangs; want two", n, s.walker)
	}
}
