package mounts

import (
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/facts"
)

func testBlocks() Blocks {
	return NewBlocks([]facts.BlockDevice{
		{Device: "253:0", Name: "rbd0", Driver: "rbd", Pool: "kube", Image: "csi-vol-1"},
		{Device: "253:16", Name: "rbd1", Driver: "rbd", Pool: "kube", PoolNS: "team", Image: "img"},
		{Device: "253:1", Name: "rbd0p1", Below: []string{"253:0"}},
		{Device: "43:0", Name: "nbd0", Driver: "nbd"},
		{Device: "254:3", Name: "dm-3", Driver: "dm", Below: []string{"254:2"}},
		{Device: "254:2", Name: "dm-2", Driver: "dm", Below: []string{"253:1"}},
		{Device: "9:0", Name: "md0", Driver: "md", Below: []string{"8:1", "254:3"}},
		{Device: "8:1", Name: "sda1", Below: []string{"8:0"}},
		{Device: "8:0", Name: "sda"},
		// A circle, as no kernel has it.
		{Device: "254:8", Name: "dm-8", Driver: "dm", Below: []string{"254:9"}},
		{Device: "254:9", Name: "dm-9", Driver: "dm", Below: []string{"254:8"}},
	})
}

func TestKindOf(t *testing.T) {
	for _, tc := range []struct {
		fstype, source, device string
		want                   Kind
	}{
		{"ceph", "10.99.0.1:6789:/vol1", "0:28", KindCephFS},
		{"ceph", "admin@fsid.cephfs=/", "0:28", KindCephFS},
		{"fuse.ceph-fuse", "ceph-fuse", "0:53", KindCephFuse},
		{"fuse", "ceph-fuse", "0:53", KindCephFuse},
		{"fuse", "/dev/fuse", "0:53", KindFuse},
		{"fuse.rclone", "remote:bucket", "0:53", KindFuse},
		{"fuse.s3fs", "s3fs", "0:53", KindFuse},
		{"fuse.sshfs", "u@h:/", "0:53", KindFuse},
		{"fuseblk", "/dev/sda1", "8:1", KindFuse},
		{"fusectl", "fusectl", "0:44", KindOther},
		{"virtiofs", "share", "0:45", KindFuse},
		{"nfs", "srv:/x", "0:60", KindNFS},
		{"nfs4", "srv:/x", "0:60", KindNFS},
		{"nfsd", "nfsd", "0:61", KindOther},
		{"cifs", "//srv/x", "0:62", KindCIFS},
		{"smb3", "//srv/x", "0:62", KindCIFS},
		{"ext4", "/dev/rbd0", "253:0", KindRBD},
		{"xfs", "/dev/rbd0p1", "253:1", KindRBD},
		{"xfs", "/dev/mapper/vg-lv", "254:3", KindRBD},
		{"xfs", "/dev/md0", "9:0", KindRBD},
		{"ext4", "/dev/nbd0", "43:0", KindRBD},
		{"ext4", "/dev/sda1", "8:1", KindBlock},
		{"ext4", "/dev/root", "259:2", KindBlock},
		{"ext4", "/dev/mapper/loop", "254:8", KindBlock},
		// Devices sysfs did not show.
		{"ext4", "/dev/rbd7", "252:7", KindRBD},
		{"ext4", "/dev/rbd/pool/image", "252:7", KindRBD},
		{"ext4", "/dev/nbd12", "43:12", KindRBD},
		{"ext4", "/dev/rbdisk", "252:7", KindBlock},
		{"ext4", "/dev/rbd", "252:7", KindBlock},
		{"btrfs", "/dev/rbd1", "0:70", KindRBD},
		{"btrfs", "/dev/dm-3", "0:70", KindRBD},
		{"btrfs", "/dev/sda1", "0:70", KindBlock},
		{"btrfs", "/dev/vdz", "0:70", KindBlock},
		{"bcachefs", "/dev/sda1:/dev/sdb1", "0:70", KindBlock},
		{"zfs", "pool/data", "0:71", KindBlock},
		{"overlay", "overlay", "0:40", KindOther},
		{"tmpfs", "tmpfs", "0:20", KindOther},
		{"proc", "proc", "0:21", KindOther},
		{"tmpfs", "/dev/rbd0", "0:20", KindOther}, // a source is free text
	} {
		if got := KindOf(tc.fstype, tc.source, tc.device, testBlocks()); got != tc.want {
			t.Errorf("KindOf(%s, %s, %s) = %s, want %s", tc.fstype, tc.source, tc.device, got, tc.want)
		}
	}
}

func TestParseKinds(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want string
		bad  bool
	}{
		{nil, "ceph", false},
		{[]string{"ceph"}, "ceph", false},
		{[]string{"cephfs,rbd"}, "cephfs,rbd", false},
		{[]string{"rbd", "ceph-fuse", "cephfs", "nfs"}, "ceph,nfs", false},
		{[]string{" NFS , cifs"}, "nfs,cifs", false},
		{[]string{"block,fuse"}, "fuse,block", false},
		{[]string{"all"}, "all", false},
		{[]string{"ceph,ext4"}, "", true},
		{[]string{""}, "", true},
		{[]string{"other"}, "", true},
	} {
		got, err := ParseKinds(tc.in)
		if (err != nil) != tc.bad || got.String() != tc.want {
			t.Errorf("ParseKinds(%q) = %q, %v; want %q, error %t", tc.in, got, err, tc.want, tc.bad)
		}
		if err != nil && !strings.Contains(err.Error(), "cephfs, ceph-fuse, rbd, nfs, fuse, cifs, block, all") {
			t.Errorf("error does not list the valid kinds: %v", err)
		}
	}
}

func TestKindSet(t *testing.T) {
	for i := range allKinds + 1 {
		if i == 0 || i.Has(KindOther) && i != allKinds {
			continue // has no words of its own
		}
		back, err := ParseKinds([]string{i.String()})
		if err != nil || back != i {
			t.Errorf("set %d prints as %q and parses as %d, %v", i, i, back, err)
		}
	}
	ceph, _ := ParseKinds([]string{"ceph"})
	if ceph != SetOf(KindCephFS, KindCephFuse, KindRBD) || ceph.Has(KindNFS) || ceph.Has("nonsense") {
		t.Errorf("ceph is %v", ceph.List())
	}
	all, _ := ParseKinds([]string{"all"})
	for _, k := range Kinds() {
		if !all.Has(k) {
			t.Errorf("all lacks %s", k)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"rw,name=admin,acl":                  "rw,name=admin,acl",
		"rw,name=admin,secret=AQBx==,acl":    "rw,name=admin,secret=<redacted>,acl",
		"rw,name=admin,secret=<hidden>,acl":  "rw,name=admin,secret=<redacted>,acl",
		"rw,secret=AQ,Bx+/==,acl":            "rw,secret=<redacted>,acl",
		"rw,username=u,password=p1,vers=3.0": "rw,username=u,password=<redacted>,vers=3.0",
		"rw,PassWd=x":                        "rw,PassWd=<redacted>",
		"rw,key=abc":                         "rw,key=<redacted>",
		"rw,monkey=abc":                      "rw,monkey=abc",
		"rw,sec=krb5,clientaddr=10.0.0.1":    "rw,sec=krb5,clientaddr=10.0.0.1",
	} {
		if got := redactOptions(in); got != want {
			t.Errorf("redactOptions(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"10.99.0.1:6789:/vol1":            "10.99.0.1:6789:/vol1",
		"https://user:pw@host/dav":        "https://user:<redacted>@host/dav",
		"https://user:p@w@host/dav":       "https://user:<redacted>@host/dav",
		"https://user@host/dav?token=abc": "https://user@host/dav?<redacted>",
		"admin@fsid.cephfs=/":             "admin@fsid.cephfs=/",
	} {
		if got := redactSource(in); got != want {
			t.Errorf("redactSource(%q) = %q, want %q", in, got, want)
		}
	}
}

// The text that a recording takes along shows the same table without secrets.
func TestRedactText(t *testing.T) {
	const plain = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	text := plain + "5 1 0:5 / /c\\040d rw master:2 - ceph 10.99.0.1:6789:/ rw,name=csi,secret=AQBx==,acl\n" + plain +
		"6 1 0:6 / /e rw - fuse.dav https://user:pw@host/dav rw,user_id=0\nrubbish secret=AQ\n7 1 0:7 / /f rw - cifs //h/s rw,password=p1"
	want := plain + "5 1 0:5 / /c\\040d rw master:2 - ceph 10.99.0.1:6789:/ rw,name=csi,secret=<redacted>,acl\n" + plain +
		"6 1 0:6 / /e rw - fuse.dav https://user:<redacted>@host/dav rw,user_id=0\nrubbish secret=AQ\n7 1 0:7 / /f rw - cifs //h/s rw,password=<redacted>"
	got := Redact([]byte(text))
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := Redact(got); string(again) != want {
		t.Errorf("again\n%s", again)
	}
	if got := Redact([]byte(plain)); string(got) != plain {
		t.Errorf("plain: %s", got)
	}
}
