package syscalls

import (
	"slices"
	"testing"
)

func TestGroups(t *testing.T) {
	for group, calls := range map[string][]string{
		"file": {"openat", "newfstatat", "mount", "execve", "fchmodat2"}, "desc": {"read", "write", "close", "epoll_wait"},
		"process": {"clone", "exit_group", "wait4"}, "network": {"connect", "recvmsg"}, "memory": {"mmap", "brk", "mseal"},
		"signal": {"kill", "rt_sigaction"}, "%stat": {"stat", "statx", "fstat", "lstat"}, "%statfs": {"statfs", "fstatfs"},
	} {
		got, ok := Group(group)
		if !ok {
			t.Errorf("no group %s", group)
		}
		for _, c := range calls {
			if !slices.Contains(got, c) {
				t.Errorf("%s lacks %s", group, c)
			}
		}
	}
	if _, ok := Group("nothing"); ok || len(Groups()) < 15 {
		t.Errorf("groups %v", Groups())
	}
	// Whatever takes a path is in %file: nothing new is forgotten.
	file, _ := Group("file")
	for _, arch := range []Arch{AMD64, ARM64, I386, ARM} {
		for _, c := range All(arch) {
			if len(c.PathArgs([6]uint64{})) > 0 && !slices.Contains(file, c.Name) {
				t.Errorf("%s takes a path and is not in %%file", c.Name)
			}
		}
	}
}
