package strace

import (
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	for _, tc := range []struct{ expr, in, out string }{
		{"open,close", "open close", "read openat"},
		{"!open,close", "read", "open close"},
		{"trace", "", ""},
		{"%file", "open stat rename newfstatat", "read close"},
		{"file", "open", "read"},
		{"%desc", "read close poll", "getpid"},
		{"%net", "socket sendto", "open"},
		{"/^f?stat$", "stat fstat", "lstat statfs"},
		{"!/stat,read", "open", "stat fstatfs read"},
		{"all", "open read syscall_0x1ff", ""},
		{"!all", "", "open read"},
		{"none", "", "open"},
		{"?nonesuch,open", "open", "read"},
		{"openat@64", "openat", "open"},
	} {
		f, err := ParseTrace(tc.expr)
		if tc.expr == "trace" {
			if err == nil {
				t.Error("no error of a name that is none")
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.expr, err)
			continue
		}
		for _, n := range strings.Fields(tc.in) {
			if !f.Match(n) {
				t.Errorf("%s leaves %s out", tc.expr, n)
			}
		}
		for _, n := range strings.Fields(tc.out) {
			if f.Match(n) {
				t.Errorf("%s takes %s in", tc.expr, n)
			}
		}
	}
}

func TestParseStatus(t *testing.T) {
	for expr, want := range map[string]Status{
		"successful": Successful, "failed,unfinished": Failed | Unfinished, "!failed": AnyStatus &^ Failed, "all": AnyStatus, "none": 0,
	} {
		if got, err := ParseStatus(expr); err != nil || got != want {
			t.Errorf("%s: %v, %v", expr, got, err)
		}
	}
	if _, err := ParseStatus("maybe"); err == nil {
		t.Error("no error")
	}
}

func TestParseSignals(t *testing.T) {
	f, err := ParseSignals("!SIGCHLD,term")
	if err != nil {
		t.Fatal(err)
	}
	if f(17) || f(15) || !f(1) {
		t.Error("not what was asked for")
	}
	if _, err := ParseSignals("SIGNONE"); err == nil {
		t.Error("no error")
	}
}
