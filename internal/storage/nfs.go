package storage

import (
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// NFSMounts reads the NFS mounts of a /proc/PID/mountstats (nfs_show_stats in
// fs/nfs/super.c, rpc_clnt_show_stats and the transports' print_stats in
// net/sunrpc).
func NFSMounts(text string) []facts.NFSMount {
	var list []facts.NFSMount
	var cur *facts.NFSMount
	port := ""
	end := func() {
		if cur != nil && cur.Address != "" && port != "" {
			cur.Address = withPort(cur.Address, port)
		}
		cur, port = nil, ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "device ") || strings.HasPrefix(line, "no device ") {
			end()
			if m, ok := nfsMount(line); ok {
				list = append(list, m)
				cur = &list[len(list)-1]
			}
			continue
		}
		if cur == nil {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch value = strings.TrimSpace(value); key {
		case "age":
			cur.AgeS, _ = strconv.ParseInt(value, 10, 64)
		case "opts":
			cur.Address, port = nfsAddress(value)
		case "xprt":
			if t, ok := nfsTransport(value); ok {
				cur.Transports = append(cur.Transports, t)
			}
		case "RPC iostats version", "per-op statistics", "events", "bytes", "caps", "sec", "nfsv4", "impl_id", "fsc":
		default:
			if op, ok := nfsOp(key, value); ok {
				cur.Ops = append(cur.Ops, op)
			}
		}
	}
	end()
	return list
}

// nfsMount reads "device SOURCE mounted on POINT with fstype nfs4 statvers=1.1".
func nfsMount(line string) (facts.NFSMount, bool) {
	at := strings.LastIndex(line, " with fstype nfs")
	if at < 0 {
		return facts.NFSMount{}, false
	}
	source, point, ok := strings.Cut(line[:at], " mounted on ")
	if !ok {
		return facts.NFSMount{}, false
	}
	return facts.NFSMount{Source: unescape(strings.TrimPrefix(source, "device ")), Point: unescape(point)}, true
}

// unescape turns \040 back into a blank, as seq_path wrote it.
func unescape(s string) string {
	for _, c := range []struct{ octal, char string }{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, c.octal, c.char)
	}
	return s
}

// nfsAddress finds addr= and port= among the options.
func nfsAddress(options string) (address, port string) {
	port = "2049"
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, "addr="); ok {
			address = v
		}
		if v, ok := strings.CutPrefix(o, "port="); ok && v != "0" {
			port = v
		}
	}
	return address, port
}

func withPort(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

// nfsTransport reads "tcp SRCPORT BINDS CONNECTS CONNECT_TIME IDLE SENDS
// RECEIVES ..."; udp has no connects and idle time: "udp SRCPORT BINDS SENDS
// RECEIVES ...". rdma begins as tcp does, local lacks the port.
func nfsTransport(value string) (facts.NFSTransport, bool) {
	f := strings.Fields(value)
	if len(f) == 0 {
		return facts.NFSTransport{}, false
	}
	t := facts.NFSTransport{Proto: f[0], Connects: -1, IdleS: -1}
	numbers := make([]int64, 0, len(f)-1)
	for _, s := range f[1:] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	at := map[string][4]int{"tcp": {2, 4, 5, 6}, "rdma": {2, 4, 5, 6}, "local": {1, 3, 4, 5}, "udp": {-1, -1, 2, 3}}
	places, ok := at[t.Proto]
	if !ok || len(numbers) <= places[3] {
		return t, false
	}
	for i, to := range []*int64{&t.Connects, &t.IdleS, &t.Sends, &t.Receives} {
		if places[i] >= 0 {
			*to = numbers[places[i]]
		}
	}
	return t, true
}

// nfsOp reads "OPERATIONS TRANSMISSIONS MAJOR_TIMEOUTS ..." of an operation, and
// keeps it only if it tells of trouble.
func nfsOp(name, value string) (facts.NFSOp, bool) {
	f := strings.Fields(value)
	if len(f) < 3 || name == "" {
		return facts.NFSOp{}, false
	}
	op := facts.NFSOp{Name: name}
	for i, to := range []*int64{&op.Requests, &op.Transmissions, &op.MajorTimeouts} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return facts.NFSOp{}, false
		}
		*to = n
	}
	return op, op.MajorTimeouts > 0 || op.Transmissions > op.Requests
}
