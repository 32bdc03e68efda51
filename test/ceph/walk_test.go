package ceph

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// walksUnderLoad runs the loader's own test in the guest: the walker over real
// cephfs structures while they change, and the guest's kernel log.
// HANGTRACE_WALKS sets how many; 10,000 is the long run.
func (l *lab) walksUnderLoad() {
	walks := 100
	if n, err := strconv.Atoi(os.Getenv("HANGTRACE_WALKS")); err == nil {
		walks = n
	}
	program := filepath.Join(l.run, "share", "loader.test")
	build := exec.Command("go", "test", "-c", "-o", program, "../../internal/loader")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("build the loader's test: %v: %s", err, out)
	}
	// Not below /mnt, which the loader's tests cover with a file system of their
	// own. A client of its own, and mounts and unmounts of whole file systems beside
	// the test's own bind mounts.
	limit := 3*time.Minute + time.Duration(walks)*100*time.Millisecond
	o := l.guest(limit, fmt.Sprintf(`set -e
		cp /share/loader.test /bin/; mkdir -p /ceph/load /ceph/again
		mount -t ceph 10.99.0.1:6789:/ /ceph/load -o name=admin,noshare
		touch /run/loading
		( while [ -e /run/loading ]; do mount -t ceph 10.99.0.1:6789:/ /ceph/again -o name=admin,noshare && ls /ceph/again >/dev/null && umount /ceph/again; done ) >/dev/null 2>&1 </dev/null &
		mkdir -p /ceph/load/load
		status=0
		HANGTRACE_WALK_CEPH=/ceph/load/load HANGTRACE_WALKS=%d HANGTRACE_REQUIRE_BPF=1 loader.test -test.v -test.run 'TestWalkCephUnderLoad|TestWalkerLoadsEachTime' || status=$?
		rm /run/loading; wait
		umount /ceph/load
		exit $status`, walks))
	if o.code != 0 {
		l.t.Errorf("status %d: %s%s", o.code, o.stdout, o.stderr)
	}
	l.t.Log(o.stdout)
}
