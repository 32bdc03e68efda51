package ceph

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// guestPrograms are what an operator's commands run, as Debian ships them: the
// guest's busybox has others of the same name, which do less.
var guestPrograms = []string{"dash", "mount", "umount", "mountpoint", "nsenter", "unshare", "rbd", "ceph-fuse"}

// libraries are the absolute paths in the output of ldd.
var libraries = regexp.MustCompile(`(/\S+) \(0x`)

// installPrograms copies programs with their libraries into the guest.
func (l *lab) installPrograms(names []string) {
	l.t.Helper()
	tree := filepath.Join(l.run, "share", "programs")
	copied := map[string]bool{}
	for _, name := range names {
		program, err := exec.LookPath(name)
		if err != nil {
			l.t.Fatal(err)
		}
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			l.t.Fatalf("ldd %s: %v", program, err)
		}
		// In /usr/bin: busybox is in /bin.
		files := map[string]string{program: "/usr/bin/" + name}
		for _, m := range libraries.FindAllStringSubmatch(string(out), -1) {
			files[m[1]] = m[1]
		}
		for from, to := range files {
			if copied[to] {
				continue
			}
			copied[to] = true
			data, err := os.ReadFile(from)
			if err != nil {
				l.t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(tree+to), 0o755); err != nil {
				l.t.Fatal(err)
			}
			if err := os.WriteFile(tree+to, data, 0o755); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	l.mustGuest(60*time.Second, "cp -r /share/programs/. /")
}

// operator runs a command in the guest as somebody at a shell of Debian would.
func (l *lab) operator(command string) output {
	l.t.Helper()
	const end = "END-OF-THE-COMMAND"
	if strings.Contains(command, end) {
		l.t.Fatalf("odd command %q", command)
	}
	return l.guest(90*time.Second, "cat >/run/lab/command <<'"+end+"'\n"+command+"\n"+end+"\n"+
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin exec /usr/bin/dash /run/lab/command")
}
