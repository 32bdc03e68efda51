package decode

import (
	"testing"

	"github.com/hangtrace/hangtrace/internal/syscalls"
)

func BenchmarkLine(b *testing.B) {
	stat := make([]byte, 144)
	mem := captured([]segment{{0x100, []byte("/var/lib/kubelet/pods/x\x00")}, {0x200, stat}})
	for _, tc := range []struct {
		name string
		args [6]uint64
	}{
		{"newfstatat", [6]uint64{cwd, 0x100, 0x200, 0}},
		{"read", [6]uint64{3, 0x200, 100}},
		{"futex", [6]uint64{0x100, 128, 2, 0}},
	} {
		c := mustCall(b, syscalls.AMD64, tc.name)
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Line(Input{Call: c, Args: tc.args, Returned: true, Entry: mem, Exit: mem}, Options{})
			}
		})
	}
}
