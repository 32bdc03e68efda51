package correlate

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
	"github.com/hangtrace/hangtrace/internal/mounts"
)

// furtherEvidence adds what else was read about the server that a thread waits
// for.
func (w *world) furtherEvidence(h *Hang) {
	on := h.WaitingOn
	if on == nil {
		return
	}
	w.nfsServer(h, on)
	w.kernelLines(h, on)
	server := on.server()
	w.aliveOrSilent(server)
	w.reached(server)
	if on.DaemonWaitsOn != nil {
		on.DaemonWaitsOn = daemonWait(server)
	}
}

// nfsServer adds the transports and the operations in trouble of an NFS mount.
func (w *world) nfsServer(h *Hang, on *WaitingOn) {
	if on.Kind != "nfs-server" || h.Mount == nil {
		return
	}
	for i := range w.snap.NFS {
		m := &w.snap.NFS[i]
		if m.Point != string(h.Mount.Point) || m.Namespace != uint32(h.Mount.Namespace) {
			continue
		}
		on.Source, on.Address = whoNFS, Text(m.Address)
		var open, idle int64 = 0, -1
		for _, t := range m.Transports {
			open += max(t.Sends-t.Receives, 0)
			if idle < 0 || t.IdleS >= 0 && t.IdleS < idle {
				idle = t.IdleS
			}
			on.Evidence = append(on.Evidence, transport(t))
		}
		if open > 0 {
			on.State = Text(count(int(open), "request has no answer", "requests have no answer"))
			if idle > 0 {
				on.State += Text(fmt.Sprintf(", nothing was sent or received for %d s", idle))
			}
		}
		for _, op := range m.Ops {
			if op.MajorTimeouts > 0 {
				on.Evidence = append(on.Evidence, fmt.Sprintf("mountstats: %s timed out %d times, %d requests were sent %d times", op.Name, op.MajorTimeouts, op.Requests, op.Transmissions))
			}
		}
	}
}

func transport(t facts.NFSTransport) string {
	text := fmt.Sprintf("mountstats: %s transport, %d requests sent, %d answered", t.Proto, t.Sends, t.Receives)
	if t.Connects >= 0 {
		text += fmt.Sprintf(", connected %d times", t.Connects)
	}
	return text
}

// aliveOrSilent says what is known of an MDS with a good session where no walk
// tells: it may be silent, or wait itself for another client to give
// capabilities back, which looks the same from here.
func (w *world) aliveOrSilent(on *WaitingOn) {
	if on.Kind != "mds" || on.State != "session open" || on.Source != whoClient && on.Source != whoDaemon {
		return
	}
	if on.Source == whoClient && w.lapsed()[strings.Replace(string(on.Name), ".", "", 1)] {
		on.Evidence = append(on.Evidence, string(on.Name)+" does not renew the session any more (kernel log): it is silent itself")
		return
	}
	on.Evidence = append(on.Evidence, "the session is open: the MDS may be silent, or the cluster healthy and "+othersMayWithhold)
}

// lapsed are the MDSs ("mds0") whose sessions the kernel says were not renewed:
// it logs "ceph: mds0 caps stale", and later "ceph: mds0 caps renewed".
func (w *world) lapsed() map[string]bool {
	if w.stale != nil {
		return w.stale
	}
	w.stale = make(map[string]bool)
	for _, l := range w.snap.KernelLog {
		f := strings.Fields(l.Text)
		for i := 0; i+2 < len(f); i++ {
			if f[i+1] == "caps" && (f[i+2] == "stale" || f[i+2] == "renewed") {
				w.stale[f[i]] = f[i+2] == "stale"
			}
		}
	}
	return w.stale
}

// kernelLines adds the latest lines of the kernel's log about the thread, its
// server or its device, with their time. Old ones are another story's.
func (w *world) kernelLines(h *Hang, on *WaitingOn) {
	const (
		most   = 3
		before = 10 * time.Minute
		// Where the hang may be older than is known, so may the lines be.
		longBefore = time.Hour
	)
	reach := before
	if h.Blocked.Source == sourceSwitches {
		reach = longBefore
	}
	oldest := w.snap.Clock.MonoNS - h.Blocked.ForMS*1e6 - int64(reach)
	last := make(map[string]int) // by text
	for i, l := range w.snap.KernelLog {
		if l.AtNS >= oldest && (ofTask(l.Text, h) || ofServer(l.Text, h, on)) {
			last[l.Text] = i
		}
	}
	var lines []int
	for i, l := range w.snap.KernelLog {
		if at, ok := last[l.Text]; ok && at == i {
			lines = append(lines, i)
		}
	}
	for _, i := range lines[max(len(lines)-most, 0):] {
		l := w.snap.KernelLog[i]
		on.Evidence = append(on.Evidence, fmt.Sprintf("kernel log at %s: %s", w.wall(uint64(max(l.AtNS, 0))).UTC().Format(time.RFC3339), l.Text))
	}
}

// ofTask tells whether a line of the hung task detector is about a thread:
// "INFO: task hangop:502 blocked for more than 20 seconds."
func ofTask(text string, h *Hang) bool {
	rest, ok := strings.CutPrefix(text, "INFO: task ")
	return ok && strings.HasPrefix(rest, fmt.Sprintf("%s:%d ", h.Task.Comm, h.Task.TID))
}

// ofServer tells whether a line of a storage client names the server: "mds0",
// "osd0" and "mon0" as the kernel writes them, a device, or an NFS server.
func ofServer(text string, h *Hang, on *WaitingOn) bool {
	client := strings.HasPrefix(text, "ceph") || strings.HasPrefix(text, "libceph")
	switch on.Kind {
	case "mds", "osd", "mon":
		if client && on.Name != "unknown" && word(text, strings.Replace(string(on.Name), ".", "", 1)) {
			return true
		}
	case "nfs-server":
		return on.Name != "" && word(text, "server "+string(on.Name)) // "nfs: server NAME not responding"
	}
	if h.Mount.kind() == Text(mounts.KindRBD) || on.Kind == "block-device" {
		name := deviceName(string(h.Mount.source()))
		return name != "" && word(text, name)
	}
	return false
}

func (m *Mount) source() Text {
	if m == nil {
		return ""
	}
	return m.Source
}

// deviceName is the name of a device file.
func deviceName(source string) string {
	name, ok := strings.CutPrefix(source, "/dev/")
	if !ok {
		return ""
	}
	return name
}

// word tells whether a text has a word in it, so that osd1 is not found in
// osd12. The name of a server that is not known is in none.
func word(text, w string) bool {
	if w == "" {
		return false
	}
	for rest := text; ; {
		at := strings.Index(rest, w)
		if at < 0 {
			return false
		}
		end := at + len(w)
		if (at == 0 || !letter(rest[at-1])) && (end == len(rest) || !letter(rest[end])) {
			return true
		}
		rest = rest[end:]
	}
}

func letter(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// reached adds what became of a connection with the server.
func (w *world) reached(on *WaitingOn) {
	to := dialable(string(on.Address))
	for _, r := range w.snap.Reach {
		if to == "" || r.Address != to {
			continue
		}
		on.Reach = r.Outcome
		text := fmt.Sprintf("network: TCP connection with %s: %s", r.Address, r.Outcome)
		switch {
		case r.Outcome == facts.ReachReachable:
			text += fmt.Sprintf(" in %d ms: the host is up and something listens, which does not tell that it answers requests", r.TookMS)
		case r.Why != "":
			text += " (" + r.Why + ")"
		}
		if !r.HostNet {
			text += ", from hangtrace's own network and not the host's"
		}
		on.Evidence = append(on.Evidence, text)
	}
}

// dialable turns an address as Ceph or mountstats writes it into one that can be
// connected with; "" where it is none.
func dialable(address string) string {
	for _, prefix := range []string{"v1:", "v2:", "any:"} {
		address = strings.TrimPrefix(address, prefix)
	}
	address, _, _ = strings.Cut(address, "/")
	ap, err := netip.ParseAddrPort(address)
	if err != nil || ap.Port() == 0 || ap.Addr().IsUnspecified() {
		return ""
	}
	return ap.String()
}
