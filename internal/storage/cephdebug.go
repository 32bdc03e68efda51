package storage

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// CephDebugFiles are the files of a client's directory in debugfs that are
// read, those first whose loss would be the worst. "caps" is not among them: it
// takes the lock of every session, and is asked for by itself.
// "client_options" is never read.
var CephDebugFiles = []string{"mdsc", "osdc", "monc", "mds_sessions", "mdsmap", "osdmap", "monmap", "status"}

// CephCapsFile is the file with the capabilities, CephCapsWaiters the line in it
// behind which the table of waiters follows.
const (
	CephCapsFile    = "caps"
	CephCapsWaiters = "Waiters:"
)

// CephDebugClient reads a client out of the text of its files in debugfs. name
// is its directory's: FSID.clientNUMBER. Lines that are none are left out: names
// of files may hold anything, line breaks too.
func CephDebugClient(name string, files map[string]string) facts.CephState {
	c := facts.CephState{Source: facts.SourceDebugfs}
	if at := strings.LastIndex(name, ".client"); at >= 0 {
		c.FSID = name[:at]
		c.ID, _ = strconv.ParseUint(name[at+len(".client"):], 10, 64)
	}
	_, c.CephFS = files["mdsc"]
	c.MDSRequests = parseMDSC(files["mdsc"])
	c.OSDRequests = parseOSDC(files["osdc"])
	c.MONRequests = parseMONC(files["monc"])
	c.MDS = parseMDSMap(files["mdsmap"])
	addSessions(&c, files["mds_sessions"])
	c.OSDs, c.Pools = parseOSDMap(files["osdmap"])
	c.MONs = parseMONMap(files["monmap"])
	c.Blocklisted = strings.Contains(files["status"], "blocklisted: true")
	return c
}

// parseMDSC reads mdsc (mdsc_show in fs/ceph/debugfs.c): "TID\tmdsN\tOP\t
// WHAT", where WHAT is "#INO", or "#INO/NAME (PATH)" twice for a rename.
func parseMDSC(text string) []facts.CephMDSRequest {
	var list []facts.CephMDSRequest
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 4)
		if len(f) != 4 {
			continue
		}
		tid, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		r := facts.CephMDSRequest{TID: tid, Rank: -1, Op: f[2]}
		if rank, ok := strings.CutPrefix(f[1], "mds"); ok {
			if n, err := strconv.Atoi(rank); err == nil && n >= 0 {
				r.Rank = n
			}
		}
		what, unsafe := strings.CutPrefix(f[3], "(unsafe)")
		r.Unsafe = unsafe
		var rest string
		r.Ino, r.Name, r.Path, rest = mdsTarget(what)
		if rest != "" {
			r.Ino2, r.Name2, r.Path2, _ = mdsTarget(rest)
		}
		list = append(list, r)
	}
	return list
}

// mdsTarget reads "#INO", "#INO/NAME" or "#INO/NAME (PATH)" and gives what
// follows. A name may hold " (" itself: the path ends in the name, so the
// bracket is the one where it does.
func mdsTarget(s string) (ino uint64, name, path, rest string) {
	s, ok := strings.CutPrefix(strings.TrimLeft(s, " "), "#")
	if !ok {
		return 0, "", "", ""
	}
	digits := len(s) - len(strings.TrimLeft(s, "0123456789abcdef"))
	ino, err := strconv.ParseUint(s[:digits], 16, 64)
	if err != nil {
		return 0, "", "", ""
	}
	s = s[digits:]
	if !strings.HasPrefix(s, "/") {
		return ino, "", "", s
	}
	s = s[1:]
	for at := strings.Index(s, " ("); at >= 0; {
		name, path := s[:at], s[at+2:]
		for end := strings.Index(path, ")"); end >= 0; {
			p := path[:end]
			tail := path[end+1:]
			if (p == name || strings.HasSuffix(p, "/"+name) || p == "") && (tail == "" || strings.HasPrefix(tail, " #")) {
				return ino, name, p, tail
			}
			next := strings.Index(path[end+1:], ")")
			if next < 0 {
				break
			}
			end += 1 + next
		}
		next := strings.Index(s[at+1:], " (")
		if next < 0 {
			break
		}
		at += 1 + next
	}
	if before, after, ok := strings.Cut(s, " #"); ok { // no path: two inodes
		return ino, before, "", " #" + after
	}
	return ino, s, "", ""
}

// parseOSDC reads osdc (osdc_show in net/ceph/debugfs.c).
func parseOSDC(text string) []facts.CephOSDRequest {
	var list []facts.CephOSDRequest
	linger := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "REQUESTS "):
			linger = false
			continue
		case line == "LINGER REQUESTS":
			linger = true
			continue
		case line == "BACKOFFS":
			return list
		}
		if r, ok := osdRequest(line); ok {
			r.Linger = linger
			list = append(list, r)
		}
	}
	return list
}

// osdRequest reads "TID\tosdN\tPG\tSPG\t[UP]/P\t[ACTING]/P\teE\tOBJECT\tFLAGS"
// and, behind a "P" for a paused one, "\tATTEMPTS\tOP,OP".
func osdRequest(line string) (r facts.CephOSDRequest, ok bool) {
	f := strings.Split(line, "\t")
	if len(f) < 9 {
		return r, false
	}
	tid, err := strconv.ParseUint(f[0], 10, 64)
	osd, isOSD := strings.CutPrefix(f[1], "osd")
	n, err2 := strconv.Atoi(osd)
	if err != nil || !isOSD || err2 != nil {
		return r, false
	}
	r = facts.CephOSDRequest{TID: tid, OSD: max(n, -1), PG: f[3], Object: f[7], Attempts: -1}
	pool, _, _ := strings.Cut(f[2], ".")
	r.Pool, _ = strconv.ParseInt(pool, 10, 64)
	rest := f[9:]
	if len(rest) > 0 && rest[0] == "P" {
		r.Paused, rest = true, rest[1:]
	}
	if len(rest) > 0 {
		if n, err := strconv.Atoi(rest[0]); err == nil && n >= 0 {
			r.Attempts = n
		}
		r.Op = strings.Join(rest[1:], " ")
	}
	return r, true
}

// parseMONC reads the requests of monc (monc_show): "TID statfs". The lines
// before them begin with a word.
func parseMONC(text string) []facts.CephMONRequest {
	var list []facts.CephMONRequest
	for line := range strings.Lines(text) {
		first, op, ok := strings.Cut(strings.TrimSpace(line), " ")
		if tid, err := strconv.ParseUint(first, 10, 64); ok && err == nil {
			list = append(list, facts.CephMONRequest{TID: tid, Op: op})
		}
	}
	return list
}

// parseMDSMap reads the ranks of mdsmap: "\tmds0\t(1)10.0.0.1:6811\t(up:active)".
func parseMDSMap(text string) []facts.CephMDS {
	var list []facts.CephMDS
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if rank, ok := numbered(f[0], "mds"); ok {
			list = append(list, facts.CephMDS{Rank: rank, Address: cephAddress(f[1]), State: strings.Trim(f[2], "()")})
		}
	}
	return list
}

// addSessions reads mds_sessions: "mds.0 open".
func addSessions(c *facts.CephState, text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		rank, ok := numbered(f[0], "mds.")
		if !ok {
			continue
		}
		found := false
		for i := range c.MDS {
			if c.MDS[i].Rank == rank {
				c.MDS[i].Session, found = f[1], true
			}
		}
		if !found {
			c.MDS = append(c.MDS, facts.CephMDS{Rank: rank, Session: f[1]})
		}
	}
}

// parseOSDMap reads osdmap (osdmap_show): "pool 3 'rbd' ..." and
// "osd0\t(1)10.0.0.1:6801\t100%\t(exists, up)\t100%\t-1".
func parseOSDMap(text string) (osds []facts.CephOSD, pools []facts.CephPool) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if rest, ok := strings.CutPrefix(line, "pool "); ok {
			number, rest, _ := strings.Cut(rest, " '")
			name, _, ok := strings.Cut(rest, "' ")
			if id, err := strconv.ParseInt(number, 10, 64); ok && err == nil {
				pools = append(pools, facts.CephPool{ID: id, Name: name})
			}
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) < 4 {
			continue
		}
		if id, ok := numbered(f[0], "osd"); ok {
			osds = append(osds, facts.CephOSD{ID: id, Address: cephAddress(f[1]), State: strings.Trim(f[3], "()")})
		}
	}
	return osds, pools
}

// parseMONMap reads monmap: "\tmon0\t(1)10.0.0.1:6789".
func parseMONMap(text string) []facts.CephMON {
	var list []facts.CephMON
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if rank, ok := numbered(f[0], "mon"); ok {
			list = append(list, facts.CephMON{Rank: rank, Address: cephAddress(f[1])})
		}
	}
	return list
}

func numbered(s, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0
}

// cephAddress turns the kernel's "(1)10.0.0.1:6789" into Ceph's own
// "v1:10.0.0.1:6789". An address that is not set is "(0)..." or has no port.
func cephAddress(s string) string {
	kind, rest, ok := strings.Cut(strings.TrimPrefix(s, "("), ")")
	if !ok || !strings.HasPrefix(s, "(") {
		return s
	}
	rest, _, _ = strings.Cut(rest, "/")
	switch kind {
	case "1":
		return "v1:" + rest
	case "2":
		return "v2:" + rest
	case "3":
		return "any:" + rest
	}
	return ""
}

// CephCapWaiters reads what follows CephCapsWaiters in caps: a head line, a
// rule, and "TGID INO NEED WANT" a line.
func CephCapWaiters(text string) []facts.CephCapWaiter {
	var list []facts.CephCapWaiter
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		tgid, err1 := strconv.Atoi(f[0])
		ino, err2 := strconv.ParseUint(f[1], 0, 64)
		if cmp.Or(err1, err2) != nil || tgid <= 0 {
			continue
		}
		w := facts.CephCapWaiter{TGID: tgid, Ino: ino}
		if len(f) > 2 {
			w.Need = f[2]
		}
		if len(f) > 3 {
			w.Want = f[3]
		}
		list = append(list, w)
	}
	return list
}
