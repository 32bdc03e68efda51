/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The kernel's hash tables of wait queues: pages, bits, and names looked up. */
#ifndef HANGTRACE_WALK_TABLES_H
#define HANGTRACE_WALK_TABLES_H

enum {
	SYM_FOLIO_WAIT_TABLE, /* static in mm/filemap.c, since 5.16 */
	SYM_BIT_WAIT_TABLE,   /* static in kernel/sched/wait_bit.c */
	SYM_IN_LOOKUP_TABLE,  /* static in fs/dcache.c */
	SYM_RBD_DEV_LIST,     /* static in drivers/block/rbd.c */
	SYM_MAX,
};
u64 symbols[SYM_MAX];
s64 symbols_error;

static __always_inline void symbol(u32 i, const char *name, int size)
{
	u64 addr = 0;
	long err = bpf_kallsyms_lookup_name(name, size, 0, &addr);

	symbols[i] = err ? 0 : addr;
	if (err)
		symbols_error = err;
}

/* Run once: before 6.2 a look-up goes through all of kallsyms. */
SEC("syscall") int walk_symbols(void *ctx)
{
	static const char folio[] = "folio_wait_table", bit[] = "bit_wait_table",
			  lookup[] = "in_lookup_hashtable", rbd[] = "rbd_dev_list";

	symbol(SYM_FOLIO_WAIT_TABLE, folio, sizeof(folio));
	symbol(SYM_BIT_WAIT_TABLE, bit, sizeof(bit));
	symbol(SYM_IN_LOOKUP_TABLE, lookup, sizeof(lookup));
	symbol(SYM_RBD_DEV_LIST, rbd, sizeof(rbd));
	return 0;
}

#define WAIT_BUCKETS   256  /* 1 << WAIT_TABLE_BITS, mm/filemap.c and wait_bit.c */
#define LOOKUP_BUCKETS 1024 /* 1 << IN_LOOKUP_SHIFT */

enum {
	WORK_FOLIO = 1,
	WORK_BIT,
	WORK_LOOKUP,
};

static u64 table[LOOKUP_BUCKETS]; /* a copy: most buckets are empty */
static u64 table_addr;
static u32 table_kind;

static long bucket_step(u32 i, void *ctx)
{
	u32 size = bpf_core_type_size(struct wait_queue_head);
	u32 at = i * size + bpf_core_field_offset(struct wait_queue_head, head);
	u64 head = table_addr + at, first;

	if (at > sizeof(table) - 8)
		return 1;
	first = *(u64 *)((u8 *)table + at);
	if (first && first != head)
		push(table_kind, first, head, 0, 0);
	return 0;
}

static long lookup_bucket_step(u32 i, void *ctx)
{
	u64 first;

	if (i >= LOOKUP_BUCKETS)
		return 1;
	first = table[i] & ~1ull; /* bit 0 locks the bucket */
	if (first)
		push(WORK_LOOKUP, first, 0, 0, 0);
	return 0;
}

static u64 last_folio;

static __always_inline u32 page_bit_type(int bit)
{
	if (bit == PG_locked)
		return BIT_PAGE_LOCK;
	if (bit == bpf_core_enum_value(enum pageflags, PG_writeback))
		return BIT_PAGE_WRITEBACK;
	if (bit == bpf_core_enum_value(enum pageflags, PG_private_2))
		return BIT_PAGE_PRIVATE_2;
	return BIT_OTHER;
}

static __always_inline void emit_page(u64 folio, int bit)
{
	struct folio *f = (void *)folio;
	struct address_space *map = BPF_CORE_READ(f, mapping);
	struct inode___w *in = NULL;
	struct walk_page *r;

	/* The low bits mark anonymous and movable pages. */
	if (map && !((u64)map & 3))
		in = BPF_CORE_READ(map, host);
	if (in && !is_inode(in))
		in = NULL;
	no_path();
	if (in)
		path_names(inode_alias(in), 0);
	r = reserve(WALK_PAGE, sizeof(*r));
	if (!r)
		return;
	r->addr = folio;
	r->bit = bit;
	r->type = page_bit_type(bit);
	r->index = BPF_CORE_READ(f, index);
	if (in) {
		r->ino = BPF_CORE_READ(in, i_ino);
		r->dev = BPF_CORE_READ(in, i_sb, s_dev);
		r->rdev = BPF_CORE_READ(in, i_rdev);
		r->node = fuse_node(in);
	}
	append_path(r, sizeof(*r), &r->path);
	commit(r);
}

/* One waiter in the table of pages. */
__noinline int folio_waiter(u64 entry)
{
	struct wait_queue_entry *e =
		(void *)entry - bpf_core_field_offset(struct wait_queue_entry, entry);
	struct wait_page_queue *q = (void *)e - bpf_core_field_offset(struct wait_page_queue, wait);
	u64 task = (u64)BPF_CORE_READ(e, private), folio = (u64)BPF_CORE_READ(q, folio);

	if (!task || !folio) /* io_uring waits without a thread */
		return 0;
	if (folio != last_folio)
		emit_page(folio, BPF_CORE_READ(q, bit_nr));
	last_folio = folio;
	return emit_waiter(task, folio, entry, HOW_PAGE);
}

static __always_inline u64 inode_state_offset(void)
{
	if (bpf_core_field_exists(((struct inode___w *)0)->i_state))
		return bpf_core_field_offset(struct inode___w, i_state);
	if (bpf_core_field_exists(((struct inode___618 *)0)->i_state))
		return bpf_core_field_offset(struct inode___618, i_state);
	return bpf_core_field_offset(struct inode___619, i_state);
}

/* Since 6.12 the address in i_state tells the bit, and bit_nr is -1. */
static __always_inline struct inode___w *state_inode(u64 addr, int bit)
{
	struct inode___w *in = (void *)(addr - inode_state_offset());

	if (is_inode(in))
		return in;
	in = (void *)in - 1;
	if (bit < 0 && is_inode(in))
		return in;
	return NULL;
}

#define BH_Lock 2

static __always_inline bool is_buffer(struct buffer_head *b, int bit)
{
	u64 size = BPF_CORE_READ(b, b_size);

	return bit == BH_Lock && size >= 512 && size <= 1 << 21 && !(size & (size - 1)) &&
	       BPF_CORE_READ(b, b_bdev, bd_disk);
}

/* One waiter in the table of bits. */
__noinline int bit_waiter(u64 entry)
{
	struct wait_queue_entry *e =
		(void *)entry - bpf_core_field_offset(struct wait_queue_entry, entry);
	struct wait_bit_queue_entry *q =
		(void *)e - bpf_core_field_offset(struct wait_bit_queue_entry, wq_entry);
	u64 task = (u64)BPF_CORE_READ(e, private), addr = (u64)BPF_CORE_READ(q, key.flags);
	int bit = BPF_CORE_READ(q, key.bit_nr);
	struct buffer_head *b = (void *)addr;
	struct inode___w *in = state_inode(addr, bit);
	struct walk_bit *r;

	if (!task)
		return 0;
	no_path();
	if (in)
		path_names(inode_alias(in), 0);
	r = reserve(WALK_BIT, sizeof(*r));
	if (!r)
		return -1;
	r->addr = addr;
	r->bit = bit;
	r->type = bit < 0 ? BIT_VAR : BIT_OTHER;
	if (in) {
		r->type = BIT_INODE;
		r->ino = BPF_CORE_READ(in, i_ino);
		r->dev = BPF_CORE_READ(in, i_sb, s_dev);
	} else if (is_buffer(b, bit)) {
		r->type = BIT_BUFFER;
		r->block = BPF_CORE_READ(b, b_blocknr);
		r->size = BPF_CORE_READ(b, b_size);
		r->dev = BPF_CORE_READ(b, b_bdev, bd_dev);
	}
	append_path(r, sizeof(*r), &r->path);
	commit(r);
	return emit_waiter(task, addr, entry, HOW_BIT);
}

/* A name that is being looked up, and who else waits for it. */
__noinline int emit_lookup(u64 dentry)
{
	struct dentry___w *d = (void *)dentry;
	struct super_block___w *sb = BPF_CORE_READ(d, d_sb);
	struct walk_lookup *r;
	u64 queue = 0;

	if (!sb || BPF_CORE_READ(d, d_parent, d_sb) != sb || BPF_CORE_READ(d, d_inode)) {
		stats[WALK_STAT_FOREIGN]++;
		return -1;
	}
	path_names(dentry, 0);
	r = reserve(WALK_LOOKUP, sizeof(*r));
	if (!r)
		return -1;
	if (bpf_core_field_exists(d->d_wait))
		queue = (u64)BPF_CORE_READ(d, d_wait);
	r->addr = dentry;
	r->queue = queue;
	r->name_addr = (u64)BPF_CORE_READ(d, d_name.name);
	r->dir_ino = BPF_CORE_READ(d, d_parent, d_inode, i_ino);
	r->dev = BPF_CORE_READ(sb, s_dev);
	append_path(r, sizeof(*r), &r->path);
	commit(r);
	if (queue)
		wq_waiters((void *)queue, dentry, HOW_LOOKUP);
	return 0;
}

/*
 * Without kallsyms only the look-ups behind a request are found: queue is that
 * of the request, and the dentry's lies on the stack of the request's thread.
 */
static __always_inline void request_lookup(struct dentry___w *d, struct list_head *queue)
{
	struct list_head *entry = NULL;
	u64 wait;

	if (!d || symbols[SYM_IN_LOOKUP_TABLE] || !bpf_core_field_exists(d->d_wait) ||
	    RD(&entry, &queue->next))
		return;
	wait = (u64)BPF_CORE_READ(d, d_wait);
	if (wait && !((wait ^ (u64)entry) & ~(stack_size - 1)))
		emit_lookup((u64)d);
}

static __always_inline u64 lookup_dentry(u64 node)
{
	if (bpf_core_field_exists(((struct dentry___w *)0)->d_u.d_in_lookup_hash))
		return node - bpf_core_field_offset(struct dentry___w, d_u.d_in_lookup_hash);
	return node - bpf_core_field_offset(struct dentry___71, d_in_lookup_hash);
}

static u64 chain_anchor, chain_power, chain_steps; /* Brent's, of the outer list */

static __always_inline bool chain_seen(u64 node, bool fresh)
{
	if (fresh) {
		chain_anchor = 0;
		chain_power = 1;
		chain_steps = 0;
	}
	if (node == chain_anchor) {
		stats[WALK_STAT_CYCLE]++;
		return true;
	}
	if (++chain_steps == chain_power) {
		chain_anchor = node;
		chain_power <<= 1;
		chain_steps = 0;
	}
	return false;
}

static long entry_step(u32 i, void *ctx)
{
	struct list_head *next = NULL;
	struct work w;

	if (!pop(&w))
		return 1;
	if (!w.at || w.at == w.head || chain_seen(w.at, !w.n))
		return 0;
	/* The next one first: ours may wake up while we look at it. */
	if (!RD(&next, &((struct list_head *)w.at)->next))
		push(w.kind, (u64)next, w.head, 0, 1);
	if (w.kind == WORK_FOLIO)
		folio_waiter(w.at);
	else if (w.kind == WORK_BIT)
		bit_waiter(w.at);
	else
		emit_lookup(lookup_dentry(w.at));
	return 0;
}

static __noinline int wait_table(u64 addr, u32 kind)
{
	u32 size = WAIT_BUCKETS * bpf_core_type_size(struct wait_queue_head);

	if (size > sizeof(table))
		size = sizeof(table);
	if (!addr || rd(table, size, (void *)addr))
		return 0;
	table_addr = addr;
	table_kind = kind;
	last_folio = 0;
	bpf_loop(WAIT_BUCKETS, bucket_step, NULL, 0);
	RUN(entry_step);
	return 0;
}

SEC("syscall") int walk_tables(void *ctx)
{
	fault_site = WALK_STAT_FAULT_TABLE;
	work_n = 0;
	wait_table(symbols[SYM_FOLIO_WAIT_TABLE], WORK_FOLIO);
	wait_table(symbols[SYM_BIT_WAIT_TABLE], WORK_BIT);
	if (symbols[SYM_IN_LOOKUP_TABLE] &&
	    !rd(table, sizeof(table), (void *)symbols[SYM_IN_LOOKUP_TABLE])) {
		bpf_loop(LOOKUP_BUCKETS, lookup_bucket_step, NULL, 0);
		RUN(entry_step);
	}
	return 0;
}

#endif /* HANGTRACE_WALK_TABLES_H */
