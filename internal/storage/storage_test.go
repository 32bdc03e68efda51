package storage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// sysfs builds a tree of files and links ("name -> target").
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name, target, link := strings.Cut(name, " -> ")
		name = filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		if link {
			must(t, os.Symlink(target, name))
			continue
		}
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a node with a local disk, LVM over a partition of an rbd image, an
// nbd device, a RAID and a loop device.
func node(t *testing.T) string {
	const virtual = "devices/virtual/block/"
	return sysfs(t, map[string]string{
		"dev/block/8:0 -> ../../devices/pci0/sda": "", "block/sda -> ../devices/pci0/sda": "",
		"devices/pci0/sda/dev": "8:0\n", "devices/pci0/sda/inflight": "       1        2\n",
		"dev/block/8:1 -> ../../devices/pci0/sda/sda1": "",
		"devices/pci0/sda/sda1/partition":              "1\n", "devices/pci0/sda/sda1/inflight": "       0        0\n",

		"dev/block/253:0 -> ../../devices/rbd/0/block/rbd0": "", "block/rbd0 -> ../devices/rbd/0/block/rbd0": "",
		"devices/rbd/0/block/rbd0/dev": "253:0\n", "devices/rbd/0/block/rbd0/inflight": "       0        7\n",
		"dev/block/253:1 -> ../../devices/rbd/0/block/rbd0/rbd0p1": "",
		"devices/rbd/0/block/rbd0/rbd0p1/partition":                "1\n",
		"devices/rbd/0/block/rbd0/rbd0p1/dev":                      "253:1\n",
		"bus/rbd/devices/0 -> ../../../devices/rbd/0":              "",
		"devices/rbd/0/pool":                                       "kube\n", "devices/rbd/0/pool_ns": "\n", "devices/rbd/0/name": "csi-vol-1\n",
		"devices/rbd/0/image_id": "10ab\n", "devices/rbd/0/cluster_fsid": "f-s-id\n", "devices/rbd/0/client_id": "client4123\n",
		"devices/rbd/0/major": "253\n", "devices/rbd/0/minor": "0\n",

		"devices/rbd/3/pool": "kube\n", "devices/rbd/3/pool_ns": "ns\n", "devices/rbd/3/name": "gone\n",
		"devices/rbd/3/major": "253\n", "devices/rbd/3/minor": "48\n",
		"bus/rbd/devices/3 -> ../../../devices/rbd/3": "",

		"dev/block/252:0 -> ../../" + virtual + "dm-0": "", "block/dm-0 -> ../" + virtual + "dm-0": "",
		virtual + "dm-0/dm/name": "vg-lv\n", virtual + "dm-0/dev": "252:0\n", virtual + "dm-0/inflight": "       0        7\n",
		virtual + "dm-0/slaves/rbd0p1 -> ../../../../rbd/0/block/rbd0/rbd0p1": "",

		"dev/block/9:127 -> ../../" + virtual + "md127": "", "block/md127 -> ../" + virtual + "md127": "",
		virtual + "md127/slaves/sda -> ../../../../pci0/sda": "",
		virtual + "md127/slaves/nbd1 -> ../../nbd1":          "",

		"dev/block/43:32 -> ../../" + virtual + "nbd1": "", "block/nbd1 -> ../" + virtual + "nbd1": "",
		virtual + "nbd1/dev": "43:32\n", virtual + "nbd1/pid": "4711\n", virtual + "nbd1/inflight": "nonsense\n",
		"dev/block/7:0 -> ../../" + virtual + "loop0": "", virtual + "loop0/inflight": "0 0\n",
		"dev/block/garbage -> x": "",
	})
}

func TestBlocks(t *testing.T) {
	root := node(t)
	got, skipped, err := Blocks(root)
	must(t, err)
	want := []facts.BlockDevice{
		{Device: "7:0", Name: "loop0", Driver: "loop"},
		{Device: "8:0", Name: "sda", InflightReads: 1, InflightWrites: 2},
		{Device: "8:1", Name: "sda1", Below: []string{"8:0"}},
		{Device: "9:127", Name: "md127", Driver: "md", Below: []string{"43:32", "8:0"}, InflightReads: -1, InflightWrites: -1},
		{Device: "43:32", Name: "nbd1", Driver: "nbd", NBDPid: 4711, InflightReads: -1, InflightWrites: -1},
		{Device: "252:0", Name: "dm-0", Driver: "dm", Below: []string{"253:1"}, InflightWrites: 7},
		{
			Device: "253:0", Name: "rbd0", Driver: "rbd", InflightWrites: 7, Pool: "kube", Image: "csi-vol-1",
			ImageID: "10ab", ClusterFSID: "f-s-id", ClientID: "client4123",
		},
		{Device: "253:1", Name: "rbd0p1", Below: []string{"253:0"}, InflightReads: -1, InflightWrites: -1},
		{
			Device: "253:48", Name: "rbd3", Driver: "rbd", Pool: "kube", PoolNS: "ns", Image: "gone",
			InflightReads: -1, InflightWrites: -1,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if len(skipped) != 1 || !strings.HasSuffix(skipped[0].What, "43:32/inflight") ||
		skipped[0].Why != `"nonsense" is not two numbers` {
		t.Errorf("skipped %+v", skipped)
	}
}

func TestBlocksWithoutSysfs(t *testing.T) {
	if _, _, err := Blocks(t.TempDir()); err == nil || !strings.Contains(err.Error(), "dev/block") {
		t.Errorf("error %v", err)
	}
}

func TestBlocksOfThisMachine(t *testing.T) {
	if _, err := os.Stat("/sys/dev/block"); err != nil {
		t.Skip("no sysfs here")
	}
	devices, skipped, err := Blocks("/sys")
	must(t, err)
	for _, d := range devices {
		if d.Name == "" || !isNumber(d.Device) {
			t.Errorf("device %+v", d)
		}
	}
	if len(skipped) != 0 {
		t.Errorf("skipped %v", skipped)
	}
}

func TestFuseConnections(t *testing.T) {
	root := sysfs(t, map[string]string{
		"fs/fuse/connections/53/waiting": "3\n", "fs/fuse/connections/53/congestion_threshold": "9\n",
		"fs/fuse/connections/53/max_background": "12\n",
		"fs/fuse/connections/8388609/waiting":   "0\n",
		"fs/fuse/connections/7/waiting":         "many\n",
		"fs/fuse/connections/x/waiting":         "1\n",
	})
	got, degraded, err := FuseConnections(root)
	must(t, err)
	want := []facts.FuseConnection{
		{Number: 7, Device: "0:7", Waiting: -1, CongestionThreshold: -1, MaxBackground: -1},
		{Number: 53, Device: "0:53", Waiting: 3, CongestionThreshold: 9, MaxBackground: 12},
		{Number: 8388609, Device: "8:1", CongestionThreshold: -1, MaxBackground: -1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	if len(degraded) != 1 || !strings.Contains(degraded[0], "/7/waiting") || !strings.Contains(degraded[0], `"many" is no number`) {
		t.Errorf("degraded %q", degraded)
	}
}

func TestFuseConnectionsNotShown(t *testing.T) {
	got, degraded, err := FuseConnections(t.TempDir())
	if len(got) != 0 || len(degraded) != 0 || err != nil {
		t.Errorf("without FUSE: %v, %q, %v", got, degraded, err)
	}
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "fs/fuse/connections"), 0o755))
	got, degraded, err = FuseConnections(root)
	if len(got) != 0 || err != nil || len(degraded) != 1 || !strings.Contains(degraded[0], "not mounted") {
		t.Errorf("without fusectl: %v, %q, %v", got, degraded, err)
	}
}

// TestAttributes holds the list of what is read: a new name must be thought
// about first, for some of sysfs holds secrets and some takes locks.
func TestAttributes(t *testing.T) {
	root := node(t)
	allowed := []string{
		"partition", "inflight", "dev", "name", "pid", "pool", "pool_ns", "image_id", "cluster_fsid", "client_id", "major", "minor",
	}
	var fifos []string
	for _, dir := range []string{"devices/rbd/0", "devices/pci0/sda", "devices/virtual/block/nbd1", "devices/virtual/block/dm-0/dm"} {
		for _, name := range []string{
			"config_info", "size", "snap_id", "current_snap", "parent", "features", "client_addr", "refresh", "uevent", "trace",
			"backing_file", "backend", "uuid", "stat", "queue", "ro",
		} {
			if !slices.Contains(allowed, name) {
				fifo := filepath.Join(root, dir, name)
				must(t, unix.Mkfifo(fifo, 0o600))
				fifos = append(fifos, fifo)
			}
		}
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	must(t, err)
	defer unix.Close(watch)
	for _, fifo := range fifos {
		_, err := unix.InotifyAddWatch(watch, fifo, unix.IN_OPEN)
		must(t, err)
	}
	_, _, err = Blocks(root)
	must(t, err)
	if n, _ := unix.Read(watch, make([]byte, 4096)); n > 0 {
		t.Error("an attribute was opened that is not on the list")
	}
}

func TestLockdown(t *testing.T) {
	const file = "kernel/security/lockdown"
	for text, want := range map[string]string{
		"[none] integrity confidentiality\n": "none",
		"none integrity [confidentiality]\n": "confidentiality",
		"":                                   "", "odd\n": "",
	} {
		if got := Lockdown(sysfs(t, map[string]string{file: text})); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if got := Lockdown(t.TempDir()); got != "" {
		t.Errorf("without securityfs: %q", got)
	}
}

func TestReadAttributeBlocksNever(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(name, 0o600))
	done := make(chan struct{})
	go func() { defer close(done); _, _ = readAttribute(name) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("blocked")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("       1        2\n")
	f.Add("253:0")
	f.Fuzz(func(t *testing.T, text string) {
		reads, writes, err := parseInflight(text)
		if err != nil && (reads != -1 || writes != -1) {
			t.Errorf("%q: %d %d with error", text, reads, writes)
		}
		if isNumber(text) && !strings.Contains(text, ":") {
			t.Errorf("%q is no device number", text)
		}
	})
}
