package loader

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/testkit"
)

// A thread that is seeded as it ends frees no slot: the sweep does, and leaves
// that of a living one.
func TestSweep(t *testing.T) {
	testkit.NeedBPF(t)
	tr, err := NewTracer(TraceOptions{Threshold: time.Second, HZ: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	const read = 0
	for _, pid := range []int{dead.Process.Pid, os.Getpid()} {
		if err := tr.Seed(pid, pid, read, [6]uint64{7}); err != nil {
			t.Skip(err) // before 5.14
		}
	}
	inFlight := func() int {
		pass := tr.InFlight(0, facts.Clock{HZ: 100})
		return len(pass.Data) / (8 + slotSize)
	}
	if n := inFlight(); n != 2 {
		t.Fatalf("%d slots in use", n)
	}
	if freed := tr.Sweep(); freed != 1 {
		t.Errorf("%d slots freed", freed)
	}
	if n := inFlight(); n != 1 {
		t.Errorf("%d slots in use after the sweep", n)
	}
	if freed := tr.Sweep(); freed != 0 {
		t.Errorf("%d more slots freed", freed)
	}
}
