package doctor

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hangtrace/hangtrace/internal/loader"
)

// WriteStats renders what Count found.
func WriteStats(w io.Writer, form string, s Stats) error {
	if form == "text" {
		return writeStatsText(w, s)
	}
	return writeStructured(w, form, s)
}

func writeStatsText(w io.Writer, s Stats) error {
	var b strings.Builder
	b.WriteString(wrap(s.Verdict, 0))
	for _, session := range s.Sessions {
		b.WriteString("\n" + wrap(session.head(), 4))
		if session.Error != nil {
			b.WriteString(wrap("  not known: "+printable(*session.Error), 4))
		}
		for _, u := range session.Units {
			u.text(&b)
		}
	}
	b.WriteString("\n")
	for _, n := range s.NotSeen {
		b.WriteString(wrap("Not seen: "+printable(n), 4))
	}
	if len(s.Sessions) > 0 && (s.RunsCounted == nil || !*s.RunsCounted) {
		b.WriteString(wrap("Runs and their time are not counted now; try: sysctl kernel.bpf_stats_enabled=1, which makes every BPF program of the node a little slower", 4))
	}
	fmt.Fprintf(&b, "Node %s, kernel %s, %s; looked for %d ms.\n", printable(s.Node.Hostname), printable(s.Node.Kernel), s.Node.Arch, s.TookMS)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Session) head() string {
	if s.PID == nil {
		return "Held by processes that are not seen from here:"
	}
	head := fmt.Sprintf("PID %d", *s.PID)
	if s.StartedAt != nil {
		head += ", since " + s.StartedAt.Local().Format(time.DateTime)
	}
	if len(s.Command) == 0 {
		return head + ": command line not known"
	}
	return head + ": " + printable(strings.Join(s.Command, " "))
}

func (u Unit) text(b *strings.Builder) {
	b.WriteString(wrap(fmt.Sprintf("  %s (%s)", u.Name, u.What), 4))
	if u.Counters == nil {
		b.WriteString("    counters not known: another version of hangtrace\n")
	}
	var zero []string
	for _, c := range u.Counters {
		if c.Count == 0 {
			zero = append(zero, c.Site)
			continue
		}
		kind := map[loader.SiteKind]string{loader.SiteLost: "lost", loader.SiteDetail: "unread"}[c.Kind]
		b.WriteString(wrap(fmt.Sprintf("    %-7s %d in %s: %s", kind, c.Count, c.Site, c.Words), 12))
	}
	if len(zero) > 0 {
		b.WriteString(wrap("            0 in "+strings.Join(zero, ", "), 14))
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "    program\ttype\truns\ttime\tmissed\tverified\tJITed\tmemory\t")
	for _, p := range u.Programs {
		runTime := unknown
		if p.RunNS != nil {
			runTime = time.Duration(*p.RunNS).String()
		}
		fmt.Fprintf(t, "    %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", printable(p.Name), p.Type, number(p.Runs), runTime, number(p.Missed),
			number(p.VerifiedInstructions), number(p.JITedBytes), number(p.MemoryBytes))
	}
	t.Flush()
	sum, partly := uint64(0), false
	for _, m := range u.Maps {
		if m.MemoryBytes == nil {
			partly = true
			continue
		}
		sum += *m.MemoryBytes
	}
	size := strconv.FormatUint(sum, 10) + " bytes"
	if partly {
		size = "at least " + size
	}
	fmt.Fprintf(b, "    %d maps, %s\n", len(u.Maps), size)
}

const unknown = "unknown"

// number prints a count that may not be known.
func number[N uint32 | uint64](n *N) string {
	if n == nil {
		return unknown
	}
	return strconv.FormatUint(uint64(*n), 10)
}
