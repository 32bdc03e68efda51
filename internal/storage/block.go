package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// Blocks returns every block device that the sysfs at root shows, by device
// number, rbd devices also when nothing but the rbd bus knows them any more.
// What could not be read of one is in skipped; only when there is no list of
// devices at all it is an error.
func Blocks(root string) (devices []facts.BlockDevice, skipped []facts.Skipped, err error) {
	r := &reader{root: root}
	list := filepath.Join(root, "dev", "block")
	numbers, err := names(list)
	if err != nil {
		return nil, nil, fmt.Errorf("list block devices: %w", err)
	}
	for _, number := range numbers {
		if !isNumber(number) {
			continue
		}
		target, err := os.Readlink(filepath.Join(list, number))
		if err != nil {
			r.note(filepath.Join(list, number), err)
			continue
		}
		devices = append(devices, r.block(number, target))
	}
	devices = r.addRBD(devices)
	slices.SortFunc(devices, byNumber)
	return devices, r.skipped, nil
}

// isNumber tells whether a name is MAJOR:MINOR.
func isNumber(name string) bool {
	major, minor, ok := splitNumber(name)
	return ok && major >= 0 && minor >= 0
}

func splitNumber(device string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(device, ":")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, found && err1 == nil && err2 == nil
}

func byNumber(a, b facts.BlockDevice) int {
	aMajor, aMinor, _ := splitNumber(a.Device)
	bMajor, bMinor, _ := splitNumber(b.Device)
	return cmp.Or(cmp.Compare(aMajor, bMajor), cmp.Compare(aMinor, bMinor))
}

// block reads one device. target is where /sys/dev/block/NUMBER points: its
// last element is the device's name, and for a partition the one before it the
// disk's.
func (r *reader) block(number, target string) facts.BlockDevice {
	dir := filepath.Join("dev", "block", number)
	name := filepath.Base(target)
	d := facts.BlockDevice{Device: number, Name: name}
	d.InflightReads, d.InflightWrites = r.inflight(dir)
	if _, partition := r.attribute(dir, "partition"); partition {
		disk := filepath.Base(filepath.Dir(target))
		if device, ok := r.attribute("block", disk, "dev"); ok && isNumber(device) {
			d.Below = []string{device}
		}
		return d
	}
	d.Driver = r.driver(name)
	d.Below = r.slaves(name)
	if d.Driver == "nbd" {
		d.NBDPid, _ = r.number("block", name, "pid") // no file: not connected
	}
	return d
}

// inflight reads "     READS    WRITES".
func (r *reader) inflight(dir string) (reads, writes int) {
	text, ok := r.attribute(dir, "inflight")
	if !ok {
		return -1, -1
	}
	reads, writes, err := parseInflight(text)
	if err != nil {
		r.skip(filepath.Join(r.root, dir, "inflight"), err)
	}
	return reads, writes
}

func parseInflight(text string) (reads, writes int, err error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return -1, -1, fmt.Errorf("%q is not two numbers", text)
	}
	reads, err1 := strconv.Atoi(fields[0])
	writes, err2 := strconv.Atoi(fields[1])
	if err := errors.Join(err1, err2); err != nil {
		return -1, -1, fmt.Errorf("%q is not two numbers", text)
	}
	return reads, writes, nil
}

// driver tells what makes the disk, "" for hardware. dm and md disks may have
// any name; the others are named after their driver.
func (r *reader) driver(name string) string {
	if _, ok := r.attribute("block", name, "dm", "name"); ok {
		return "dm"
	}
	for _, driver := range []string{"rbd", "nbd", "loop", "dm-", "md"} {
		if rest, ok := strings.CutPrefix(name, driver); ok && rest != "" && (driver == "md" || isDigits(rest)) {
			return strings.TrimSuffix(driver, "-")
		}
	}
	return ""
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// slaves gives the devices that a dm or md device stands on.
func (r *reader) slaves(name string) []string {
	dir := filepath.Join(r.root, "block", name, "slaves")
	slaves, err := names(dir)
	if err != nil {
		r.note(dir, err)
		return nil
	}
	var below []string
	for _, slave := range slaves {
		if device, ok := r.attribute("block", name, "slaves", slave, "dev"); ok && isNumber(device) {
			below = append(below, device)
		}
	}
	slices.Sort(below)
	return below
}

// addRBD fills in what the rbd bus says of its devices. It also brings the
// ones that are no block device any more: they are held by something.
func (r *reader) addRBD(devices []facts.BlockDevice) []facts.BlockDevice {
	bus := filepath.Join(r.root, "bus", "rbd", "devices")
	ids, err := names(bus)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // else: no rbd module, no device
			r.note(bus, err)
		}
		return devices
	}
	slices.Sort(ids)
	for _, id := range ids {
		if !isDigits(id) {
			continue
		}
		i := slices.IndexFunc(devices, func(d facts.BlockDevice) bool { return d.Name == "rbd"+id })
		if i < 0 {
			major, ok1 := r.number("bus", "rbd", "devices", id, "major")
			minor, ok2 := r.number("bus", "rbd", "devices", id, "minor")
			if !ok1 || !ok2 {
				continue
			}
			i = len(devices)
			devices = append(devices, facts.BlockDevice{
				Device: fmt.Sprintf("%d:%d", major, minor), Name: "rbd" + id, Driver: "rbd",
				InflightReads: -1, InflightWrites: -1,
			})
		}
		r.rbd(&devices[i], id)
	}
	return devices
}

func (r *reader) rbd(d *facts.BlockDevice, id string) {
	get := func(name string) string {
		text, _ := r.attribute("bus", "rbd", "devices", id, name)
		return text
	}
	d.Driver = "rbd"
	d.Pool, d.PoolNS, d.Image = get("pool"), get("pool_ns"), get("name")
	d.ImageID, d.ClusterFSID, d.ClientID = get("image_id"), get("cluster_fsid"), get("client_id")
}
