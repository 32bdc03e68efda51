package correlate

import (
	"strings"

	"github.com/hangtrace/hangtrace/internal/mounts"
)

// waitKind says what a kernel stack shows a thread waiting in.
type waitKind uint8

const (
	waitUnknown waitKind = iota // no stack, or nothing known in it
	waitIdle                    // waits by nature: pipe, socket, lock, /dev/fuse reader
	waitLock                    // queued behind another thread's lock
	waitPage                    // for a page, buffer or block of any file system
	waitFS                      // inside a file system's own code
)

// stackView is what a kernel stack tells.
type stackView struct {
	kind waitKind
	// fs is the file system whose code is on the stack: cephfs, fuse (any
	// FUSE), nfs, cifs, rbd; "" when none is.
	fs mounts.Kind
	// frame is the frame that decided.
	frame string
	// after tells that the thread is on its way back to user space, or dies:
	// whatever call it was in has returned.
	after bool
	fault bool // a page fault
	// journal tells that it waits for a journal's own thread.
	journal bool
	// server is whom that frame waits for: mds, osd, mon, ...; "" unknown.
	server string
}

// The functions a stack is judged by. A prefix ends in "*". Order matters only
// between idle and the rest: idle frames decide first, since a reader of
// /dev/fuse has FUSE code on its stack and waits by nature.
var (
	idleFrames = []string{
		"fuse_dev_do_read", "fuse_dev_splice_read", "fuse_dev_read", "fuse_uring_*", "cuse_*",
		"pipe_read", "anon_pipe_read", "pipe_write", "anon_pipe_write", "pipe_wait*", "wait_for_partner", "fifo_open", "splice_from_pipe*",
		"inotify_read", "fanotify_read", "eventfd_read", "timerfd_read*", "signalfd_*", "userfaultfd_read", "handle_userfault",
		"ep_poll", "do_epoll_wait", "do_sys_poll", "do_poll", "do_select", "poll_schedule_timeout*",
		"futex_wait*", "__futex_wait", "futex_do_wait", "futex_lock_pi*",
		"hrtimer_nanosleep", "do_nanosleep", "do_wait", "do_sigtimedwait", "sigsuspend", "do_signal_stop", "ptrace_stop",
		"inet_csk_accept", "unix_accept", "unix_wait_for_peer", "sk_wait_data", "skb_wait_for_more_packets",
		"__skb_wait_for_more_packets", "unix_stream_*", "unix_dgram_*", "sk_stream_wait_*", "tcp_recvmsg*", "inet_stream_connect", "vsock_*",
		"n_tty_read", "tty_*", "wait_port_writable", "virtcons_*", "hvc_*", "read_null", "evdev_read", "rtc_dev_read",
		"locks_lock_inode_wait", "flock_lock_inode_wait", "posix_lock_inode_wait", "fcntl_setlk*",
		"io_cqring_wait", "read_events", "do_io_getevents", "do_semtimedop", "do_msgrcv", "wq_sleep",
		"svc_recv",
		"do_syslog", "devkmsg_read", "kmsg_read", "bpf_ringbuf_*", "perf_read", "ring_buffer_wait", "seccomp_do_user_notification",
		"wait_for_vfork_done", "wait_for_common_vfork", "do_freezer_trap", "__refrigerator", "do_msg_fill", "random_read*",
	}
	// The main loops of kernel threads stand at the bottom of every stack of
	// theirs: idle only where nothing further in says otherwise.
	loopFrames = []string{"worker_thread", "rescuer_thread", "smpboot_thread_fn", "kthread_worker_fn", "loop_thread", "kjournald2", "io_wq_worker"}
	lockFrames = []string{
		"rwsem_down_*", "__down_read*", "__down_write*", "down_read*", "down_write*", "__mutex_lock*", "mutex_lock*",
		"d_alloc_parallel", "d_wait_lookup", "__wait_on_freeing_inode", "lock_rename*", "iterate_dir", "inode_lock*",
		"__rt_mutex*", "rwsem_*", "lock_mount*", "percpu_rwsem_wait", "__percpu_down_read", "vma_start_read*", "__vma_start_write", "vma_wait_*",
		"walk_component", "lookup_slow", "open_last_lookups", "lookup_open*",
		// The file systems' own, around an inode's lock: the lock's frames are
		// not on stacks where they are inlined or belong to the scheduler.
		"ceph_start_io_*", "nfs_start_io_*", "netfs_start_io_*", "fuse_lock_inode",
	}
	pageFrames = []string{
		"folio_wait_bit*", "wait_on_page_bit*", "folio_wait_*", "wait_on_page_*", "__lock_page*", "__folio_lock*", "filemap_fault",
		"wait_on_buffer", "__wait_on_buffer", "bit_wait_io*", "ext4_read_bh*", "blkdev_*", "submit_bio_wait", "blk_*",
		"jbd2_*", "wait_transaction_locked", "ext4_*", "xfs_*", "btrfs_*", "wb_wait_for_completion", "sync_inodes_sb",
		"filemap_*", "__filemap_*", "io_schedule*", "balance_dirty_pages*", "dm_*", "md_*", "nvme_*", "scsi_*",
	}
	// A page fault shows one of these.
	faultFrames = []string{"handle_mm_fault", "exc_page_fault", "do_user_addr_fault", "do_page_fault", "do_mem_abort", "el0_da", "el0_ia", "__do_fault", "asm_exc_page_fault"}
	// Work on a process's memory map, which takes its lock.
	memoryFrames = []string{"do_mprotect_pkey", "__vm_munmap", "vm_mmap_pgoff", "ksys_mmap_pgoff", "vm_brk*", "__do_sys_brk", "do_madvise",
		"mremap_to", "__do_sys_mremap", "lock_mm_and_find_vma", "do_mlock", "apply_mlockall_flags"}
	// On the way back to user space, or dying.
	afterFrames = []string{"task_work_run", "exit_to_user_mode_loop", "exit_to_user_mode_prepare", "syscall_exit_to_user_mode",
		"do_notify_resume", "resume_user_mode_work", "do_exit", "do_group_exit", "exit_files", "cleanup_mnt", "delayed_fput"}
)

// fsModules names file systems by the module of a frame.
var fsModules = map[string]mounts.Kind{
	"ceph": mounts.KindCephFS, "libceph": "", "rbd": mounts.KindRBD, "nbd": mounts.KindRBD,
	"fuse": mounts.KindFuse, "virtiofs": mounts.KindFuse,
	"nfs": mounts.KindNFS, "nfsv3": mounts.KindNFS, "nfsv4": mounts.KindNFS, "sunrpc": mounts.KindNFS,
	"cifs": mounts.KindCIFS,
}

// fsFrames names file systems that are built into the kernel by their
// functions; "" marks code that two of them share.
var fsFrames = []struct {
	pattern string
	fs      mounts.Kind
	server  string
}{
	{"request_wait_answer", mounts.KindFuse, "fuse-daemon"},
	{"fuse_*", mounts.KindFuse, "fuse-daemon"},
	{"__fuse_*", mounts.KindFuse, "fuse-daemon"},
	{"ceph_mdsc_*", mounts.KindCephFS, "mds"},
	{"ceph_get_caps", mounts.KindCephFS, ""},
	{"wait_generic_request", "", "mon"},
	{"ceph_monc_*", "", "mon"},
	{"ceph_osdc_*", "", "osd"},
	{"ceph_pool_perm_check", mounts.KindCephFS, "osd"},
	{"wait_request_timeout", "", "osd"},
	{"ceph_*", mounts.KindCephFS, ""},
	{"rbd_*", mounts.KindRBD, "osd"},
	{"nbd_*", mounts.KindRBD, ""},
	{"nfs_*", mounts.KindNFS, "nfs-server"},
	{"nfs3_*", mounts.KindNFS, "nfs-server"},
	{"nfs4_*", mounts.KindNFS, "nfs-server"},
	{"rpc_wait_bit_killable", mounts.KindNFS, "nfs-server"},
	{"__rpc_execute", mounts.KindNFS, "nfs-server"},
	{"cifs_*", mounts.KindCIFS, ""},
	{"smb2_*", mounts.KindCIFS, ""},
	{"SMB2_*", mounts.KindCIFS, ""},
	{"wait_for_response", mounts.KindCIFS, ""},
	{"autofs_wait", mounts.KindOther, ""},
}

// frameClass is what one frame tells.
type frameClass struct {
	idle, loop, lock, page, fault, after, journal, isFS bool
	fs                                                  mounts.Kind
	server                                              string
}

// stackReader judges stacks. Frames repeat a thousandfold, so each text is
// looked at once.
type stackReader struct {
	classes map[string]frameClass
}

func newStackReader() *stackReader {
	return &stackReader{classes: make(map[string]frameClass)}
}

func (r *stackReader) class(frame string) frameClass {
	c, ok := r.classes[frame]
	if ok {
		return c
	}
	name, module := splitFrame(frame)
	c = frameClass{
		idle: matches(idleFrames, name), loop: matches(loopFrames, name), lock: matches(lockFrames, name), page: matches(pageFrames, name),
		fault: matches(faultFrames, name), after: matches(afterFrames, name), journal: matches(journalFrames, name),
	}
	c.fs, c.server, c.isFS = fsOf(name, module)
	r.classes[frame] = c
	return c
}

// view judges a symbolised kernel stack, innermost frame first; wchan stands in
// when there is none.
func (r *stackReader) view(frames []string, wchan string) stackView {
	if len(frames) == 0 && wchan != "" {
		frames = []string{wchan}
	}
	var v stackView
	for _, f := range frames {
		c := r.class(f)
		v.fault = v.fault || c.fault
		v.after = v.after || c.after
		v.journal = v.journal || c.journal
		switch {
		case v.kind == waitIdle:
		case c.idle && v.kind != waitFS, c.loop && v.kind == waitUnknown:
			v.kind, v.frame = waitIdle, f
		default:
			v.look(f, c)
		}
	}
	return v
}

// look takes one frame into account: file-system code outranks pages, pages
// outrank nothing. A lock counts only where it is what the thread sleeps in,
// which is further in than any file-system code.
func (v *stackView) look(frame string, c frameClass) {
	switch {
	case v.kind == waitUnknown && c.lock:
		v.kind, v.frame, v.fs = waitLock, frame, c.fs
	case c.isFS && v.kind == waitLock:
		// The file system's own frame around a lock: it waits for the lock.
		if v.fs == "" {
			v.fs = c.fs
		}
	case c.isFS:
		if v.kind == waitPage && v.server == "" && c.fs == mounts.KindCephFS {
			v.server = "osd" // pages come from OSDs, whatever code waits for them
		}
		if v.kind != waitFS {
			v.kind, v.frame = waitFS, frame
		}
		if v.fs == "" {
			v.fs = c.fs
		}
		if v.server == "" {
			v.server = c.server
		}
	case v.kind == waitUnknown && c.page:
		v.kind, v.frame = waitPage, frame
	}
}

// changesMemory tells whether a frame works on a process's memory map.
func changesMemory(frame string) bool {
	name, _ := splitFrame(frame)
	return matches(memoryFrames, name)
}

func fsOf(name, module string) (fs mounts.Kind, server string, ok bool) {
	for _, f := range fsFrames {
		if match(f.pattern, name) {
			fs, server, ok = f.fs, f.server, true
			break
		}
	}
	if m, known := fsModules[module]; known {
		if m != "" {
			fs = m
		}
		ok = true
	}
	return fs, server, ok
}

// splitFrame cuts "name+0x1a [module]".
func splitFrame(f string) (name, module string) {
	name, rest, _ := strings.Cut(f, "+")
	if _, m, ok := strings.Cut(rest, "["); ok {
		module = strings.TrimSuffix(m, "]")
	}
	name, _, _ = strings.Cut(name, ".") // .constprop.0, .isra.0, .cold
	return name, module
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if match(p, name) {
			return true
		}
	}
	return false
}

func match(pattern, name string) bool {
	if p, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, p)
	}
	return pattern == name
}
