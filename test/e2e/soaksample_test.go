package e2e

import (
	order "encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sample is what a session has at a moment.
type sample struct {
	at                     time.Time
	rss, fds, threads, bpf int64
	children               map[string]string // state by "/proc/PID/stat since START", dead ones too
}

func rss(s sample) int64      { return s.rss }
func fds(s sample) int64      { return s.fds }
func threads(s sample) int64  { return s.threads }
func children(s sample) int64 { return int64(len(s.children)) }
func objects(s sample) int64  { return s.bpf }

func take(pid int) sample {
	s := sample{at: time.Now(), children: make(map[string]string)}
	dir := "/proc/" + strconv.Itoa(pid)
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d", &kb); err == nil {
			s.rss = kb << 10
		}
	}
	s.threads = int64(len(entries(dir + "/task")))
	for _, name := range entries(dir + "/fd") {
		s.fds++
		if to, _ := os.Readlink(dir + "/fd/" + name); strings.Contains(to, "bpf") {
			s.bpf++
		}
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		const state, parent, started = 0, 1, 19 // proc(5) counts them 3, 4 and 22
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > started && fields[parent] == strconv.Itoa(pid) {
			s.children[name+" since "+fields[started]] = fields[state]
		}
	}
	return s
}

func entries(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	return names
}

// stayed lists the children that a session had in three samples in a row: what
// it asks them for takes them a moment.
func stayed(list []sample) []string {
	var out []string
	for i := 2; i < len(list); i++ {
		for who, state := range list[i].children {
			if list[i-1].children[who] != "" && list[i-2].children[who] != "" {
				out = append(out, who+" "+state)
			}
		}
	}
	return out
}

// parts cuts the time into tenths.
func parts(list []sample) [][]sample {
	var out [][]sample
	for i := range soakParts {
		out = append(out, list[i*len(list)/soakParts:(i+1)*len(list)/soakParts])
	}
	return out
}

func most(list []sample, of func(sample) int64) int64 {
	var n int64
	for _, s := range list {
		n = max(n, of(s))
	}
	return n
}

func middle(list []sample, of func(sample) int64) int64 {
	all := make([]int64, len(list))
	for i, s := range list {
		all[i] = of(s)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// table shows the samples as the documents do.
func table(list []sample) string {
	var b strings.Builder
	b.WriteString("| until minute | memory, median and most, MiB | descriptors | threads | children, most | BPF descriptors |\n|---|---|---|---|---|---|\n")
	for _, part := range parts(list) {
		if len(part) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %.0f | %.1f, %.1f | %d | %d | %d | %d |\n", part[len(part)-1].at.Sub(list[0].at).Minutes(),
			float64(middle(part, rss))/(1<<20), float64(most(part, rss))/(1<<20),
			middle(part, fds), middle(part, threads), most(part, children), middle(part, objects))
	}
	return b.String()
}

// mapOf copies the array that a process holds with values and entries of these
// sizes.
func mapOf(t *testing.T, pid, valueSize, entriesAtLeast int) []byte {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	require.NoError(t, err)
	for _, name := range names {
		text, _ := os.ReadFile(name)
		field := map[string]int{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			field[key], _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if field["value_size"] != valueSize || field["max_entries"] < entriesAtLeast || field["map_type"] != unix.BPF_MAP_TYPE_ARRAY {
			continue
		}
		attr := struct{ id, next, flags, _ uint32 }{id: uint32(field["map_id"])}
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		require.Zero(t, errno, "map %d", field["map_id"])
		defer unix.Close(int(fd))
		memory, err := unix.Mmap(int(fd), 0, valueSize*field["max_entries"], unix.PROT_READ, unix.MAP_SHARED)
		require.NoError(t, err)
		defer func() { _ = unix.Munmap(memory) }()
		return slices.Clone(memory)
	}
	require.FailNow(t, "it holds no such map", "values of %d bytes", valueSize)
	return nil
}

// staleSlots lists the tracer's slots (struct slot in bpf/hangtrace.h) of
// threads that are no more.
func staleSlots(t *testing.T, pid int) []string {
	t.Helper()
	const size, freed = 128, 0xffffffff
	var stale []string
	used := 0
	for slots := mapOf(t, pid, size, 4096); len(slots) >= size; slots = slots[size:] {
		tid := order.NativeEndian.Uint32(slots)
		if tid == 0 || tid == freed {
			continue
		}
		used++
		if unix.Kill(int(tid), 0) == unix.ESRCH {
			stale = append(stale, fmt.Sprintf("thread %d of %d, call %d, flags %x", tid, order.NativeEndian.Uint32(slots[4:]),
				int32(order.NativeEndian.Uint32(slots[64:]))-1, order.NativeEndian.Uint32(slots[68:])))
		}
	}
	require.Positive(t, used, "no slot is in use: this is not the map")
	return stale
}

// staleTargets counts the processes that the tracer follows (the bytes of its
// map "traced") and that are no more.
func staleTargets(t *testing.T, pid int) int {
	t.Helper()
	n, used := 0, 0
	for tgid, on := range mapOf(t, pid, 8, 1<<19) {
		if on == 0 {
			continue
		}
		used++
		if unix.Kill(tgid, 0) == unix.ESRCH {
			n++
		}
	}
	require.Positive(t, used, "nobody is traced: this is not the map")
	return n
}
