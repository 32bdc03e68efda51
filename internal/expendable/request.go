// Package expendable does what may hang in a child process that can be given up.
//
// In: requests that touch what a hung mount or a jammed process may block:
// user memory, a thread's call and stack, files, directories, symbolic links.
// Out: the answers that came before the deadline, and the children that did
// not die when told to. The child is this program itself, started again with a
// hidden command word. The parent must never touch what the requests name,
// never wait for a child longer than it says, and never start a second child
// for a key (a process, a device) while a former one lives, even one that an
// earlier run of the program left behind.
package expendable

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/hangtrace/hangtrace/internal/facts"
)

// ChildCommand is the hidden command word on which cmd calls Main.
const ChildCommand = "expendable-child"

// An Op is what a Request asks for.
type Op string

// The operations. Main takes further ones.
const (
	OpStrings  Op = "strings"  // PID, Addrs, Max -> Strings
	OpMemory   Op = "memory"   // PID, Addr, Len -> Data, Truncated
	OpThreads  Op = "threads"  // PID, TIDs -> Threads
	OpCmdline  Op = "cmdline"  // PID -> Args
	OpProcFile Op = "procfile" // PID, Path (auxv, maps, io) -> Data
	OpReaddir  Op = "readdir"  // Root, Path, Max, NoXDev -> Entries, Truncated
	OpReadfile Op = "readfile" // Root, Path, Max, NoXDev -> Data, Truncated
	OpResolve  Op = "resolve"  // PID, Path, SafeMounts, NoFollow -> Resolved
	OpTree     Op = "tree"     // Root, Path, Patterns, Max -> Entries, Truncated
	OpPins     Op = "pins"     // PIDs, Names, Devices -> Pins
	OpProbe    Op = "probe"    // Root, Path, Device -> Data (an errno's name)
	OpGet      Op = "get"      // PID, URL (an address of the machine) -> Code, Data, Truncated
	OpRead     Op = "read"     // Root, Path (a block device), Device -> Data (an errno's name)
	OpAdmin    Op = "admin"    // PID, Names (commands) -> Entries (the socket), Texts
	OpDial     Op = "dial"     // PID (whose network; 0: this), Names (addresses), Max (ms) -> Dialed
)

// Raw is a byte string as the kernel gives it: a path, a name, an argument. It
// survives JSON when it is not UTF-8 too.
type Raw string

type rawBytes struct {
	Bytes []byte `json:"bytes"`
}

// MarshalJSON writes a string, or {"bytes": base64} when it is not UTF-8.
func (r Raw) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(r)) {
		return json.Marshal(string(r))
	}
	return json.Marshal(rawBytes{[]byte(r)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Raw) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		var b rawBytes
		err := json.Unmarshal(text, &b)
		*r = Raw(b.Bytes)
		return err
	}
	var s string
	err := json.Unmarshal(text, &s)
	*r = Raw(s)
	return err
}

// Request is one thing to do. Which fields count depends on Op.
type Request struct {
	Op   Op    `json:"op"`
	PID  int   `json:"pid,omitempty"`
	TIDs []int `json:"tids,omitempty"`

	Addrs []uint64 `json:"addrs,omitempty"`
	Addr  uint64   `json:"addr,omitempty"`
	Len   int      `json:"len,omitempty"`

	// Root is a directory that is opened first; it may itself be a magic link
	// such as /proc/1/root. Path is looked up below it, without following any
	// symbolic link.
	Root Raw `json:"root,omitempty"`
	Path Raw `json:"path,omitempty"`
	// Max bounds the answer: bytes of a string or file, entries of a
	// directory. 0 stands for a default.
	Max int `json:"max,omitempty"`
	// After makes OpReadfile answer with what follows the line that is equal to
	// it; the whole file is read for that, the answer bounded by Max. "" for all.
	After string `json:"after,omitempty"`
	// NoXDev refuses to cross a mount point below Root.
	NoXDev bool `json:"no_xdev,omitempty"`

	// SafeMounts are the mount points that OpResolve may step onto: those of
	// healthy local file systems. The root of the process is always one.
	SafeMounts []Raw `json:"safe_mounts,omitempty"`
	// NoFollow leaves a symbolic link in the last element alone, as lstat does.
	NoFollow bool `json:"no_follow,omitempty"`

	// Patterns say which names OpTree lists: path.Match patterns relative to
	// Path, each element of which is matched by itself.
	Patterns []string `json:"patterns,omitempty"`
	// PIDs are the processes of OpPins, Names the links to look at: cwd and
	// root when empty. OpAdmin and OpDial have other names in it.
	PIDs  []int    `json:"pids,omitempty"`
	Names []string `json:"names,omitempty"`
	// Device is the number that the answer must come from, "0:53".
	Device string `json:"device,omitempty"`
	// Devices asks OpPins for the device, too, which may block.
	Devices bool `json:"devices,omitempty"`

	// URL is what OpGet asks, "http" or "https" to an address with a port, from
	// the network namespace of PID.
	URL string `json:"url,omitempty"`

	// Params is for operations that Main was given.
	Params json.RawMessage `json:"params,omitempty"`
}

// String says what the request does, for people.
func (r Request) String() string {
	switch r.Op {
	case OpProbe, OpRead:
		return fmt.Sprintf("%s of %q on device %s", r.Op, string(r.Path), r.Device)
	case OpAdmin:
		return fmt.Sprintf("admin socket of process %d", r.PID)
	case OpDial:
		return fmt.Sprintf("connections to %d addresses", len(r.Names))
	case OpPins:
		return fmt.Sprintf("directories of %d processes", len(r.PIDs))
	case OpGet:
		return fmt.Sprintf("%s %s", r.Op, r.URL)
	case OpReaddir, OpReadfile, OpTree:
		return fmt.Sprintf("%s %q below %s", r.Op, string(r.Path), string(r.Root))
	case OpResolve, OpProcFile:
		return fmt.Sprintf("%s %q of process %d", r.Op, string(r.Path), r.PID)
	}
	return fmt.Sprintf("%s of process %d", r.Op, r.PID)
}

// Answer is what became of one request.
type Answer struct {
	Index int `json:"index"`
	// Err is why there is no answer, or why it is not whole; "" if it is.
	Err string `json:"err,omitempty"`
	// Partial marks a line of several for the same request. The runner adds
	// them up; it stays set when the last of them did not come.
	Partial bool `json:"partial,omitempty"`

	Strings   []String        `json:"strings,omitempty"`
	Data      []byte          `json:"data,omitempty"`
	Threads   []Thread        `json:"threads,omitempty"`
	Args      []Raw           `json:"args,omitempty"`
	Entries   []Entry         `json:"entries,omitempty"`
	Pins      []Pin           `json:"pins,omitempty"`
	Texts     []Text          `json:"texts,omitempty"`
	Dialed    []Dialed        `json:"dialed,omitempty"`
	Resolved  *Resolved       `json:"resolved,omitempty"`
	Truncated bool            `json:"truncated,omitempty"`
	Code      int             `json:"code,omitempty"` // of HTTP
	Result    json.RawMessage `json:"result,omitempty"`
}

// String is a NUL-ended string in a process's memory.
type String struct {
	Addr      uint64 `json:"addr"`
	Value     Raw    `json:"value"`
	Truncated bool   `json:"truncated,omitempty"` // no NUL within Max, or in what is mapped
	Err       string `json:"err,omitempty"`
}

// Thread is what may block of a thread's directory, without the last newline.
type Thread struct {
	TID     int    `json:"tid"`
	Syscall string `json:"syscall"`
	Stack   string `json:"stack"`
	Status  string `json:"status"` // its switch counts, read after the two
	Err     string `json:"err,omitempty"`
}

// Entry is a name in a directory.
type Entry struct {
	Name Raw `json:"name"`
	// Type is the directory's own word for what it is: one of the DT_
	// constants, DT_UNKNOWN where the file system does not say.
	Type uint8 `json:"type"`
	// MTimeNS is when a directory that OpTree stepped into last changed.
	MTimeNS int64 `json:"mtime_ns,omitempty"`
}

// Pin is what a process's working or root directory keeps in use.
type Pin struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // "cwd", "root" or "fd/7"
	Path Raw    `json:"path"`
	// MountID is that of the mount it is on, Device the superblock's number if
	// it was asked for.
	MountID int    `json:"mount_id"`
	Device  string `json:"device,omitempty"`
}

// Text is one of several texts of an answer.
type Text struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Dialed is what became of a TCP connection.
type Dialed struct {
	Address string `json:"address"`
	// Errno is the error's name, "" for a connection; ETIMEDOUT when none came
	// about in time. Err is why none was tried.
	Errno string `json:"errno,omitempty"`
	Err   string `json:"err,omitempty"`
	// Entered tells that it was made from the network namespace asked for.
	Entered bool  `json:"entered,omitempty"`
	TookMS  int64 `json:"took_ms"`
}

// Resolved is a path with its symbolic links followed.
type Resolved struct {
	// Path is absolute, in the root of the process.
	Path Raw `json:"path"`
	// Complete is false when a part of Path lies beyond a mount point that was
	// not stepped onto, so that links in it were not followed.
	Complete bool `json:"complete"`
	// Mount is the mount point that ended the walk, if one did.
	Mount Raw `json:"mount,omitempty"`
}

// UserStrings gives the strings of an answer to OpStrings as facts.
func (a Answer) UserStrings(pid int) []facts.UserString {
	out := make([]facts.UserString, 0, len(a.Strings))
	for _, s := range a.Strings {
		out = append(out, facts.UserString{
			PID: pid, Addr: s.Addr, Value: string(s.Value), Truncated: s.Truncated, Err: s.Err,
		})
	}
	return out
}

// add appends a further line for the same request.
func (a *Answer) add(line Answer) {
	a.Strings = append(a.Strings, line.Strings...)
	a.Data = append(a.Data, line.Data...)
	a.Threads = append(a.Threads, line.Threads...)
	a.Args = append(a.Args, line.Args...)
	a.Entries = append(a.Entries, line.Entries...)
	a.Pins = append(a.Pins, line.Pins...)
	a.Texts = append(a.Texts, line.Texts...)
	a.Dialed = append(a.Dialed, line.Dialed...)
	if line.Resolved != nil {
		a.Resolved = line.Resolved
	}
	if line.Result != nil {
		a.Result = line.Result
	}
	if line.Code != 0 {
		a.Code = line.Code
	}
	a.Truncated = a.Truncated || line.Truncated
	a.Partial, a.Err = line.Partial, line.Err
}
