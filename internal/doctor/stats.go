package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/loader"
)

// StatsSchema names what WriteStats emits; docs/output.md describes it.
const StatsSchema = "hangtrace.stats/v1"

// Stats is what Count found: the BPF programs of every session of hangtrace that
// runs on the node, with what they counted.
type Stats struct {
	Schema  string    `json:"schema"`
	TakenAt time.Time `json:"taken_at"`
	TookMS  int64     `json:"took_ms"`
	Node    Node      `json:"node"`
	// RunsCounted tells whether the kernel counts runs and their time
	// (kernel.bpf_stats_enabled); null where it does not say.
	RunsCounted *bool     `json:"runs_counted"`
	Verdict     string    `json:"verdict"`
	Sessions    []Session `json:"sessions"`
	// NotSeen are sentences: where sessions may run that are not listed.
	NotSeen []string `json:"not_seen"`
}

// Session is one process, or what is held by processes that are not seen.
type Session struct {
	PID *int `json:"pid"` // null: not seen in this PID namespace
	// Command is its command line; null where it is not readable.
	Command   []string   `json:"command"`
	StartedAt *time.Time `json:"started_at"`
	// Error is why nothing more is known of it; null where all is.
	Error *string `json:"error"`
	Units []Unit  `json:"units"`
}

// Unit is a set of programs that are loaded together.
type Unit struct {
	Name string `json:"name"`
	What string `json:"what"`
	// Counters are by site, in a fixed order; null: another version of
	// hangtrace made them in another way.
	Counters []Counter `json:"counters"`
	Programs []Program `json:"programs"`
	Maps     []Map     `json:"maps"`
}

// Counter is what one site counted.
type Counter struct {
	Site  string          `json:"site"`
	Kind  loader.SiteKind `json:"kind"`
	Count uint64          `json:"count"`
	Words string          `json:"words"`
}

// Program is a loaded program. Null is not known.
type Program struct {
	ID                   uint32     `json:"id"`
	Name                 string     `json:"name"`
	Type                 string     `json:"type"`
	LoadedAt             *time.Time `json:"loaded_at"`
	Runs                 *uint64    `json:"runs"`
	RunNS                *int64     `json:"run_ns"`
	Missed               *uint64    `json:"missed"`
	VerifiedInstructions *uint32    `json:"verified_instructions"`
	JITedBytes           *uint32    `json:"jited_bytes"`
	MemoryBytes          *uint64    `json:"memory_bytes"`
}

// Map is a map of the programs.
type Map struct {
	ID          uint32  `json:"id"`
	Name        string  `json:"name"`
	Type        string  `json:"type"`
	MaxEntries  uint32  `json:"max_entries"`
	MemoryBytes *uint64 `json:"memory_bytes"`
}

// unitWords say what a unit is for.
var unitWords = map[string]string{
	"trace":    "live: calls and sleeps of the targets",
	"strace":   "strace: every call of the targets",
	"snapshot": "looks at threads and their open files",
	"walk":     "the walk over kernel structures",
}

// Complete tells whether all is known of all sessions.
func (s Stats) Complete() bool {
	for _, session := range s.Sessions {
		if session.Error != nil {
			return false
		}
	}
	return len(s.NotSeen) == 0
}

// verdict says in a sentence how the sessions do.
func (s Stats) verdict() string {
	lost, detail, unknown := 0, 0, 0
	for _, session := range s.Sessions {
		l, d, u := session.failures()
		lost, detail, unknown = lost+b2i(l), detail+b2i(d && !l), unknown+b2i(u)
	}
	n := len(s.Sessions)
	switch {
	case n == 0 && len(s.NotSeen) > 0:
		return "whether sessions of hangtrace run on this node is not known"
	case n == 0:
		return "no session of hangtrace with BPF programs runs on this node"
	}
	parts := []string{fmt.Sprintf("%d sessions of hangtrace", n)}
	if n == 1 {
		parts[0] = "1 session of hangtrace"
	}
	for _, p := range []struct {
		n    int
		what string
	}{{lost, "lost something"}, {detail, "could not read something"}, {unknown, "not wholly known"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 1 {
		return parts[0] + ": nothing lost, nothing unread"
	}
	return parts[0] + ": " + strings.Join(parts[1:], ", ")
}

// failures tells whether a session lost something, could not read something, or
// has counters that are not known.
func (s Session) failures() (lost, detail, unknown bool) {
	unknown = s.Error != nil
	for _, u := range s.Units {
		unknown = unknown || u.Counters == nil
		for _, n := range u.Counters {
			lost = lost || n.Count > 0 && n.Kind == loader.SiteLost
			detail = detail || n.Count > 0 && n.Kind == loader.SiteDetail
		}
		for _, p := range u.Programs {
			lost = lost || p.Missed != nil && *p.Missed > 0
		}
	}
	return lost, detail, unknown
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
