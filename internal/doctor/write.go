package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Forms are the output forms of Write.
func Forms() []string { return []string{"text", "json", "yaml"} }

// Write renders a report.
func Write(w io.Writer, form string, r Report) error {
	if form == "text" {
		return writeText(w, r)
	}
	return writeStructured(w, form, r)
}

func writeStructured(w io.Writer, form string, v any) error {
	switch form {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("yaml: %w", err)
		}
		_, err = w.Write(text)
		return err
	}
	return fmt.Errorf("unknown output form %q; try: %s", form, strings.Join(Forms(), ", "))
}

const columns = 100

func writeText(w io.Writer, r Report) error {
	var b strings.Builder
	b.WriteString(wrap(r.Verdict, 0))
	titles := map[string]string{GroupRights: "Rights", GroupKernel: "Kernel", GroupData: "Data sources"}
	group := ""
	for _, c := range r.Checks {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n%s\n", titles[group])
		}
		line := fmt.Sprintf("  %-8s%s", c.State, c.Name)
		if c.Detail != nil {
			line += ": " + printable(*c.Detail)
		}
		b.WriteString(wrap(line, 10))
		if c.Lost != nil {
			b.WriteString(wrap("          lost: "+*c.Lost, 16))
		}
	}
	fmt.Fprintf(&b, "\nNode %s, kernel %s, %s; looked for %d ms.\n", printable(r.Node.Hostname), printable(r.Node.Kernel), r.Node.Arch, r.TookMS)
	_, err := io.WriteString(w, b.String())
	return err
}

// printable keeps what the node says from moving the cursor, or the text.
func printable(s string) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.Map(func(r rune) rune {
		bidirectional := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		if r < ' ' || r >= 0x7f && r < 0xa0 || bidirectional {
			return '?'
		}
		return r
	}, s)
}

// wrap breaks a line at blanks and indents what follows. Blanks at its begin
// stay.
func wrap(s string, indent int) string {
	var b strings.Builder
	for len(s) > columns {
		at := strings.LastIndexByte(s[:columns+1], ' ')
		if at <= indent || strings.TrimSpace(s[:at]) == "" {
			break // a word longer than the line
		}
		b.WriteString(s[:at] + "\n")
		s = strings.Repeat(" ", indent) + strings.TrimLeft(s[at:], " ")
	}
	return b.String() + s + "\n"
}
