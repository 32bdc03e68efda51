package correlate

import (
	"strings"
	"testing"

	"github.com/hangtrace/hangtrace/internal/mounts"
)

// TestStackTable holds the judgement of stacks against what was measured on
// hung nodes (kernel cephfs, ceph-fuse, rbd; 5.10 to 7.2), innermost first.
func TestStackTable(t *testing.T) {
	const (
		fs, lock, page, idle, unknown = waitFS, waitLock, waitPage, waitIdle, waitUnknown
	)
	for _, c := range []struct {
		name, frames string
		kind         waitKind
		fs           mounts.Kind
		server       string
	}{
		{"stat, MDS silent", "wait_for_completion_killable_timeout ceph_mdsc_wait_request[ceph] ceph_mdsc_do_request[ceph] __ceph_do_getattr[ceph] vfs_statx", fs, mounts.KindCephFS, "mds"},
		{"5.10: wait inlined", "ceph_mdsc_do_request[ceph] ceph_atomic_open[ceph] path_openat", fs, mounts.KindCephFS, "mds"},
		{"built-in ceph", "ceph_mdsc_wait_request ceph_mdsc_do_request", fs, mounts.KindCephFS, "mds"},
		{"victim of a creat", "rwsem_down_read_slowpath walk_component path_lookupat", lock, "", ""},
		{"victim, older rwsem", "call_rwsem_down_write_failed down_write path_openat", lock, "", ""},
		{"victim of a readdir", "rwsem_down_read_slowpath iterate_dir __x64_sys_getdents64", lock, "", ""},
		{"wchan of a victim", "walk_component", lock, "", ""},
		{"read behind a write of the inode", "ceph_start_io_read[ceph] ceph_read_iter[ceph] vfs_read", lock, mounts.KindCephFS, ""},
		{"parallel lookup", "d_alloc_parallel __lookup_slow walk_component", lock, "", ""},
		{"df, MON silent", "wait_generic_request[libceph] ceph_monc_do_statfs[libceph] ceph_statfs[ceph] statfs_by_dentry", fs, mounts.KindCephFS, "mon"},
		{"write waits for caps", "wait_woken ceph_get_caps[ceph] ceph_write_iter[ceph] vfs_write", fs, mounts.KindCephFS, ""},
		{"first read of a mount", "wait_request_timeout[libceph] ceph_osdc_call[libceph] ceph_pool_perm_check[ceph]", fs, mounts.KindCephFS, "osd"},
		{"page-cache read, cephfs", "io_schedule folio_wait_bit_common filemap_get_pages ceph_read_iter[ceph]", fs, mounts.KindCephFS, "osd"},
		{"fsync, cephfs", "folio_wait_bit folio_wait_writeback __filemap_fdatawait_range ceph_fsync[ceph]", fs, mounts.KindCephFS, "osd"},
		{"umount", "ceph_mdsc_close_sessions[ceph] ceph_put_super[ceph] generic_shutdown_super cleanup_mnt task_work_run", fs, mounts.KindCephFS, "mds"},
		{"FUSE", "request_wait_answer[fuse] __fuse_simple_request[fuse] fuse_lookup_name[fuse]", fs, mounts.KindFuse, "fuse-daemon"},
		{"FUSE built in", "request_wait_answer fuse_simple_request fuse_do_getattr", fs, mounts.KindFuse, "fuse-daemon"},
		{"FUSE page fault", "folio_wait_bit_common filemap_fault __do_fault handle_mm_fault", page, "", ""},
		{"rbd read", "io_schedule folio_wait_bit_common filemap_read ext4_file_read_iter[ext4]", page, "", ""},
		{"rbd read, 5.10", "io_schedule wait_on_page_bit_common generic_file_buffered_read ext4_file_read_iter", page, "", ""},
		{"rbd ls", "bit_wait_io __wait_on_buffer ext4_read_bh ext4_bread", page, "", ""},
		{"rbd creat", "rwsem_down_write_slowpath walk_component", lock, "", ""},
		{"NFS", "rpc_wait_bit_killable[sunrpc] __rpc_execute[sunrpc] nfs4_proc_getattr[nfsv4]", fs, mounts.KindNFS, "nfs-server"},
		{"CIFS", "wait_for_response[cifs] compound_send_recv[cifs]", fs, mounts.KindCIFS, ""},

		{"FUSE daemon", "fuse_dev_do_read[fuse] fuse_dev_read[fuse] vfs_read", idle, "", ""},
		{"inotify", "wait_woken inotify_read vfs_read", idle, "", ""},
		{"epoll", "ep_poll do_epoll_wait", idle, "", ""},
		{"futex", "futex_wait_queue_me futex_wait do_futex", idle, "", ""},
		{"futex, 6.16", "futex_do_wait __futex_wait futex_wait", idle, "", ""},
		{"nanosleep", "hrtimer_nanosleep __x64_sys_nanosleep", idle, "", ""},
		{"pipe", "pipe_read vfs_read", idle, "", ""},
		{"pipe, 6.14", "anon_pipe_read vfs_read", idle, "", ""},
		{"wait4", "do_wait kernel_wait4", idle, "", ""},
		{"accept", "inet_csk_accept inet_accept", idle, "", ""},
		{"worker", "worker_thread kthread", idle, "", ""},
		{"worker in writeback", "io_schedule folio_wait_bit_common write_cache_pages wb_workfn process_one_work worker_thread kthread", page, "", ""},
		{"journal, idle", "kjournald2 kthread", idle, "", ""},
		{"journal, blocked", "bit_wait_io __wait_on_buffer jbd2_journal_commit_transaction kjournald2 kthread", page, "", ""},
		{"nothing", "", unknown, "", ""},
		{"unknown names", "0xffffffff81234567 do_syscall_64", unknown, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := stackFrames(c.frames)
			v := newStackReader().view(frames, "")
			if v.kind != c.kind || v.fs != c.fs || v.server != c.server {
				t.Errorf("kind %d fs %q server %q, want %d %q %q", v.kind, v.fs, v.server, c.kind, c.fs, c.server)
			}
			if len(frames) == 1 { // where there is no stack, wchan stands for it
				if w := newStackReader().view(nil, c.frames); w.kind != c.kind {
					t.Errorf("wchan: kind %d, want %d", w.kind, c.kind)
				}
			}
		})
	}
}

// stackFrames turns "name[module] name" into frames as they are symbolised.
func stackFrames(text string) []string {
	var frames []string
	for _, f := range strings.Fields(text) {
		name, module, ok := strings.Cut(f, "[")
		if name += "+0x1a"; ok {
			name += " [" + module
		}
		frames = append(frames, name)
	}
	return frames
}

// TestAfterAndFault: on the way back to user space, dying, or in a fault.
func TestAfterAndFault(t *testing.T) {
	for _, c := range []struct {
		frames       string
		after, fault bool
	}{
		{"ceph_mdsc_pre_umount[ceph] cleanup_mnt task_work_run exit_to_user_mode_loop", true, false},
		{"ceph_mdsc_close_sessions[ceph] __cleanup_mnt task_work_run do_notify_resume", true, false},
		{"request_wait_answer[fuse] fuse_flush[fuse] filp_close exit_files do_exit do_group_exit", true, false},
		{"folio_wait_bit_common filemap_fault handle_mm_fault exc_page_fault", false, true},
		{"wait_on_page_bit_common filemap_fault handle_mm_fault do_user_addr_fault", false, true},
		{"folio_wait_bit_common filemap_fault handle_mm_fault do_page_fault do_mem_abort el0_da", false, true},
		{"request_wait_answer[fuse] vfs_statx do_syscall_64", false, false},
		{"request_wait_answer[fuse] vfs_statx invoke_syscall el0_svc", false, false},
	} {
		v := newStackReader().view(stackFrames(c.frames), "")
		if v.after != c.after || v.fault != c.fault {
			t.Errorf("%s: after %v, fault %v", c.frames, v.after, v.fault)
		}
	}
}

// TestSplitFrame: what compilers and the kernel hang on to a name.
func TestSplitFrame(t *testing.T) {
	for frame, want := range map[string][2]string{
		"a+0x1":                   {"a", ""},
		"a+0x1 [ceph]":            {"a", "ceph"},
		"a.constprop.0+0x1":       {"a", ""},
		"a.isra.0.cold+0x1 [nfs]": {"a", "nfs"},
		"a":                       {"a", ""},
		"0xffffffff81234567":      {"0xffffffff81234567", ""},
		"":                        {"", ""},
	} {
		if name, module := splitFrame(frame); name != want[0] || module != want[1] {
			t.Errorf("%q: %q %q", frame, name, module)
		}
	}
}

func FuzzView(f *testing.F) {
	f.Add("request_wait_answer+0x1e [fuse]\ndo_syscall_64+0x5c", "")
	f.Add("", "walk_component")
	f.Add("+[", "[+.")
	f.Fuzz(func(_ *testing.T, stack, wchan string) {
		newStackReader().view(strings.Split(stack, "\n"), wchan)
	})
}
