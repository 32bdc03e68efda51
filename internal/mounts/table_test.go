package mounts

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const podUID = "7d6b5c1e-2f0a-4d6e-9b1b-000000000001"

// hungNode is the mountinfo of a node with hung volumes, verbatim but for the
// long prefixes.
const hungNode = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
27 22 0:25 / /run rw,nosuid,nodev shared:2 - tmpfs tmpfs rw,mode=755
33 22 0:28 / /var/lib/kubelet/pods/7d6b5c1e-2f0a-4d6e-9b1b-000000000001/volumes/kubernetes.io~cephfs/pvc-data rw,relatime shared:13 - ceph 10.99.0.1:6789:/vol1 rw,name=admin,acl
51 22 0:53 / /var/lib/kubelet/pods/7d6b5c1e-2f0a-4d6e-9b1b-000000000001/volumes/kubernetes.io~cephfs/pvc-fuse rw,nosuid,nodev,relatime - fuse.ceph-fuse ceph-fuse rw,user_id=0,group_id=0,allow_other
34 22 253:0 / /var/lib/kubelet/pods/7d6b5c1e-2f0a-4d6e-9b1b-000000000001/volumes/kubernetes.io~rbd/pvc-rbd rw,relatime shared:13 - ext4 /dev/rbd0 rw
`

func mustParse(t testing.TB, text string) *Table {
	t.Helper()
	table, err := Parse([]byte(text), 4026531841, testBlocks())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestParseHungNode(t *testing.T) {
	table := mustParse(t, hungNode)
	dir := "/var/lib/kubelet/pods/" + podUID + "/volumes/"
	want := Mount{
		ID: 33, Parent: 22, Device: "0:28", Root: "/", Point: dir + "kubernetes.io~cephfs/pvc-data",
		FSType: "ceph", Source: "10.99.0.1:6789:/vol1", SuperOptions: "rw,name=admin,acl",
		Kind: KindCephFS, Namespace: 4026531841,
	}
	if got, ok := table.Lookup(want.Point + "/a/b.txt"); !ok || got != want {
		t.Errorf("cephfs: %s", cmp.Diff(want, got))
	}
	rbd, _ := table.ByID(34)
	if rbd.Kind != KindRBD || rbd.Image != "kube/csi-vol-1" {
		t.Errorf("rbd: kind %s, image %q", rbd.Kind, rbd.Image)
	}
	if fuse := table.ByDevice("0:53"); len(fuse) != 1 || fuse[0].Kind != KindCephFuse {
		t.Errorf("ceph-fuse: %+v", fuse)
	}
	if got := table.ByDevice("9:9"); got != nil {
		t.Errorf("a device nobody has: %+v", got)
	}
	if _, ok := table.ByID(999); ok {
		t.Error("an ID nobody has is found")
	}
}

func TestLookup(t *testing.T) {
	const stacked = `30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 0:31 / / rw - tmpfs over-root rw
32 31 0:32 / /only-over-root rw - tmpfs x rw
40 30 0:40 / /a rw - tmpfs a rw
41 40 0:41 / /a/b rw - tmpfs b rw
42 40 0:42 / /a rw - tmpfs a2 rw
43 42 0:43 / /a rw - tmpfs a3 rw
44 43 0:44 / /a/c rw - tmpfs c rw
50 30 0:50 / /twice rw - tmpfs first rw
51 30 0:51 / /twice rw - tmpfs second rw
60 30 0:60 /sub /mnt/with\040space\011tab\134back\012line rw - ceph mon:/ rw
70 30 0:70 /gone//deleted /bind rw - ceph mon:/ rw
80 999 0:80 / /lost/parent rw - nfs srv:/ rw
`
	for _, tc := range []struct {
		path string
		want int // mount ID, 0: not found
	}{
		{"/", 30}, {"//", 30}, {"/x", 30}, {"/..", 30}, {"/only-over-root", 30},
		{"/a", 43}, {"/a/", 43}, {"/a/x", 43}, {"/a/b", 43}, {"/a/b/x", 43},
		{"/a/c", 44}, {"/a/c/d/e", 44}, {"/a/cc", 43}, {"/a/c/..", 43},
		{"/ab", 30}, {"//a//./c/../c/", 44}, {"/a/../twice/x", 51}, {"/../a/c", 44},
		{"/mnt/with space\ttab\\back\nline/f", 60}, {"/mnt/with", 30},
		{"/bind/f", 70}, {"/lost/parent/f", 80}, {"/lost", 30},
		{"", 0}, {"a", 0}, {".", 0}, {"(unreachable)/a", 0}, {"pipe:[1]", 0},
	} {
		got, ok := mustParse(t, stacked).Lookup(tc.path)
		if got.ID != tc.want || ok != (tc.want != 0) {
			t.Errorf("Lookup(%q) = mount %d, %t; want %d", tc.path, got.ID, ok, tc.want)
		}
	}
	bind, _ := mustParse(t, stacked).ByID(70)
	if bind.Root != "/gone" || !bind.RootDeleted {
		t.Errorf("deleted root: %q, %t", bind.Root, bind.RootDeleted)
	}
}

func TestLookupWithoutRoot(t *testing.T) {
	const chroot = `61 60 0:61 / /proc rw - proc proc rw
62 60 0:62 / /data rw - ceph mon:/ rw
63 62 0:63 / /data/deep rw - tmpfs t rw
`
	table := mustParse(t, chroot)
	for path, want := range map[string]int{"/data/f": 62, "/data/deep/f": 63, "/proc": 61} {
		if got, ok := table.Lookup(path); !ok || got.ID != want {
			t.Errorf("Lookup(%q) = %d, %t; want %d", path, got.ID, ok, want)
		}
	}
	for _, path := range []string{"/", "/etc/passwd"} {
		if got, ok := table.Lookup(path); ok {
			t.Errorf("Lookup(%q) = mount %d, want none", path, got.ID)
		}
	}
}

func TestLookupRootfsIsItsOwnParent(t *testing.T) {
	table := mustParse(t, "1 1 0:2 / / rw - rootfs rootfs rw\n2 1 0:3 / / rw - tmpfs t rw\n3 1 0:4 / /x rw - ceph m:/ rw\n")
	for path, want := range map[string]int{"/": 1, "/y": 1, "/x/y": 3} {
		if got, _ := table.Lookup(path); got.ID != want {
			t.Errorf("Lookup(%q) = %d, want %d", path, got.ID, want)
		}
	}
}

// One CSI volume is three mounts of one superblock.
func TestOneVolumeThreeMounts(t *testing.T) {
	pod := "/var/lib/kubelet/pods/" + podUID
	text := "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" +
		"2 1 8:1 /var/lib/kubelet /var/lib/kubelet rw - ext4 /dev/sda1 rw\n" +
		"3 2 0:28 / /var/lib/kubelet/plugins/kubernetes.io/csi/d/s/globalmount rw - ceph m:/v rw\n" +
		"4 2 0:28 / " + pod + "/volumes/kubernetes.io~csi/pvc-1/mount rw - ceph m:/v rw\n" +
		"5 2 0:28 /sub " + pod + "/volume-subpaths/pvc-1/app/0 rw - ceph m:/v rw\n"
	table := mustParse(t, text)
	if got := table.ByDevice("0:28"); len(got) != 3 || got[2].Root != "/sub" {
		t.Errorf("ByDevice: %+v", got)
	}
	if got, _ := table.Lookup(pod + "/volumes/kubernetes.io~csi/pvc-1/mount/f"); got.ID != 4 {
		t.Errorf("pod mount: %d", got.ID)
	}
	if got, _ := table.Lookup(pod + "/volumes/kubernetes.io~csi/pvc-1"); got.ID != 2 {
		t.Errorf("the directory outside the mount: %d", got.ID)
	}
}

func TestParseBroken(t *testing.T) {
	long := "9 1 0:9 / /long rw - overlay o rw,lowerdir=" + strings.Repeat("x", 100_000)
	table := mustParse(t, "rubbish\n1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"+long+"\n5 1 0:5 / /c rw - ceph m:/ rw,secret=AQ==\n6 1 0:")
	if table.Malformed != 3 || len(table.Mounts) != 2 {
		t.Errorf("%d malformed, %d mounts", table.Malformed, len(table.Mounts))
	}
	if _, err := Parse([]byte("1 1 secret=AQBx rubbish"), 0, Blocks{}); err == nil || strings.Contains(err.Error(), "AQBx") {
		t.Errorf("error: %v", err)
	}
	empty, err := Parse(nil, 0, Blocks{})
	if err != nil || len(empty.Mounts) != 0 {
		t.Errorf("empty text: %v, %v", empty, err)
	}
	if _, ok := empty.Lookup("/"); ok {
		t.Error("an empty table has a root")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(hungNode))
	f.Add([]byte("1 1 0:2 /a//deleted /\\040 rw shared:1 master:2 - ceph m:/ rw,secret=sesame,acl\n"))
	f.Add([]byte("5 5 0:2 / / rw - t s rw\n5 5 0:2 / /a rw - t s rw\n6 5 0:2 / /a rw - t s rw\n5 6 0:2 / /a rw - t s rw\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := Parse(text, 7, testBlocks())
		if err != nil {
			return
		}
		for _, m := range table.Mounts {
			if m.Kind.bit() == 0 {
				t.Errorf("no kind: %+v", m)
			}
			if _, ok := table.ByID(m.ID); !ok {
				t.Errorf("mount %d is not found by its ID", m.ID)
			}
			for opt := range strings.SplitSeq(m.SuperOptions, ",") {
				if v, ok := strings.CutPrefix(opt, "secret="); ok && v != redacted {
					t.Errorf("secret kept: %q", opt)
				}
			}
			table.Lookup(m.Point + "/x")
		}
		clean := Redact(text)
		if again := Redact(clean); !bytes.Equal(again, clean) {
			t.Errorf("redacted anew: %q, %q", clean, again)
		}
	})
}

func FuzzLookup(f *testing.F) {
	f.Add(hungNode, "/var/lib/kubelet/pods")
	f.Add("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /a rw - ceph m:/ rw\n", "//a/../a/./b")
	f.Fuzz(func(t *testing.T, text, name string) {
		table, err := Parse([]byte(text), 7, Blocks{})
		if err != nil {
			return
		}
		m, ok := table.Lookup(name)
		if !ok {
			return
		}
		if !strings.HasPrefix(name, "/") {
			t.Errorf("%q is relative", name)
		}
		again, _ := table.Lookup(name + "/.")
		if again != m {
			t.Errorf("%q is on %d, with /. on %d", name, m.ID, again.ID)
		}
	})
}

// manyMounts is the mountinfo of a node with n mounts, most of them of pods.
func manyMounts(n int) []byte {
	var b bytes.Buffer
	b.WriteString("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "%d 22 0:%d / /var/lib/kubelet/pods/7d6b5c1e-2f0a-4d6e-9b1b-%012d/volumes/kubernetes.io~csi/pvc-%d/mount"+
			" rw,relatime shared:%d - ceph 10.99.0.1:6789,10.99.0.2:6789:/volumes/csi/csi-vol-%d rw,name=csi,secret=<hidden>,acl\n",
			100+i, 50+i, i/3, i, i, i)
	}
	return b.Bytes()
}

func BenchmarkParse5000(b *testing.B) {
	text := manyMounts(5000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text, 1, testBlocks()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup5000(b *testing.B) {
	table, err := Parse(manyMounts(5000), 1, testBlocks())
	if err != nil {
		b.Fatal(err)
	}
	name := table.Mounts[3000].Point + "/some/dir/file"
	b.ReportAllocs()
	for b.Loop() {
		if m, ok := table.Lookup(name); !ok || m.ID != table.Mounts[3000].ID {
			b.Fatal(m)
		}
	}
}

// The lines of a hung node with nothing around them: the mounts they sit on are
// not listed, as in a table cut short or read through a chroot.
func TestLookupParentsNotListed(t *testing.T) {
	const vols = "/var/lib/kubelet/pods/" + podUID + "/volumes/"
	table := mustParse(t, "33 1 0:28 / "+vols+"kubernetes.io~cephfs/pvc-data rw,relatime shared:13 - ceph 10.99.0.1:6789:/vol1 rw,name=admin,acl\n"+
		"51 27 0:53 / "+vols+"kubernetes.io~cephfs/pvc-fuse rw,nosuid,nodev,relatime - fuse.ceph-fuse ceph-fuse rw,user_id=0,group_id=0,allow_other\n"+
		"34 1 253:0 / "+vols+"kubernetes.io~rbd/pvc-rbd rw,relatime shared:13 - ext4 /dev/rbd0 rw\n")
	for path, want := range map[string]Kind{
		"kubernetes.io~cephfs/pvc-data/d1": KindCephFS,
		"kubernetes.io~cephfs/pvc-fuse":    KindCephFuse,
		"kubernetes.io~rbd/pvc-rbd/f":      KindRBD,
		"kubernetes.io~rbd":                "",
	} {
		if got, ok := table.Lookup(vols + path); got.Kind != want || ok != (want != "") {
			t.Errorf("%s: %q, %t; want %q", path, got.Kind, ok, want)
		}
	}
}
