package leftover

import (
	"path"
	"strings"
	"time"

	"github.com/hangtrace/hangtrace/internal/facts"
)

const volData = "vol_data.json"

// podDirs are the directories of pods, in order.
func (n *node) podDirs() []string {
	var out []string
	for _, d := range n.scan.Dirs {
		if path.Base(path.Dir(d.Path)) == "pods" && !d.File {
			out = append(out, d.Path)
		}
	}
	return out
}

// volumeDirs are the directories of a pod's volumes, subPaths and block
// volumes: volumes/PLUGIN/NAME, volumeDevices/PLUGIN/NAME, volume-subpaths/NAME.
func (n *node) volumeDirs(pod string) []string {
	var out []string
	for _, d := range n.scan.Dirs {
		rel, ok := strings.CutPrefix(d.Path, pod+"/")
		if !ok {
			continue
		}
		depth := strings.Count(rel, "/")
		switch top, _, _ := strings.Cut(rel, "/"); top {
		case "volumes", "volumeDevices":
			if depth == 2 {
				out = append(out, d.Path)
			}
		case "volume-subpaths":
			if depth == 1 {
				out = append(out, d.Path)
			}
		}
	}
	return out
}

// below are the names that were seen under a directory.
func (n *node) below(dir string) []facts.KubeDir {
	var out []facts.KubeDir
	for _, d := range n.scan.Dirs {
		if strings.HasPrefix(d.Path, dir+"/") {
			out = append(out, d)
		}
	}
	return out
}

// mountedBelow tells whether anything at all is mounted on or below a path in
// the kubelet's namespace, local file systems included.
func (n *node) mountedBelow(dir string) bool {
	for _, t := range n.snap.Mounts {
		if t.Namespace != n.scan.HostNS || t.Earlier {
			continue
		}
		for line := range strings.Lines(t.Text) {
			f := strings.SplitN(line, " ", 6)
			if len(f) == 6 && (f[4] == escaped(dir) || strings.HasPrefix(f[4], escaped(dir)+"/")) {
				return true
			}
		}
	}
	return false
}

// escaped writes a path as mountinfo does.
func escaped(p string) string {
	return strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, "#", `\043`).Replace(p)
}

// age is how long a pod's directories have not changed; 0 unknown.
func (n *node) age(uid string) time.Duration {
	var newest int64
	for _, d := range n.scan.Dirs {
		if d.MTimeNS > newest && strings.Contains(d.Path+"/", "/pods/"+uid+"/") {
			newest = d.MTimeNS
		}
	}
	if newest == 0 {
		return 0
	}
	return n.snap.TakenAt.Sub(time.Unix(0, newest))
}

// young tells whether a pod may be just starting: then its directories are
// there before the container runtime knows it. What was not read is not old.
func (n *node) young(uid string) bool {
	if n.scan.MinAgeS == 0 {
		return false
	}
	return n.age(uid) < time.Duration(n.scan.MinAgeS)*time.Second
}
