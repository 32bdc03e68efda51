package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/hangtrace/hangtrace/internal/correlate"
)

// FormName is a line CLASS/NAME for each leftover, for scripts.
const FormName Form = "name"

// ScanForms lists the forms of a scan.
func ScanForms() []Form { return []Form{FormText, FormWide, FormJSON, FormYAML, FormName} }

// WriteScan writes what a scan found in one of the forms.
func WriteScan(w io.Writer, form Form, s *correlate.Scan, o Options) error {
	switch form {
	case FormText:
		return scanText(w, s, o)
	case FormWide:
		return scanWide(w, s)
	case FormName:
		return scanNames(w, s)
	case FormJSON:
		return jsonValue(w, s)
	case FormYAML:
		text, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	_, err := ParseForm(string(form), ScanForms()...)
	return err
}

// scanNames names each finding: by its path where it has one, else by its
// device, else by its ID.
func scanNames(w io.Writer, s *correlate.Scan) error {
	for _, l := range s.Leftovers {
		if _, err := fmt.Fprintf(w, "%s/%s\n", l.Class, strings.ReplaceAll(cleanPath(leftoverName(l)), " ", `\040`)); err != nil {
			return err
		}
	}
	return nil
}

func leftoverName(l *correlate.Leftover) string {
	switch {
	case l.Path != "":
		return strings.TrimPrefix(string(l.Path), "/")
	case l.Mount != nil && l.Mount.Device != "":
		return "device:" + string(l.Mount.Device)
	}
	return l.ID
}

var scanHead = []string{"CLASS", "HEALTH", "KIND", "DEVICE", "POD", "VOLUME", "HOLDERS", "PATH"}

func scanWide(w io.Writer, s *correlate.Scan) error {
	rows := [][]string{scanHead}
	for _, l := range s.Leftovers {
		rows = append(rows, leftoverCells(l))
	}
	widths := make([]int, len(scanHead))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range rows {
		if _, err := io.WriteString(w, align(row, widths)); err != nil {
			return err
		}
	}
	return nil
}

func leftoverCells(l *correlate.Leftover) []string {
	kind, device, pod, volume, path := none, none, none, none, unknown
	if l.Mount != nil {
		kind, device = cell(l.Mount.Kind), cell(l.Mount.Device)
	}
	if l.Volume != nil {
		pod, volume = podCell(l.Volume.Pod), volumeCell(l.Volume)
	}
	if l.Path != "" {
		path = strings.ReplaceAll(cleanPath(string(l.Path)), " ", `\040`)
	}
	health := none
	if l.Health != "" {
		health = cell(l.Health)
	}
	return []string{string(l.Class), health, kind, device, pod, volume, fmt.Sprint(len(l.Holders) + l.HoldersMore), path}
}

// scanText writes a scan for a person.
func scanText(w io.Writer, s *correlate.Scan, o Options) error {
	p := &page{w: w, o: o.filled()}
	verdict := clean(s.Summary.Verdict)
	if s.Summary.Findings > 0 {
		verdict = p.paint(colorBad, verdict)
	}
	p.line("%s", verdict)
	for i, l := range s.Leftovers {
		p.line("")
		if i == p.o.Blocks {
			p.line("(+%s: -o wide names each)", count(len(s.Leftovers)-i, "more leftover"))
			break
		}
		p.leftover(l)
	}
	p.line("")
	p.missing(&correlate.Capture{Skipped: s.Checked.Skipped, Degraded: s.Checked.Degraded})
	p.checked(s)
	return p.err
}

func (p *page) leftover(l *correlate.Leftover) {
	title := strings.ReplaceAll(string(l.Class), "_", " ")
	name := "unknown path"
	if l.Path != "" {
		name = cleanPath(string(l.Path))
	}
	health := ""
	if l.Health != "" && l.Health != correlate.HealthUnknown {
		health = "(" + clean(string(l.Health)) + ")"
	}
	p.flow("", indent, []string{p.paint(colorBold, title+":"), name, health})
	if m := l.Mount; m != nil {
		tokens := []string{clean(m.Kind.Or("unknown kind"))}
		if m.Device != "" {
			tokens = append(tokens, "device", clean(string(m.Device)))
		}
		if m.Source != "" {
			tokens = append(tokens, "from", clean(string(m.Source)))
		}
		if m.Image != "" {
			tokens = append(tokens, "image", clean(m.Image))
		}
		p.row("mount", tokens...)
	}
	if l.Volume != nil {
		p.volume(l.Volume)
	}
	for _, e := range l.Evidence {
		p.row("evidence", strings.Fields(clean(e))...)
	}
	p.holders(l)
	if l.NextPass != "" {
		p.row("kubelet", strings.Fields(clean(string(l.NextPass)))...)
	}
	p.freeing(l.Remedies, l.Warnings)
}

func (p *page) holders(l *correlate.Leftover) {
	var tokens []string
	for i, h := range l.Holders {
		text := fmt.Sprintf("%s[%d] %s", clean(h.Comm), h.PID, clean(h.How))
		if h.ForMS > 0 {
			text += " " + span(millis(h.ForMS))
		}
		if h.Path != "" {
			text += " on " + cleanPath(string(h.Path))
		}
		if i < len(l.Holders)-1 || l.HoldersMore > 0 {
			text += ","
		}
		tokens = append(tokens, text)
	}
	if l.HoldersMore > 0 {
		tokens = append(tokens, fmt.Sprintf("(+%d more)", l.HoldersMore))
	}
	if len(tokens) > 0 {
		p.row("held by", tokens...)
	}
}

// checked says what was looked at, so that "nothing" can be weighed.
func (p *page) checked(s *correlate.Scan) {
	c := &s.Checked
	sources := "no source of pods"
	if len(c.PodSources) > 0 {
		sources = "pods from " + strings.Join(c.PodSources, " and ")
	}
	p.words("", indent, fmt.Sprintf("Checked %s in %s of %s, %s, %s, %s, %s; %s; %s.",
		count(c.Mounts, "mount"), count(c.Namespaces, "mount namespace"), count(c.Processes, "process"), count(c.PodDirs, "pod dir"),
		count(c.FuseConnections, "FUSE connection"), count(c.CephClients, "ceph client"), count(c.RBDDevices, "rbd device"),
		clean(sources), count(c.Probed, "probe")))
	p.words("", indent, fmt.Sprintf("Node %s, kernel %s, at %s, in %d ms.",
		clean(s.Node.Hostname.Or("unknown")), clean(s.Node.Kernel.Or("unknown")), p.stamp(s.TakenAt), s.TookMS))
}
