package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The colours, used sparingly: what hangs, and what makes it worse.
const (
	colorBad  = "\x1b[1;31m"
	colorBold = "\x1b[1m"
	colorWarn = "\x1b[33m"
	colorOff  = "\x1b[0m"
)

// page lays out text and remembers the first write error.
type page struct {
	w   io.Writer
	o   Options
	err error
}

const (
	indent     = "  "
	labelWidth = 10
)

func (p *page) line(format string, args ...any) {
	if p.err != nil {
		return
	}
	_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
}

// paint colours a piece of text that is clean already.
func (p *page) paint(color, s string) string {
	if !p.o.Color {
		return s
	}
	return color + s + colorOff
}

// row prints "  label     token token ...", going on below the first token
// where a line is full. A token is never broken: an operator copies a path as
// one piece. One that is too long for any line gets a line of its own.
func (p *page) row(label string, tokens ...string) {
	head := indent + label + strings.Repeat(" ", max(1, labelWidth-len(label)))
	p.flow(head, strings.Repeat(" ", len(head)), tokens)
}

// words prints a sentence, wrapped at blanks.
func (p *page) words(head, rest, sentence string) {
	p.flow(head, rest, strings.Fields(sentence))
}

func (p *page) flow(head, rest string, tokens []string) {
	var b strings.Builder
	b.WriteString(head)
	used, empty := len(head), true
	for _, token := range tokens {
		if token == "" {
			continue
		}
		length := columns(token)
		if !empty && used+1+length > p.o.Width {
			p.line("%s", b.String())
			b.Reset()
			b.WriteString(rest)
			used, empty = len(rest), true
		}
		if !empty {
			b.WriteByte(' ')
			used++
		}
		b.WriteString(token)
		used += length
		empty = false
	}
	if !empty {
		p.line("%s", b.String())
	}
}

// columns counts what a token takes on the screen; colours take nothing.
func columns(s string) int {
	for _, color := range []string{colorBad, colorBold, colorWarn, colorOff} {
		s = strings.ReplaceAll(s, color, "")
	}
	return utf8.RuneCountInString(s)
}

// count says "1 thread", "37 threads", "5 processes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
