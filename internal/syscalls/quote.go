package syscalls

import "strings"

// Quote shows s as strace does: in double quotes, with C escapes, other bytes
// outside printable ASCII in octal, and "..." behind it when cut.
func Quote(s string, cut bool) string {
	return string(AppendQuote(make([]byte, 0, len(s)+8), s, cut))
}

// AppendQuote is Quote behind b.
func AppendQuote[T []byte | string](b []byte, s T, cut bool) []byte {
	b = append(b, '"')
	b = escape(b, s, plainQuoted)
	b = append(b, '"')
	if cut {
		b = append(b, "..."...)
	}
	return b
}

// Bracket shows the path of a file descriptor: </var/lib/x>. Angle brackets in
// it are escaped, so that the end is certain; the kernel's mark of a removed
// file stands behind it.
//
// What begins with < is no path and has its brackets already; names in it are
// escaped like others.
func Bracket(path string) string {
	b := make([]byte, 0, len(path)+12)
	if strings.HasPrefix(path, "<") {
		return string(escape(b, path, plain))
	}
	path, deleted := strings.CutSuffix(path, " (deleted)")
	b = append(escape(append(b, '<'), path, plainBracketed), '>')
	if deleted {
		b = append(b, "(deleted)"...)
	}
	return string(b)
}

// The bytes that show as they are: printable ASCII, but for the backslash and
// what ends the text.
var (
	plain          = plainBut(`\`)
	plainQuoted    = plainBut(`\"`)
	plainBracketed = plainBut(`\<>`)
)

func plainBut(special string) *[256]bool {
	var t [256]bool
	for c := ' '; c < 0x7f; c++ {
		t[c] = !strings.ContainsRune(special, c)
	}
	return &t
}

// escape appends s: runs of plain bytes at once, others escaped, a quote with a
// backslash and the rest as C does, or in octal.
func escape[T []byte | string](b []byte, s T, plain *[256]bool) []byte {
	run := 0
	for i := 0; i < len(s); i++ {
		if plain[s[i]] {
			continue
		}
		b = append(b, s[run:i]...)
		run = i + 1
		switch c := s[i]; c {
		case '\\':
			b = append(b, `\\`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\v':
			b = append(b, `\v`...)
		case '"':
			b = append(b, `\"`...)
		default:
			b = octal(b, c, i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7')
		}
	}
	return append(b, s[run:]...)
}

// octal appends c with as few digits as a reader needs: all three when another
// octal digit follows.
func octal(b []byte, c byte, full bool) []byte {
	b = append(b, '\\')
	if full || c >= 0o100 {
		b = append(b, '0'+c>>6)
	}
	if full || c >= 0o10 {
		b = append(b, '0'+c>>3&7)
	}
	return append(b, '0'+c&7)
}
