package mounts

import (
	"bytes"
	"strings"
)

const redacted = "<redacted>"

// Redact hides in the text of a mountinfo file what Parse hides in a Table: the
// text goes into recordings, which leave the node. It gives the text itself
// where there is nothing to hide.
func Redact(text []byte) []byte {
	var out []byte
	at := 0 // up to where text is in out
	for begin := 0; begin < len(text); {
		end := len(text)
		if n := bytes.IndexByte(text[begin:], '\n'); n >= 0 {
			end = begin + n
		}
		if tail := redactTail(text[begin:end]); tail != nil {
			out = append(append(out, text[at:end-len(tail.old)]...), tail.clean...)
			at = end
		}
		begin = end + 1
	}
	if out == nil {
		return text
	}
	return append(out, text[at:]...)
}

// tail is the end of a line of mountinfo: source and options.
type tail struct {
	old   []byte
	clean string
}

// redactTail gives the end of a line, if there is something to hide in it.
func redactTail(line []byte) *tail {
	_, rest, ok := bytes.Cut(line, []byte(" - "))
	if !ok {
		return nil
	}
	_, old, ok := bytes.Cut(rest, []byte(" ")) // behind the type
	if !ok {
		return nil
	}
	source, options, _ := strings.Cut(string(old), " ")
	clean := redactSource(source) + " " + redactOptions(options)
	if clean == source+" "+options {
		return nil
	}
	return &tail{old, clean}
}

// redactOptions replaces the values of options that may hold a secret. The
// kernel's ceph client prints secret=<hidden> by itself; other file systems
// and old kernels do not.
func redactOptions(options string) string {
	lower := strings.ToLower(options)
	found := false
	for _, word := range secretWords() {
		found = found || strings.Contains(lower, word)
	}
	if !found {
		return options
	}
	parts := strings.Split(options, ",")
	kept := parts[:0]
	hiding := false
	for _, p := range parts {
		key, _, hasValue := strings.Cut(p, "=")
		switch {
		case hasValue && secretKey(key):
			kept = append(kept, key+"="+redacted)
			hiding = true
		case hiding && !plainOption(p):
			// The rest of a secret with a comma in it.
		default:
			kept = append(kept, p)
			hiding = false
		}
	}
	return strings.Join(kept, ",")
}

func secretWords() []string {
	return []string{"secret", "pass", "token", "credential", "apikey", "access_key", "key="}
}

// secretKey tells whether an option's value is to be hidden. secretfile and the
// like name a file and are hidden too: nothing is lost that a report needs.
func secretKey(key string) bool {
	key = strings.ToLower(key)
	if key == "key" {
		return true
	}
	for _, word := range secretWords() {
		if word != "key=" && strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// plainOption tells whether a word looks like a mount option, flag or key=value.
func plainOption(s string) bool {
	key, value, _ := strings.Cut(s, "=")
	if key == "" || strings.HasPrefix(value, "=") { // base64 ends so
		return false
	}
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// redactSource hides a password in a source that is a URL, and the query that
// may carry a token: https://user:password@host/?token=...
func redactSource(source string) string {
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok {
		return source
	}
	authority, path, hasPath := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if user, _, ok := strings.Cut(authority[:at], ":"); ok {
			authority = user + ":" + redacted + authority[at:]
		}
	}
	if hasPath {
		authority += "/" + path
	}
	if before, _, ok := strings.Cut(authority, "?"); ok {
		authority = before + "?" + redacted
	}
	return scheme + "://" + authority
}
