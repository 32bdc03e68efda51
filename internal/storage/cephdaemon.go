package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// CephDaemonCommands are what a ceph-fuse daemon's admin socket is asked. All of
// them answer from the daemon's memory.
var CephDaemonCommands = []string{"mds_requests", "objecter_requests", "mds_sessions", "status"}

// CephDaemonClient reads a ceph-fuse daemon out of the answers of its admin
// socket, by command. What does not parse is left out; an error says that
// nothing did.
func CephDaemonClient(pid int, answers map[string][]byte) (facts.CephState, error) {
	c := facts.CephState{Source: facts.SourceAdminSocket, PID: pid, CephFS: true}
	parsers := map[string]func(*facts.CephState, []byte) error{
		"mds_requests": daemonMDSRequests, "objecter_requests": daemonOSDRequests,
		"mds_sessions": daemonSessions, "status": daemonStatus,
	}
	var errs []error
	parsed := 0
	for _, command := range CephDaemonCommands {
		text, ok := answers[command]
		if !ok {
			continue
		}
		if err := parsers[command](&c, text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", command, err))
			continue
		}
		parsed++
	}
	if parsed == 0 {
		return c, errors.Join(errs...)
	}
	return c, nil
}

// daemonMDSRequests reads mds_requests: an object with one "request" for each,
// all under the same key.
func daemonMDSRequests(c *facts.CephState, text []byte) error {
	return eachValue(text, func(key string, value json.RawMessage) error {
		if key != "request" {
			return nil
		}
		var r struct {
			TID      uint64  `json:"tid"`
			Op       string  `json:"op"`
			Path     string  `json:"path"`
			Path2    string  `json:"path2"`
			Age      float64 `json:"age"`
			MDS      *int    `json:"mds"`
			Unsafe   int     `json:"got_unsafe"`
			Attempts int     `json:"retry_attempt"`
			AbortRC  int     `json:"abort_rc"`
		}
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		out := facts.CephMDSRequest{TID: r.TID, Op: r.Op, Rank: -1, Unsafe: r.Unsafe != 0, Aborted: r.AbortRC != 0, Attempts: r.Attempts}
		if r.MDS != nil {
			out.Rank = max(*r.MDS, -1)
		}
		out.AgeMS = daemonAge(r.Age)
		out.Ino, out.Name = daemonPath(r.Path)
		out.Ino2, out.Name2 = daemonPath(r.Path2)
		c.MDSRequests = append(c.MDSRequests, out)
		return nil
	})
}

// daemonAge turns seconds into ms; what cannot be an age is unknown.
func daemonAge(seconds float64) int64 {
	if seconds > 0 && seconds < 1e9 {
		return int64(seconds * 1000)
	}
	return 0
}

// daemonPath reads a filepath as Ceph prints it: "#0x10000000000/d3".
func daemonPath(s string) (ino uint64, name string) {
	s, ok := strings.CutPrefix(s, "#")
	if !ok {
		return 0, s
	}
	head, name, _ := strings.Cut(s, "/")
	ino, err := strconv.ParseUint(head, 0, 64)
	if err != nil {
		return 0, ""
	}
	return ino, name
}

// eachValue goes through an object whose keys may repeat, which a map would
// lose.
func eachValue(text []byte, f func(key string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return errors.New("no object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		name, _ := key.(string)
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// daemonOSDRequests reads objecter_requests.
func daemonOSDRequests(c *facts.CephState, text []byte) error {
	var answer struct {
		Ops []struct {
			TID      uint64   `json:"tid"`
			PG       string   `json:"pg"`
			OSD      int      `json:"osd"`
			Object   string   `json:"object_id"`
			Attempts int      `json:"attempts"`
			Age      float64  `json:"age"`
			Ops      []string `json:"osd_ops"`
		} `json:"ops"`
		Statfs []struct {
			TID uint64 `json:"tid"`
		} `json:"statfs_ops"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	for _, r := range answer.Ops {
		pool, _, _ := strings.Cut(r.PG, ".")
		out := facts.CephOSDRequest{TID: r.TID, OSD: max(r.OSD, -1), PG: r.PG, Object: r.Object, Attempts: r.Attempts, Op: strings.Join(r.Ops, " ")}
		out.Pool, _ = strconv.ParseInt(pool, 10, 64)
		out.AgeMS = daemonAge(r.Age)
		c.OSDRequests = append(c.OSDRequests, out)
	}
	for _, r := range answer.Statfs {
		c.MONRequests = append(c.MONRequests, facts.CephMONRequest{TID: r.TID, Op: "statfs"})
	}
	return nil
}

// daemonSessions reads mds_sessions.
func daemonSessions(c *facts.CephState, text []byte) error {
	type address struct {
		Type string `json:"type"`
		Addr string `json:"addr"`
	}
	var answer struct {
		ID       uint64 `json:"id"`
		Sessions []struct {
			MDS   int    `json:"mds"`
			State string `json:"state"`
			Addrs struct {
				List []address `json:"addrvec"`
			} `json:"addrs"`
			Addr address `json:"addr"` // before Nautilus
		} `json:"sessions"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	c.ID = answer.ID
	for _, s := range answer.Sessions {
		m := facts.CephMDS{Rank: s.MDS, Session: s.State}
		list := append(s.Addrs.List, s.Addr)
		if list[0].Addr != "" {
			m.Address = list[0].Type + ":" + list[0].Addr
		}
		c.MDS = append(c.MDS, m)
	}
	return nil
}

// daemonStatus reads status.
func daemonStatus(c *facts.CephState, text []byte) error {
	var answer struct {
		ID          uint64 `json:"id"`
		Blocklisted bool   `json:"blocklisted"`
		Blacklisted bool   `json:"blacklisted"` // before Pacific
		Metadata    struct {
			Point string `json:"mount_point"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	if answer.ID != 0 {
		c.ID = answer.ID
	}
	c.Blocklisted, c.Point = answer.Blocklisted || answer.Blacklisted, answer.Metadata.Point
	return nil
}
