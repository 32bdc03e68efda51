package strace

import (
	"io"
	"testing"

	"github.com/hangtrace/hangtrace/internal/events"
	"github.com/hangtrace/hangtrace/internal/syscalls"
)

// BenchmarkRecord is what one call costs the reader: its two records. With -c
// nothing may be allocated, as most calls are only counted.
func BenchmarkRecord(b *testing.B) {
	stat := segment(nil, 0x2000, make([]byte, 144), false)
	path := segment(nil, 0x1000, []byte("/var/lib/kubelet/pods/x\x00"), true)
	for _, bc := range []struct {
		name string
		call string
		args [6]uint64
		in   []byte
		out  []byte
		o    Options
	}{
		{"close", "close", [6]uint64{3}, nil, nil, Options{}},
		{"newfstatat", "newfstatat", [6]uint64{cwd, 0x1000, 0x2000}, path, stat, Options{}},
		{"newfstatat -f -tt -T -o", "newfstatat", [6]uint64{cwd, 0x1000, 0x2000}, path, stat, Options{Prefix: true, Clock: Microseconds, Duration: true}},
		{"newfstatat -c", "newfstatat", [6]uint64{cwd, 0x1000, 0x2000}, path, stat, Options{Summary: true, Only: true}},
		{"newfstatat --ring", "newfstatat", [6]uint64{cwd, 0x1000, 0x2000}, path, stat, Options{Ring: 100, Threshold: 1e9}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			bc.o.Arch, bc.o.Output = syscalls.AMD64, io.Discard
			p := New(bc.o)
			call, _ := syscalls.ByName(syscalls.AMD64, bc.call)
			enter := events.Strace{Kind: events.StraceEnter, PID: 1, TID: 1, NR: call.NR, Args: bc.args, Memory: bc.in}
			exit := events.Strace{Kind: events.StraceExit, PID: 1, TID: 1, NR: -1, Memory: bc.out}
			b.ReportAllocs()
			for b.Loop() {
				enter.Seq++
				enter.NS += 1000
				exit.NS = enter.NS + 500
				if err := p.Record(&enter); err != nil {
					b.Fatal(err)
				}
				if err := p.Record(&exit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
