package mounts

import "strings"

const redacted = "<redacted>"

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
