//go:build ignore
/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The snapshot: iterators over threads and their open files. Nothing is
 * attached and no user memory is read, so nothing here can wait for anybody.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "hangtrace.h"
#include "task.h"

/* knobs */
struct snapshot_config {
	u32 all;	    /* every process, not only those in targets */
	u32 kernel_threads; /* kernel threads too */
	u32 blocked_only;   /* leave out stacks of threads that can run */
	u32 children;	    /* those whose parent is in targets, too */
};
const volatile struct snapshot_config cfg;

/* maps */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC: mostly a handful */
	__type(key, u32);
	__type(value, u8);
} targets SEC(".maps");

/* Processes whose open files are wanted: few, also when every thread is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, 1);
	__type(key, u32);
	__type(value, u8);
} file_targets SEC(".maps");

/* Not 0: only open files of this device are wanted, of any process. */
u32 device_files;

/*
 * Threads in a wait that was judged to be none on a file system, by TID. As long
 * as such a thread does not run, its registers and stack are what they were, and
 * most threads of a node do not run for hours.
 */
struct rest {
	u64 start_ns;
	u64 switches;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, 1);
	__type(key, u32);
	__type(value, struct rest);
} resting SEC(".maps");

u64 stats[STAT_MAX] STATS;

struct task_buffer {
	struct task_record r;
	u64 stack[STACK_DEPTH];
};
struct file_buffer {
	struct file_record r;
	char path[PATH_LEN];
};
/* One reader runs one iterator at a time, so plain globals will do. */
static struct task_buffer task_buf;
static struct file_buffer file_buf;

#define SYMBOL_LEN   192
#define SYMBOL_BATCH 16 /* the verifier follows each turn */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SYMBOL_BATCH);
	__type(key, u32);
	__type(value, u64);
} symbol_addrs SEC(".maps");
struct symbol_text {
	char s[SYMBOL_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SYMBOL_BATCH);
	__type(key, u32);
	__type(value, struct symbol_text);
} symbol_texts SEC(".maps");

/* logic */

/*
 * The iterator's task is a pointer that the kernel knows the type of, so its
 * fields are loaded without a helper's call for each: half of a pass. Not so
 * those that are pointers themselves: since 6.2 the verifier looks through the
 * names of all types whether such a load can be trusted, a millisecond each.
 */
static __always_inline u32 state_of(struct task_struct *t)
{
	if (bpf_core_field_exists(t->__state))
		return t->__state;
	return (u32)((struct task_struct___pre514 *)t)->state;
}

static __always_inline bool is_compat(struct task_struct *t)
{
#if defined(__TARGET_ARCH_x86)
	return t->thread_info.status & TS_COMPAT;
#else
	return t->thread_info.flags & (1ul << TIF_32BIT);
#endif
}

static __always_inline bool wanted(struct task_struct *t)
{
	u32 tgid = t->tgid;

	if (cfg.all)
		return cfg.kernel_threads || !(t->flags & PF_KTHREAD);
	if (bpf_map_lookup_elem(&targets, &tgid))
		return true;
	if (!cfg.children)
		return false;
	tgid = BPF_CORE_READ(t, real_parent, tgid);
	return bpf_map_lookup_elem(&targets, &tgid) != NULL;
}

/* A mount of the kernel's own (pipes, sockets) has an error pointer here. */
static __always_inline bool mount_detached(struct mnt_namespace *ns)
{
	return ns == NULL;
}

static __always_inline struct mount *real_mount(struct vfsmount *m)
{
	return (void *)m - bpf_core_field_offset(struct mount, mnt);
}

static __always_inline void fill_registers(struct task_record *r, struct task_struct *t)
{
	struct pt_regs regs;
	struct call_regs c = {};

	r->nr = -1;
	/* A kernel thread never entered from user space: nothing is saved. */
	if (r->task_flags & PF_KTHREAD)
		return;
	if (task_regs(t, &regs)) {
		__sync_fetch_and_add(&stats[STAT_REGS_FAULT], 1);
		return;
	}
	call_regs(&c, &regs);
	if (r->flags & TASK_COMPAT)
		call_regs_compat(&c, &regs);
	__builtin_memcpy(r->args, c.args, sizeof(r->args));
	r->pc = c.pc;
	r->sp = c.sp;
	r->bp = c.bp;
	r->lr = c.lr;
	r->ret = c.ret;
	r->nr = c.nr;
	r->flags |= TASK_HAS_REGS;
}

/* Who holds the lock this thread waits for; a reader of an rwsem may be stale. */
static __always_inline u32 blocker(struct task_struct *t)
{
	unsigned long b, owner;

	if (!bpf_core_field_exists(t->blocker))
		return 0;
	b = t->blocker;
	if (!b || (b & BLOCKER_TYPE_MASK) == BLOCKER_TYPE_SEM)
		return 0;
	if ((b & BLOCKER_TYPE_MASK) == BLOCKER_TYPE_MUTEX)
		owner = BPF_CORE_READ((struct mutex *)(b & ~BLOCKER_TYPE_MASK), owner.counter);
	else
		owner = BPF_CORE_READ((struct rw_semaphore *)(b & ~BLOCKER_TYPE_MASK),
				      owner.counter);
	owner &= ~LOCK_OWNER_MASK;
	if (!owner)
		return 0;
	return BPF_CORE_READ((struct task_struct *)owner, pid);
}

static __always_inline void fill_namespaces(struct task_record *r, struct task_struct *t)
{
	/* a plain number: old verifiers let no typed pointer be counted with */
	struct pid *pid = BPF_CORE_READ(t, thread_pid);
	struct mnt_namespace *ns;
	struct upid *u;

	r->mount_ns = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	if (pid) {
		u = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		    BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
		r->pid_ns = BPF_CORE_READ(u, ns, ns.inum);
	}
	r->cwd_dev = BPF_CORE_READ(t, fs, pwd.mnt, mnt_sb, s_dev);
	if (r->cwd_dev) {
		struct mount *m = real_mount(BPF_CORE_READ(t, fs, pwd.mnt));

		r->cwd_mount_id = BPF_CORE_READ(m, mnt_id);
		ns = BPF_CORE_READ(m, mnt_ns);
		if (mount_detached(ns))
			r->flags |= CWD_DETACHED;
	}
}

static __always_inline void fill_task(struct task_record *r, struct task_struct *t)
{
	struct task_struct *leader;

	r->h.kind = RECORD_TASK;
	r->sampled_ns = bpf_ktime_get_ns();
	r->start_ns = t->start_boottime;
	r->nvcsw = t->nvcsw;
	r->nivcsw = t->nivcsw;
	/* Absent without CONFIG_SCHED_INFO: then "since" is unknown. */
	if (bpf_core_field_exists(t->sched_info.last_arrival))
		r->last_arrival_ns = t->sched_info.last_arrival;
	r->pid = t->tgid;
	r->tid = t->pid;
	r->ppid = BPF_CORE_READ(t, real_parent, tgid);
	r->state = state_of(t);
	r->task_flags = t->flags;
	r->flags = is_compat(t) ? TASK_COMPAT : 0;
	r->blocker_tid = r->state ? blocker(t) : 0;
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), &t->comm);
	leader = BPF_CORE_READ(t, group_leader);
	bpf_probe_read_kernel_str(r->leader_comm, sizeof(r->leader_comm), &leader->comm);
}

/* Most threads of a node rest: nothing is said of one but who it is. */
static __always_inline bool rests(struct rest_record *r, struct task_struct *t)
{
	u32 tid = t->pid;
	struct rest *rest = bpf_map_lookup_elem(&resting, &tid);

	if (!rest || t->nvcsw + t->nivcsw != rest->switches ||
	    t->start_boottime != rest->start_ns || !state_of(t))
		return false;
	r->h.kind = RECORD_REST;
	r->h.size = sizeof(*r);
	r->start_ns = t->start_boottime;
	r->pid = t->tgid;
	r->tid = tid;
	r->ppid = BPF_CORE_READ(t, real_parent, tgid);
	r->task_flags = t->flags;
	r->mount_ns = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	r->pad = 0;
	return true;
}

/*
 * A thread that ran while it was looked at has registers from before and a stack
 * from after: together they would be a wait that never was.
 */
static __always_inline bool ran(struct task_record *r, struct task_struct *t)
{
	if (t->nvcsw != r->nvcsw || t->nivcsw != r->nivcsw)
		return true;
	return bpf_core_field_exists(t->sched_info.last_arrival) &&
	       t->sched_info.last_arrival != r->last_arrival_ns;
}

/*
 * A bpf_seq_write() that finds no room loses nothing: the kernel hands out what
 * is in the buffer and shows the same thread or file again.
 */
SEC("iter/task") int snapshot_tasks(struct bpf_iter__task *ctx)
{
	struct task_buffer *b = &task_buf;
	struct task_struct *t = ctx->task;
	struct rest_record rest;
	u32 size;
	long n;

	if (!t || !wanted(t))
		return 0;
	if (rests(&rest, t)) {
		bpf_seq_write(ctx->meta->seq, &rest, sizeof(rest));
		return 0;
	}
	__builtin_memset(&b->r, 0, sizeof(b->r));
	fill_task(&b->r, t);
	fill_registers(&b->r, t);
	fill_namespaces(&b->r, t);
	/* A thread that can run has no stack worth reading, a dead one has none. */
	if ((!cfg.blocked_only || b->r.state != 0) && !(b->r.state & TASK_DEAD)) {
		n = bpf_get_task_stack(t, b->stack, sizeof(b->stack), 0);
		if (n < 0)
			__sync_fetch_and_add(&stats[STAT_STACK_FAULT], 1);
		else
			b->r.stack_len = (u32)n / sizeof(u64);
		if (ran(&b->r, t)) {
			b->r.state = 0;
			b->r.stack_len = 0;
		}
	}
	size = sizeof(b->r) + (b->r.stack_len & (2 * STACK_DEPTH - 1)) * sizeof(u64);
	if (size > sizeof(*b))
		return 0;
	b->r.h.size = size;
	bpf_seq_write(ctx->meta->seq, b, size);
	return 0;
}

static __always_inline void fill_file(struct file_record *r, struct task_struct *t, u32 fd,
				      struct file *f)
{
	struct inode *in = BPF_CORE_READ(f, f_inode);
	struct super_block *sb = BPF_CORE_READ(in, i_sb);
	struct mount *m = real_mount(BPF_CORE_READ(f, f_path.mnt));
	struct mnt_namespace *ns = BPF_CORE_READ(m, mnt_ns);

	r->h.kind = RECORD_FILE;
	r->pid = BPF_CORE_READ(t, tgid);
	r->fd = fd;
	r->inode = BPF_CORE_READ(in, i_ino);
	r->mode = BPF_CORE_READ(in, i_mode);
	r->dev = BPF_CORE_READ(sb, s_dev);
	r->magic = BPF_CORE_READ(sb, s_magic);
	bpf_probe_read_kernel_str(r->fstype, sizeof(r->fstype), BPF_CORE_READ(sb, s_type, name));
	r->mount_id = BPF_CORE_READ(m, mnt_id);
	if (mount_detached(ns))
		r->flags |= FILE_DETACHED;
	else if ((long)ns < -4095 || (long)ns > 0)
		r->mount_ns = BPF_CORE_READ(ns, ns.inum);
}

static __always_inline int one_file(struct bpf_iter__task_file *ctx, bool with_path)
{
	struct file_buffer *b = &file_buf;
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	u32 size, tgid;
	long n;

	if (!t || !f)
		return 0;
	if (device_files) {
		if (BPF_CORE_READ(f, f_inode, i_rdev) != device_files)
			return 0;
	} else {
		tgid = BPF_CORE_READ(t, tgid);
		if (!bpf_map_lookup_elem(&file_targets, &tgid))
			return 0;
	}
	__builtin_memset(&b->r, 0, sizeof(b->r));
	fill_file(&b->r, t, ctx->fd, f);
	if (with_path) {
		n = bpf_d_path(&f->f_path, b->path, sizeof(b->path));
		if (n > 0 && n <= PATH_LEN) {
			b->r.path_len = n - 1;
			b->r.flags |= FILE_HAS_PATH;
		} else {
			__sync_fetch_and_add(&stats[STAT_NAME_FAULT], 1);
		}
	}
	size = sizeof(b->r) + ((b->r.path_len + 7) & ~7u & (2 * PATH_LEN - 1));
	if (size > sizeof(*b))
		return 0;
	b->r.h.size = size;
	bpf_seq_write(ctx->meta->seq, b, size);
	return 0;
}

SEC("iter/task_file") int snapshot_files(struct bpf_iter__task_file *ctx)
{
	return one_file(ctx, true);
}

/* For kernels that refuse bpf_d_path here: user space takes the fd's link. */
SEC("iter/task_file") int snapshot_files_nopath(struct bpf_iter__task_file *ctx)
{
	return one_file(ctx, false);
}

/*
 * Kernel addresses to names, by the kernel itself: needs neither readable
 * kallsyms nor the 10 MB of its text. bpf_snprintf came with 5.13.
 */
SEC("syscall") int snapshot_symbols(void *ctx)
{
	for (u32 i = 0; i < SYMBOL_BATCH; i++) {
		u32 key = i;
		u64 *addr = bpf_map_lookup_elem(&symbol_addrs, &key);
		struct symbol_text *text = bpf_map_lookup_elem(&symbol_texts, &key);

		if (!addr || !text)
			break;
		text->s[0] = 0;
		if (!*addr)
			break;
		bpf_snprintf(text->s, sizeof(text->s), "%pB", addr, sizeof(*addr));
	}
	return 0;
}

struct clocks {
	u64 ktime_ns;
	u64 jiffies;
	u64 last_arrival_ns; /* of the caller itself */
};
struct clocks clocks;

/* Read right after the caller woke up: its last_arrival is then "now" by the scheduler's clock. */
SEC("iter/task") int snapshot_clocks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;

	if (!t || BPF_CORE_READ(t, pid) != (u32)bpf_get_current_pid_tgid())
		return 0;
	clocks.ktime_ns = bpf_ktime_get_ns();
	clocks.jiffies = bpf_jiffies64();
	if (bpf_core_field_exists(t->sched_info.last_arrival))
		clocks.last_arrival_ns = BPF_CORE_READ(t, sched_info.last_arrival);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
