package storage

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// TestNFSMounts reads a mountstats as Linux writes it: NFS 4.2 over TCP, 3 over
// UDP with an IPv6 server, and a mount point with a blank.
func TestNFSMounts(t *testing.T) {
	text, err := os.ReadFile("testdata/mountstats")
	must(t, err)
	want := []facts.NFSMount{
		{
			Source: "nas.example:/export/home", Point: "/mnt/home dirs", Address: "10.0.0.9:2049", AgeS: 4711,
			Transports: []facts.NFSTransport{{Proto: "tcp", Connects: 3, IdleS: 41, Sends: 1200, Receives: 1197}},
			Ops:        []facts.NFSOp{{Name: "GETATTR", Requests: 701, Transmissions: 704, MajorTimeouts: 2}},
		},
		{
			Source: "[2001:db8::9]:/export", Point: "/mnt/six", Address: "[2001:db8::9]:3049", AgeS: 12,
			Transports: []facts.NFSTransport{{Proto: "udp", Connects: -1, IdleS: -1, Sends: 10, Receives: 9}},
		},
	}
	if diff := cmp.Diff(want, NFSMounts(string(text))); diff != "" {
		t.Error(diff)
	}
}

func FuzzNFSMounts(f *testing.F) {
	text, err := os.ReadFile("testdata/mountstats")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(_ *testing.T, text string) { NFSMounts(text) })
}

func TestParseKernelRecord(t *testing.T) {
	for record, want := range map[string]string{
		"6,1234,331965386,-;ceph: mds0 caps stale\n":                                                 "ceph: mds0 caps stale",
		"6,1,138224483,-;libceph (6e5a0000-1ab0-4000-8000-00000000ceff e15): osd0 down\n":            "libceph (6e5a0000-1ab0-4000-8000-00000000ceff e15): osd0 down",
		"3,2,5,-,caller=T9;INFO: task hangop:1679 blocked for more than 20 seconds.\n SUBSYSTEM=x\n": "INFO: task hangop:1679 blocked for more than 20 seconds.",
		"4,3,5,-;nfs: server nas not responding, still trying\n":                                     "nfs: server nas not responding, still trying",
		"6,4,5,-;usb 1-1: new device\n":                                                              "",
		"14,5,5,-;ceph: said by a program\n":                                                         "", // facility 1: user
		"nonsense":                                                                                   "",
		"6,1,x,-;ceph: no\n":                                                                         "",
	} {
		got, ok := ParseKernelRecord(record)
		if ok != (want != "") || got.Text != want {
			t.Errorf("%q: %q, %v", record, got.Text, ok)
		}
	}
	if l, _ := ParseKernelRecord("6,1234,331965386,-;ceph: mds0 caps stale\n"); l.AtNS != 331965386000 {
		t.Errorf("at %d ns", l.AtNS)
	}
}

func FuzzParseKernelRecord(f *testing.F) {
	f.Add("6,1234,331965386,-;ceph: mds0 caps stale\n KEY=value\n")
	f.Fuzz(func(t *testing.T, record string) {
		if l, ok := ParseKernelRecord(record); ok && l.AtNS < 0 {
			t.Errorf("at %d", l.AtNS)
		}
	})
}

// TestKernelLog reads the machine's own log, or says why not; it never waits.
func TestKernelLog(t *testing.T) {
	l, err := OpenKernelLog("/dev/kmsg")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	for range 2 {
		if _, more, err := l.Lines(); err != nil || more {
			t.Errorf("more %v, %v", more, err)
		}
	}
	if _, err := OpenKernelLog("/no/such/file"); err == nil {
		t.Error("opened a log that is not there")
	}
}
