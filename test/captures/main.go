// Command captures puts today's output of the demo into the documents, so that
// every terminal capture in them is real.
//
// In: what the demo prints, on standard input; names of Markdown files. In each
// file the fenced block behind a line "<!-- demo: NAME -->" becomes the capture
// of that name: "report" or "live". It must never change anything else.
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "captures: "+err.Error())
		os.Exit(1)
	}
}

var block = regexp.MustCompile("(?s)(<!-- demo: ([a-z]+) -->\n```[a-z]*\n).*?(\n```)")

func run(demo io.Reader, files []string) error {
	text, err := io.ReadAll(demo)
	if err != nil {
		return err
	}
	captures := map[string]string{
		"report": section(string(text), "$ hangtrace report"),
		"live":   section(string(text), "$ hangtrace --pid"),
	}
	for name, c := range captures {
		if c == "" {
			return fmt.Errorf("the demo printed no %s", name)
		}
	}
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		out := block.ReplaceAllStringFunc(string(doc), func(old string) string {
			m := block.FindStringSubmatch(old)
			return m[1] + captures[m[2]] + m[3]
		})
		if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// section cuts one command and its output out of the demo's.
func section(text, command string) string {
	i := strings.Index(text, command)
	if i < 0 {
		return ""
	}
	text, _, _ = strings.Cut(text[i:], "\n# ")
	return strings.TrimRight(text, "\n")
}
