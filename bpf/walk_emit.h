/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How the walker walks and writes. Its state lies in globals: since 6.7 the
 * verifier follows every value in the context of a bpf_loop() callback, which
 * took a hundred times as many steps.
 *
 * No lock is held, so what we read may be freed or moved under us. Therefore:
 * every read is a bpf_probe_read_kernel(), every loop is bounded, every node is
 * asked whether it belongs to its list's owner, and a list that leads round is
 * left. What is still wrong, two walks do not agree on.
 */
#ifndef HANGTRACE_WALK_EMIT_H
#define HANGTRACE_WALK_EMIT_H

#define FUSE_SUPER_MAGIC 0x65735546

#define OUT_LEN	   (3 << 20)
#define OUT_RECORD 2048 /* no record is longer, its path included */

struct out_buffer {
	u8 b[OUT_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct out_buffer);
} out SEC(".maps");

u64 out_len; /* bytes used of out: user space takes them and sets it to 0 */
u64 stats[WALK_STAT_MAX] STATS;
u32 fault_site; /* where a failed read is counted */

static __always_inline void fault(void)
{
	if (fault_site < WALK_STAT_MAX)
		stats[fault_site]++;
}

static __always_inline long rd(void *to, u32 size, const void *from)
{
	long err = bpf_probe_read_kernel(to, size, from);

	if (err)
		fault();
	return err;
}
#define RD(to, from) rd(to, sizeof(*(to)), from)

/*
 * BPF_CORE_READ() gives 0 for what cannot be read. It is counted without a
 * branch, as the verifier would follow both sides of each.
 */
static __always_inline long rd_field(void *to, u32 size, const void *from)
{
	long err = bpf_probe_read_kernel(to, size, from);

	stats[fault_site & (WALK_STAT_MAX - 1)] += (u64)err >> 63;
	return err;
}
_Static_assert((WALK_STAT_MAX & (WALK_STAT_MAX - 1)) == 0, "rd_field() cuts the site to fit");
#undef bpf_core_read
#define bpf_core_read(to, size, from)                                                              \
	rd_field(to, size, (const void *)__builtin_preserve_access_index(from))

/* Room for one record, zeroed up to size. It counts once commit() is called. */
static __always_inline void *reserve(u32 kind, u32 size)
{
	u32 zero = 0;
	struct out_buffer *o = bpf_map_lookup_elem(&out, &zero);
	struct record_header *h;
	u64 at = out_len;

	if (!o || at > OUT_LEN - OUT_RECORD) {
		stats[WALK_STAT_DROPPED]++;
		return NULL;
	}
	h = (void *)&o->b[at];
	__builtin_memset(h, 0, size);
	h->kind = kind;
	h->size = size;
	return h;
}

static __always_inline void commit(void *record)
{
	out_len += ((struct record_header *)record)->size;
}

/* Paths are put together here and copied once their length is known. */
static struct {
	u8 b[WALK_PATH_LEN + 256];
} names;
static struct walk_path names_path;

#define PATH_DEPTH 48

static struct dentry___w *path_dentry;
static struct mount___w *path_mount; /* NULL: no further than the file system */

/* One name, or one step from a mount's root to its mount point. */
static long path_step(u32 i, void *ctx)
{
	struct dentry___w *d = path_dentry, *up = NULL, *root;
	struct mount___w *m = path_mount, *above;
	u32 at = names_path.len;
	long n;

	if (!d)
		return 1;
	root = m ? BPF_CORE_READ(m, mnt.mnt_root) : NULL;
	if (RD(&up, &d->d_parent))
		return 1;
	if (d == up || d == root) {
		above = m ? BPF_CORE_READ(m, mnt_parent) : NULL;
		if (!above || above == m) {
			names_path.flags = 0;
			return 1;
		}
		path_dentry = BPF_CORE_READ(m, mnt_mountpoint);
		path_mount = above;
		return 0;
	}
	if (at >= WALK_PATH_LEN)
		return 1;
	n = bpf_probe_read_kernel_str(&names.b[at], 256, BPF_CORE_READ(d, d_name.name));
	if (n <= 0) {
		fault();
		return 1;
	}
	if (at + n > WALK_PATH_LEN)
		return 1;
	names_path.len = at + n;
	path_dentry = up;
	return 0;
}

/*
 * The names from d up to the root of its file system; with a mount, on through
 * the mounts above. By bpf_loop(), as the verifier follows each turn of a loop
 * of C: that was nine tenths of the time it took to load the walker.
 */
__noinline int path_names(u64 dentry, u64 mount)
{
	names_path.len = 0;
	names_path.flags = WALK_PATH_CUT;
	path_dentry = (void *)dentry;
	path_mount = (void *)mount;
	bpf_loop(PATH_DEPTH, path_step, NULL, 0);
	return 0;
}

/* Appends what path_names() found to a record of the given size. */
static __always_inline void append_path(void *record, u32 size, struct walk_path *p)
{
	struct record_header *h = record;
	u32 n = names_path.len;

	if (n > WALK_PATH_LEN)
		n = WALK_PATH_LEN;
	p->flags = names_path.flags;
	p->len = n;
	n = (n + 7) & ~7u;
	if (n > WALK_PATH_LEN)
		n = WALK_PATH_LEN;
	if (n)
		bpf_probe_read_kernel(record + size, n, names.b);
	h->size = size + n;
}

/* Nothing is known, not even that it is the root. */
static __always_inline void no_path(void)
{
	names_path.len = 0;
	names_path.flags = WALK_PATH_CUT;
}

/* Some name of the inode. */
static __always_inline u64 inode_alias(struct inode___w *in)
{
	struct hlist_node *n = NULL;

	if (!in || RD(&n, &in->i_dentry.first) || !n)
		return 0;
	if (bpf_core_field_exists(((struct dentry___w *)0)->d_u.d_alias))
		return (u64)n - bpf_core_field_offset(struct dentry___w, d_u.d_alias);
	return (u64)n - bpf_core_field_offset(struct dentry___71, d_alias);
}

/* An inode's i_data belongs to it: tells inodes from other memory. */
static __always_inline bool is_inode(struct inode___w *in)
{
	return BPF_CORE_READ(in, i_data.host) == in;
}

static __always_inline u64 fuse_node(struct inode___w *in)
{
	if (!bpf_core_type_exists(struct fuse_inode) || !in ||
	    BPF_CORE_READ(in, i_sb, s_magic) != FUSE_SUPER_MAGIC)
		return 0;
	return BPF_CORE_READ(
		(struct fuse_inode *)((void *)in - bpf_core_field_offset(struct fuse_inode, inode)),
		nodeid);
}

__noinline int emit_waiter(u64 task, u64 owner, u64 entry, u32 how)
{
	struct task_struct *t = (void *)task;
	struct walk_waiter *w = reserve(WALK_WAITER, sizeof(*w));

	if (!w)
		return -1;
	w->owner = owner;
	w->entry = entry;
	w->how = how;
	w->stack = (u64)BPF_CORE_READ(t, stack);
	w->start_ns = BPF_CORE_READ(t, start_boottime);
	w->tid = BPF_CORE_READ(t, pid);
	w->pid = BPF_CORE_READ(t, tgid);
	w->state = task_state(t);
	w->switches = BPF_CORE_READ(t, nvcsw) + BPF_CORE_READ(t, nivcsw);
	bpf_probe_read_kernel_str(w->comm, sizeof(w->comm), &t->comm);
	/* A thread lives, and waits: else we read a slot that was reused. */
	if (!w->tid || !w->state || !w->stack)
		return -1;
	commit(w);
	return 0;
}

/* Brent: a node that moved to another list leads us round that list. */
static u64 brent_anchor, brent_power, brent_steps;

static __always_inline void brent_start(void)
{
	brent_anchor = 0;
	brent_power = 1;
	brent_steps = 0;
}

static __always_inline bool brent_seen(u64 node)
{
	if (node == brent_anchor) {
		stats[WALK_STAT_CYCLE]++;
		return true;
	}
	if (++brent_steps == brent_power) {
		brent_anchor = node;
		brent_power <<= 1;
		brent_steps = 0;
	}
	return false;
}

/*
 * The waiters of one queue. next_of and task_of are where a node keeps its
 * next node and its task; entry is the node in the list_head sense.
 */
static u64 queue_head, queue_at, queue_owner;
static s64 queue_task;
static u32 queue_how;

static long queue_step(u32 i, void *ctx)
{
	struct list_head *p = (void *)queue_at, *next = NULL;
	struct task_struct *t = NULL;

	if (!p || queue_at == queue_head)
		return 1;
	if (i && brent_seen(queue_at))
		return 1;
	if (RD(&t, (struct task_struct **)((void *)p + queue_task)) || RD(&next, &p->next))
		return 1;
	if (t)
		emit_waiter((u64)t, queue_owner, queue_at, queue_how);
	queue_at = (u64)next;
	return 0;
}

#define MAX_QUEUE 16384

static __noinline int walk_queue(void)
{
	u32 site = fault_site;

	fault_site = WALK_STAT_FAULT_WAITER;
	brent_start();
	if (bpf_loop(MAX_QUEUE, queue_step, NULL, 0) == MAX_QUEUE)
		stats[WALK_STAT_BOUND]++;
	fault_site = site;
	return 0;
}

/* Begins at the list_head; most queues are empty. */
static __always_inline void waiters(struct list_head *head, s64 task, u64 owner, u32 how)
{
	struct list_head *first = NULL;

	if (RD(&first, &head->next) || !first || first == head)
		return;
	queue_head = (u64)head;
	queue_at = (u64)first;
	queue_task = task;
	queue_owner = owner;
	queue_how = how;
	walk_queue();
}

static __always_inline void completion_waiters(struct completion *c, u64 owner, u32 how)
{
	waiters(&c->wait.task_list,
		(s64)bpf_core_field_offset(struct swait_queue, task) -
			(s64)bpf_core_field_offset(struct swait_queue, task_list),
		owner, how);
}

static __always_inline void wq_waiters(struct wait_queue_head *q, u64 owner, u32 how)
{
	waiters(&q->head,
		(s64)bpf_core_field_offset(struct wait_queue_entry, private) -
			(s64)bpf_core_field_offset(struct wait_queue_entry, entry),
		owner, how);
}

/*
 * The work still to do, last in first out: trees, lists and tables of several
 * depths in one flat loop, so that no callback nests.
 */
struct work {
	u64 at;	   /* the node, or the table */
	u64 head;  /* of a list; the number of a table's buckets */
	u64 owner; /* what every node must belong to */
	u32 kind;
	u32 n;
};
#define WORK_MAX 256
static struct work work[WORK_MAX];
static u32 work_n;

static __always_inline void push(u32 kind, u64 at, u64 head, u64 owner, u32 n)
{
	u32 i = work_n;

	if (i >= WORK_MAX) {
		stats[WALK_STAT_BOUND]++;
		return;
	}
	work[i].kind = kind;
	work[i].at = at;
	work[i].head = head;
	work[i].owner = owner;
	work[i].n = n;
	work_n = i + 1;
}

static __always_inline bool pop(struct work *w)
{
	u32 i = work_n - 1;

	if (i >= WORK_MAX)
		return false;
	work_n = i;
	*w = work[i];
	stats[WALK_STAT_STEPS]++;
	return true;
}

static __always_inline void push_tree(u32 kind, struct rb_root *root, u64 owner)
{
	struct rb_node *n = NULL;

	if (!RD(&n, &root->rb_node) && n)
		push(kind, (u64)n, 0, owner, 0);
}

/* The children of a tree's node, so that they come in order. */
static __always_inline int push_children(u32 kind, u64 node, u64 owner)
{
	struct rb_node *n = (void *)node, *left = NULL, *right = NULL;

	if (RD(&left, &n->rb_left) || RD(&right, &n->rb_right))
		return -1;
	if (right)
		push(kind, (u64)right, 0, owner, 0);
	if (left)
		push(kind, (u64)left, 0, owner, 0);
	return 0;
}

/* A tree that changes under us may send us down for ever: steps are bounded. */
#define MAX_STEPS (1 << 17)

#define RUN(step)                                                                                  \
	do {                                                                                       \
		if (bpf_loop(MAX_STEPS, step, NULL, 0) == MAX_STEPS)                               \
			stats[WALK_STAT_BOUND]++;                                                  \
		work_n = 0;                                                                        \
	} while (0)

/* What the walk of the super blocks found for the others to walk. */
#define MAX_TARGETS 1024
struct targets {
	u32 n;
	u32 pad;
	u64 at[MAX_TARGETS];
};

static __always_inline void target(struct targets *t, u64 addr)
{
	u32 i = t->n;

	if (i >= MAX_TARGETS) {
		stats[WALK_STAT_BOUND]++;
		return;
	}
	t->at[i] = addr;
	t->n = i + 1;
}

/* Super blocks, disks, libceph clients; inodes: super blocks whose inodes to look at. */
struct targets cephs, fuses, rbds, clients, inodes;

/* Super blocks that are of interest whatever their type, by device. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC */
	__type(key, u32);
	__type(value, u8);
} devices SEC(".maps");

/* What user space asks of the next walk. */
u32 inodes_of_all; /* of every ceph, FUSE and rbd super block */
u32 max_inodes;
u64 stack_size; /* THREAD_SIZE */

#endif /* HANGTRACE_WALK_EMIT_H */
