/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requests of FUSE connections. */
#ifndef HANGTRACE_WALK_FUSE_H
#define HANGTRACE_WALK_FUSE_H

enum {
	WORK_FUSEREQ = 1,
	WORK_FUSEDEV,
	WORK_FUSEHASH,
};

#define FUSE_LOOKUP 1
#define FUSE_HASH   256 /* FUSE_PQ_HASH_SIZE */

static u32 conn_next;
static u64 conn_addr;
static struct list_head_copy {
	u64 next, prev;
} fuse_hash[FUSE_HASH]; /* of the device that is being walked */

#define FUSE_HAS_CHAN bpf_core_field_exists(((struct fuse_conn___71 *)0)->chan)

static __always_inline void push_list(u32 kind, struct list_head *head, u64 owner, u32 n)
{
	struct list_head *first = NULL;

	if (!RD(&first, &head->next) && first && first != head)
		push(kind, (u64)first, (u64)head, owner, n);
}

/* The two forms differ in where the fields are, not in what they mean. */
#define START_CONN(c, owner)                                                                       \
	do {                                                                                       \
		r->waiting = BPF_CORE_READ(c, num_waiting.counter);                                \
		r->connected = BPF_CORE_READ(c, connected);                                        \
		r->initialized = BPF_CORE_READ(c, initialized);                                    \
		r->blocked = BPF_CORE_READ(c, blocked);                                            \
		r->background = BPF_CORE_READ(c, num_background);                                  \
		if (bpf_core_field_exists((c)->ring) && BPF_CORE_READ(c, ring))                    \
			r->flags = WALK_URING;                                                     \
		commit(r);                                                                         \
		wq_waiters(&(c)->blocked_waitq, (u64)fc, HOW_BLOCKED);                             \
		push_list(WORK_FUSEDEV, &(c)->devices, owner, 0);                                  \
		push_list(WORK_FUSEREQ, &(c)->bg_queue, owner, FUSE_LIST_BACKGROUND << 1);         \
		push_list(WORK_FUSEREQ, &(c)->iq.pending, owner, FUSE_LIST_PENDING << 1);          \
	} while (0)

__noinline int start_conn(u64 addr)
{
	struct super_block___w *sb = (void *)addr;
	struct fuse_mount *m = BPF_CORE_READ(sb, s_fs_info);
	struct fuse_conn *fc;
	struct fuse_chan *ch;
	struct walk_fuse *r;

	if (!m || BPF_CORE_READ(m, sb) != sb) {
		stats[WALK_STAT_FOREIGN]++;
		return -1;
	}
	fc = BPF_CORE_READ(m, fc);
	r = reserve(WALK_FUSE, sizeof(*r));
	if (!r || !fc)
		return -1;
	conn_addr = (u64)fc;
	r->addr = (u64)fc;
	r->super = addr;
	r->dev = BPF_CORE_READ(sb, s_dev);
	r->number = BPF_CORE_READ(fc, dev);
	if (FUSE_HAS_CHAN) {
		ch = BPF_CORE_READ((struct fuse_conn___71 *)fc, chan);
		START_CONN(ch, (u64)ch);
	} else {
		START_CONN(fc, (u64)fc);
	}
	return 0;
}

/* Where the name stands among the arguments of those requests that have one. */
static __always_inline int name_arg(u32 opcode, u32 args)
{
	switch (opcode) {
	case FUSE_LOOKUP: /* the first one; since 6.16 an empty one comes before it */
	case 10:	  /* UNLINK */
	case 11:	  /* RMDIR */
		return args > 1;
	case 8:	 /* MKNOD */
	case 9:	 /* MKDIR */
	case 12: /* RENAME */
	case 13: /* LINK */
	case 35: /* CREATE */
	case 45: /* RENAME2 */
	case 51: /* TMPFILE */
		return 1;
	}
	return -1;
}

static __always_inline void fill_name(struct walk_fusereq *r, struct fuse_args *a)
{
	u32 size = bpf_core_type_size(struct fuse_in_arg);
	struct fuse_in_arg *in;
	const void *name;
	u8 args = 0;
	int i;

	if (RD(&args, &a->in_numargs))
		return;
	i = name_arg(r->opcode, args);
	if (i < 0 || i > 2 || i >= args)
		return;
	in = (void *)a + bpf_core_field_offset(struct fuse_args, in_args) + i * size;
	name = BPF_CORE_READ(in, value);
	r->name_addr = (u64)name;
	if (name)
		bpf_probe_read_kernel_str(r->name, sizeof(r->name), name);
}

/* A short name lies inside its dentry; a look-up passes the dentry's own name. */
static __always_inline struct dentry___w *short_name_dentry(u64 name)
{
	struct dentry___w *d;

	if (bpf_core_field_exists(((struct dentry___614 *)0)->d_shortname))
		d = (void *)(name - bpf_core_field_offset(struct dentry___614, d_shortname));
	else
		d = (void *)(name - bpf_core_field_offset(struct dentry___w, d_iname));
	return (u64)BPF_CORE_READ(d, d_name.name) == name ? d : NULL;
}

__noinline int emit_fusereq(u64 addr, u32 list)
{
	struct fuse_req *q = (void *)addr;
	struct fuse_args *a = BPF_CORE_READ(q, args);
	struct fuse_in_header h = {};
	struct walk_fusereq *r = reserve(WALK_FUSEREQ, sizeof(*r));
	u64 name;

	if (!r || rd(&h, sizeof(h), &q->in.h))
		return -1;
	r->addr = addr;
	r->conn = conn_addr;
	r->unique = h.unique;
	r->node = h.nodeid;
	r->opcode = h.opcode;
	r->pid = h.pid;
	r->uid = h.uid;
	r->flags = BPF_CORE_READ(q, flags);
	r->list = list;
	if (bpf_core_field_exists(q->create_time))
		r->created = BPF_CORE_READ(q, create_time);
	if (a)
		fill_name(r, a);
	name = r->name_addr;
	commit(r);
	wq_waiters(&q->waitq, addr, HOW_REPLY);
	if (h.opcode == FUSE_LOOKUP && name)
		request_lookup(short_name_dentry(name), &q->waitq.head);
	return 0;
}

static __always_inline u64 fusereq_owner(struct fuse_req *q)
{
	if (FUSE_HAS_CHAN)
		return (u64)BPF_CORE_READ((struct fuse_req___71 *)q, chan);
	return (u64)BPF_CORE_READ(q, fm, fc);
}

static __always_inline void fusereq_step(struct work *w)
{
	struct list_head *next = NULL;
	u64 node = w->at - bpf_core_field_offset(struct fuse_req, list);

	if (!w->at || w->at == w->head || chain_seen(w->at, !(w->n & 1)))
		return;
	/* A request that was answered lies in another list, or is somebody else's. */
	if (fusereq_owner((struct fuse_req *)node) != w->owner) {
		stats[WALK_STAT_FOREIGN]++;
		return;
	}
	if (!RD(&next, &((struct list_head *)w->at)->next))
		push(WORK_FUSEREQ, (u64)next, w->head, w->owner, w->n | 1);
	emit_fusereq(node, w->n >> 1);
}

/* Empty buckets are many: eight of them go in one step. */
static __always_inline void hash_step(struct work *w)
{
	u32 i, at, n = w->n;
	u64 head, first;

	for (i = 0; i < 8; i++, n++) {
		if (n >= FUSE_HASH)
			return;
		head = w->at + n * sizeof(struct list_head_copy);
		at = n;
		barrier_var(at); /* 6.1 forgets that n was compared */
		first = fuse_hash[at & (FUSE_HASH - 1)].next;
		if (first && first != head) {
			push(WORK_FUSEHASH, w->at, 0, w->owner, n + 1);
			push(WORK_FUSEREQ, first, head, w->owner, FUSE_LIST_PROCESSING << 1);
			return;
		}
	}
	push(WORK_FUSEHASH, w->at, 0, w->owner, n);
}

static __always_inline void fusedev_step(struct work *w)
{
	struct fuse_dev *d = (void *)(w->at - bpf_core_field_offset(struct fuse_dev, entry));
	struct list_head *next = NULL, *hash;

	if (!w->at || w->at == w->head || w->n >= MAX_TARGETS)
		return;
	if (!RD(&next, &((struct list_head *)w->at)->next))
		push(WORK_FUSEDEV, (u64)next, w->head, w->owner, w->n + 1);
	hash = BPF_CORE_READ(d, pq.processing);
	if (hash && !rd(fuse_hash, sizeof(fuse_hash), hash))
		push(WORK_FUSEHASH, (u64)hash, 0, w->owner, 0);
	push_list(WORK_FUSEREQ, &d->pq.io, w->owner, FUSE_LIST_IO << 1);
}

static long fuse_step(u32 i, void *ctx)
{
	struct work w;
	u32 n;

	if (!pop(&w)) {
		n = conn_next;
		if (n >= fuses.n || n >= MAX_TARGETS)
			return 1;
		conn_next = n + 1;
		start_conn(fuses.at[n]);
		return 0;
	}
	if (w.kind == WORK_FUSEREQ)
		fusereq_step(&w);
	else if (w.kind == WORK_FUSEDEV)
		fusedev_step(&w);
	else
		hash_step(&w);
	return 0;
}

SEC("syscall") int walk_fuses(void *ctx)
{
	fault_site = WALK_STAT_FAULT_FUSE;
	work_n = conn_next = 0;
	RUN(fuse_step);
	return 0;
}

#endif /* HANGTRACE_WALK_FUSE_H */
