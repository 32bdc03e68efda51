package mounts

import (
	"fmt"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// Blocks is an index over the block devices of the node. The zero value knows
// none.
type Blocks struct {
	byDevice map[string]facts.BlockDevice
	byName   map[string]string
}

// NewBlocks indexes devices by number and by name.
func NewBlocks(devices []facts.BlockDevice) Blocks {
	b := Blocks{
		byDevice: make(map[string]facts.BlockDevice, len(devices)),
		byName:   make(map[string]string, len(devices)),
	}
	for _, d := range devices {
		b.byDevice[d.Device] = d
		b.byName[d.Name] = d.Device
	}
	return b
}

func (b Blocks) knows(device string) bool {
	_, ok := b.byDevice[device]
	return ok
}

// remote returns the number of the rbd or nbd device that device is or stands
// on.
func (b Blocks) remote(device string) (string, bool) {
	d, ok := b.Remote(device)
	return d.Device, ok
}

// Remote returns the rbd or nbd device that device ("253:0") is or stands on,
// through partitions, dm (LVM, LUKS, multipath) and md. Of several, one: a
// stripe over a remote and a local disk hangs with the remote one.
func (b Blocks) Remote(device string) (facts.BlockDevice, bool) {
	seen := map[string]bool{}
	todo := []string{device}
	for len(todo) > 0 {
		cur := todo[0]
		todo = todo[1:]
		if seen[cur] {
			continue
		}
		seen[cur] = true
		d, ok := b.byDevice[cur]
		if !ok {
			continue
		}
		if d.Driver == "rbd" || d.Driver == "nbd" {
			return d, true
		}
		todo = append(todo, d.Below...)
	}
	return facts.BlockDevice{}, false
}

// Image names the rbd image that a device is or stands on, as POOL/IMAGE; "" if
// it stands on none, or on one without a name.
func (b Blocks) Image(device string) string {
	d, _ := b.Remote(device)
	return image(d)
}

// image names an rbd image as rbd(8) does: POOL/[NAMESPACE/]IMAGE, "" when the
// device tells none, as nbd does not.
func image(d facts.BlockDevice) string {
	if d.Pool == "" || d.Image == "" {
		return ""
	}
	if d.PoolNS != "" {
		return d.Pool + "/" + d.PoolNS + "/" + d.Image
	}
	return d.Pool + "/" + d.Image
}

// DeviceNumber is a device ("0:28") as the kernel numbers it, major << 20 | minor,
// which is the number of a FUSE connection, too.
func DeviceNumber(device string) (number uint32, ok bool) {
	var major, minor uint32
	if _, err := fmt.Sscanf(device, "%d:%d", &major, &minor); err != nil {
		return 0, false
	}
	return major<<20 | minor, true
}
