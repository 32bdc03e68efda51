package proc

import (
	"bytes"
	"strconv"
	"strings"
)

// Comm is the name of a process: at most 15 bytes.
func (f *FS) Comm(pid int) (string, error) {
	return f.line(pid, 0, fileComm)
}

// ThreadComm is the name of a thread: at most 15 bytes.
func (f *FS) ThreadComm(pid, tid int) (string, error) {
	return f.line(pid, tid, fileComm)
}

// Stat is the text of stat of a thread, or of the process when tid is 0: then
// that of its first thread, which says the same but for the times. Those of the
// process are added up over all its threads.
func (f *FS) Stat(pid, tid int) ([]byte, error) {
	if tid == 0 {
		tid = pid
	}
	return f.read(pid, tid, fileStat, textLimit)
}

// Status is the text of status of a thread, or of the process when tid is 0.
func (f *FS) Status(pid, tid int) ([]byte, error) {
	return f.read(pid, tid, fileStatus, textLimit)
}

// SwitchLines keeps of a status file what a pass is decoded from: of ten thousand
// threads the rest would be most of what is held in memory.
func SwitchLines(status string) string {
	var kept strings.Builder
	for line := range strings.Lines(status) {
		if strings.Contains(line, "ctxt_switches:") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// Wchan is the kernel function a thread sleeps in; "" or "0" when it runs or
// when the reader may not know.
func (f *FS) Wchan(pid, tid int) (string, error) {
	return f.line(pid, tid, fileWchan)
}

// Cgroup is the text of the process's cgroup file: one line a hierarchy.
func (f *FS) Cgroup(pid int) (string, error) {
	text, err := f.read(pid, 0, fileCgroup, textLimit)
	return string(text), err
}

// Limits is the text of the process's resource limits.
func (f *FS) Limits(pid int) (string, error) {
	text, err := f.read(pid, 0, fileLimits, textLimit)
	return string(text), err
}

// Mountinfo is the mount table of the process's mount namespace.
func (f *FS) Mountinfo(pid int) ([]byte, error) {
	return f.read(pid, 0, fileMountinfo, tableLimit)
}

// MountStats is the statistics table of the process's mount namespace: NFS
// keeps its counters there.
func (f *FS) MountStats(pid int) ([]byte, error) {
	return f.read(pid, 0, fileMountstats, tableLimit)
}

// FDInfo is the text of fdinfo/N of a process.
func (f *FS) FDInfo(pid, fd int) (string, error) {
	text, err := readFile(f.dir(pid, 0)+"/fdinfo/"+strconv.Itoa(fd), textLimit)
	return string(text), err
}

func (f *FS) line(pid, tid int, name file) (string, error) {
	text, err := f.read(pid, tid, name, textLimit)
	return string(bytes.TrimSuffix(text, []byte("\n"))), err
}
