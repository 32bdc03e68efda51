package syscalls

import (
	"strconv"
	"strings"
)

// Quote shows s as strace does: in double quotes, with C escapes, other bytes
// outside printable ASCII in octal, and "..." behind it when cut.
func Quote(s string, cut bool) string {
	var b strings.Builder
	b.Grow(len(s) + 8)
	b.WriteByte('"')
	escape(&b, s, `"`)
	b.WriteByte('"')
	if cut {
		b.WriteString("...")
	}
	return b.String()
}

// Bracket shows the path of a file descriptor: </var/lib/x>. Angle brackets in
// it are escaped, so that the end is certain; the kernel's mark of a removed
// file stands behind it.
//
// What begins with < is no path and has its brackets already; names in it are
// escaped like others.
func Bracket(path string) string {
	var b strings.Builder
	if strings.HasPrefix(path, "<") {
		escape(&b, path, "")
		return b.String()
	}
	path, deleted := strings.CutSuffix(path, " (deleted)")
	b.WriteByte('<')
	escape(&b, path, `<>`)
	b.WriteByte('>')
	if deleted {
		b.WriteString("(deleted)")
	}
	return b.String()
}

// escape writes s. Bytes in special are escaped too: quotes with a backslash,
// others in octal.
func escape(b *strings.Builder, s, special string) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '\\':
			b.WriteString(`\\`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\v':
			b.WriteString(`\v`)
		default:
			switch {
			case c == '"' && strings.IndexByte(special, c) >= 0:
				b.WriteString(`\"`)
			case c >= ' ' && c < 0x7f && strings.IndexByte(special, c) < 0:
				b.WriteByte(c)
			default:
				octal(b, c, i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7')
			}
		}
	}
}

// octal writes c with as few digits as a reader needs: all three when another
// octal digit follows.
func octal(b *strings.Builder, c byte, full bool) {
	b.WriteByte('\\')
	digits := strconv.FormatUint(uint64(c), 8)
	if full {
		for range 3 - len(digits) {
			b.WriteByte('0')
		}
	}
	b.WriteString(digits)
}
