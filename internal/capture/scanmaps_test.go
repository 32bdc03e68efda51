package capture

import "testing"

func TestMappedOn(t *testing.T) {
	const text = `55e0a0000000-55e0a0021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 r--s 00000000 00:23 1099511627782              /data/my file (deleted)
7f0000001000-7f0000002000 r--s 00001000 00:23 1099511627782              /data/my file (deleted)
7f0000002000-7f0000003000 r--p 00000000 103:02 17                        /usr/lib/libc.so.6
7fff00000000-7fff00001000 rw-p 00000000 00:00 0
`
	found := mappedOn(text, map[string]bool{"0:35": true, "259:2": true, "0:99": true})
	if len(found) != 2 || found["0:35"] != "/data/my file" || found["259:2"] != "/usr/lib/libc.so.6" {
		t.Errorf("%v", found)
	}
}
