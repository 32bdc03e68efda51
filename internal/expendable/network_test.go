package expendable

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDial: who listens, who refuses, and who is no address.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refused := gone.Addr().String()
	gone.Close()
	a := ask(t, Request{Op: OpDial, PID: os.Getpid(), Names: []string{l.Addr().String(), refused, "server:1"}, Max: 5000})
	if len(a[0].Dialed) != 3 {
		t.Fatalf("%+v", a[0])
	}
	got := a[0].Dialed
	if got[0].Errno != "" || got[0].Err != "" || got[1].Errno != "ECONNREFUSED" || got[2].Err == "" {
		t.Errorf("%+v", got)
	}
	if !got[0].Entered {
		t.Error("not said to be from the process's network")
	}
}

// TestDialSilent: a listener whose queue is full takes no more, and says
// nothing.
func TestDialSilent(t *testing.T) {
	addresses := make([]string, 3)
	for i := range addresses {
		addresses[i] = "192.0.2.1:6789" // TEST-NET: nobody
	}
	begin := time.Now()
	a := ask(t, Request{Op: OpDial, Names: addresses, Max: 300})
	for _, d := range a[0].Dialed {
		if d.Errno == "" {
			t.Errorf("connected: %+v", d)
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("three at the same time took %s", took)
	}
}

// TestAdminSocket asks this process, which listens as a Ceph daemon does, and
// finds the socket by itself.
func TestAdminSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "asok") // a socket's path must be short
	must(t, err)
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "ceph client.asok"))
	must(t, err)
	defer l.Close()
	asked := make(chan string, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 256)
			n, _ := c.Read(buf)
			asked <- string(buf[:n])
			if strings.Contains(string(buf[:n]), "mds_sessions") {
				continue // never answers, keeps it open
			}
			_ = binary.Write(c, binary.BigEndian, uint32(2))
			_, _ = c.Write([]byte("{}"))
			c.Close()
		}
	}()
	a := ask(t, Request{Op: OpAdmin, PID: os.Getpid(), Names: []string{"mds_requests", "status"}})
	if len(a[0].Texts) != 2 || string(a[0].Texts[0].Data) != "{}" || a[0].Texts[1].Name != "status" {
		t.Fatalf("%+v", a[0])
	}
	if got, want := <-asked, `{"prefix":"mds_requests","format":"json"}`+"\x00"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	// What came before the silence is kept.
	got, err := NewRunner(Options{Grace: long}).Do(t.Context(), t.Name(), []Request{{Op: OpAdmin, PID: os.Getpid(), Names: []string{"mds_requests", "mds_sessions"}}}, 2*time.Second)
	if !errors.Is(err, ErrDeadline) || len(got[0].Texts) != 1 {
		t.Errorf("%+v, %v; want the first answer and the deadline", got, err)
	}
	// What would change something is not asked.
	bad, _ := NewRunner(Options{Grace: long}).Do(t.Context(), t.Name()+"2", []Request{{Op: OpAdmin, PID: os.Getpid(), Names: []string{"kick_stale_sessions"}}}, long)
	if !strings.Contains(bad[0].Err, "not one that is asked") {
		t.Errorf("%+v", bad)
	}
	l.Close()
	none, _ := NewRunner(Options{Grace: long}).Do(t.Context(), t.Name()+"3", []Request{{Op: OpAdmin, PID: os.Getpid(), Names: []string{"status"}}}, long)
	if !strings.Contains(none[0].Err, "listens on no socket") {
		t.Errorf("%+v", none)
	}
}

// TestReadfileAfter: the rest behind a line, however long what is before it.
func TestReadfileAfter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "caps")
	must(t, os.WriteFile(file, []byte(strings.Repeat("0x1 0 p p\n", 200_000)+"Waiters: not this\nWaiters:\n---\n1 2\n"), 0o600))
	read := func(after string) string {
		a := ask(t, Request{Op: OpReadfile, Root: "/", Path: Raw(file), Max: 100, After: after})
		return string(a[0].Data)
	}
	if got := read("Waiters:"); got != "---\n1 2\n" {
		t.Errorf("got %q", got)
	}
	if got := read("No such line"); got != "" {
		t.Errorf("got %q", got)
	}
}
