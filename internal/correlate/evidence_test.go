package correlate

import "testing"

func TestWord(t *testing.T) {
	for _, c := range []struct {
		text, word string
		want       bool
	}{
		{"libceph: osd1 (1)v1:10.0.0.1:6801 socket closed", "osd1", true},
		{"libceph: osd12 (1)v1:10.0.0.1:6801 socket closed", "osd1", false},
		{"libceph: osd12 and osd1", "osd1", true},
		{"ceph: mds0 hung", "", false}, // a server that only a stack shows has no name
		{"", "", false},
	} {
		if got := word(c.text, c.word); got != c.want {
			t.Errorf("%q in %q is %v", c.word, c.text, got)
		}
	}
}
