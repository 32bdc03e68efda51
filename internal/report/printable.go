package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes foreign text harmless on a terminal. Thread names, paths and
// evidence come from whoever runs on the node: an escape sequence in them must
// not move the cursor, and a newline must not forge a line. Printable UTF-8
// stays; anything else is shown as \n, \x1b or \u202e (bidirectional
// overrides, zero-width characters). A backslash stays as it is, because call
// texts are escaped already.
func clean(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

// cleanPath makes a path harmless and keeps it usable: one with bytes that
// cannot be shown is quoted as $'...', which bash, zsh and ksh turn back into
// exactly these bytes.
func cleanPath(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r) && (r != utf8.RuneError || size > 1):
			b.WriteRune(r)
		default:
			// Three octal digits end by themselves; \xHH in a shell that takes
			// more digits would swallow what follows.
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		i += size
	}
	b.WriteByte('\'')
	return b.String()
}

// cleanWord is clean with blanks shown as \040, as mountinfo does, so that a
// line of columns splits at blanks.
func cleanWord(s string) string {
	return strings.ReplaceAll(clean(s), " ", `\040`)
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
