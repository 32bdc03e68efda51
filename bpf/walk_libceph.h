/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requests of libceph and rbd. None of it moved from 6.1 to 7.2. */
#ifndef HANGTRACE_WALK_LIBCEPH_H
#define HANGTRACE_WALK_LIBCEPH_H

enum {
	WORK_OSD = 1,
	WORK_OSDREQ,
	WORK_MONREQ,
	WORK_RBD,
};

static u32 client_next;

static u64 client_wanted;
static bool client_known;

static long client_match(u32 i, void *ctx)
{
	if (i >= clients.n || i >= MAX_TARGETS)
		return 1;
	client_known = clients.at[i] == client_wanted;
	return client_known;
}

/* Many rbd devices share one client. */
__noinline int add_client(u64 client)
{
	if (!client)
		return 0;
	client_wanted = client;
	client_known = false;
	bpf_loop(MAX_TARGETS, client_match, NULL, 0);
	if (!client_known)
		target(&clients, client);
	return 0;
}

/* ---- OSD and monitor requests ---- */

static struct {
	char s[WALK_NAME_LEN];
} pool_name;
static s64 pool_id;
static u64 pool_client;
static struct rb_node *pool_node;

static long pool_step(u32 i, void *ctx)
{
	struct rb_node *n = pool_node;
	struct ceph_pg_pool_info *p;
	s64 at;

	if (!n)
		return 1;
	p = (void *)n - bpf_core_field_offset(struct ceph_pg_pool_info, node);
	at = BPF_CORE_READ(p, id);
	if (at == pool_id) {
		bpf_probe_read_kernel_str(pool_name.s, sizeof(pool_name.s), BPF_CORE_READ(p, name));
		return 1;
	}
	pool_node = pool_id < at ? BPF_CORE_READ(n, rb_left) : BPF_CORE_READ(n, rb_right);
	return 0;
}

/* The pool's name from the OSD map, a tree by ID; the last one is kept. */
__noinline int find_pool(u64 client, s64 id)
{
	struct ceph_client *c = (void *)client;

	if (client == pool_client && id == pool_id)
		return 0;
	pool_client = client;
	pool_id = id;
	pool_name.s[0] = 0;
	pool_node = BPF_CORE_READ(c, osdc.osdmap, pg_pools.rb_node);
	bpf_loop(32, pool_step, NULL, 0);
	return 0;
}

__noinline int start_client(u64 addr)
{
	struct ceph_client *c = (void *)addr;
	struct walk_client *r = reserve(WALK_CLIENT, sizeof(*r));
	bool hunting = false;

	if (!r)
		return -1;
	r->addr = addr;
	r->global_id = BPF_CORE_READ(c, monc.auth, global_id);
	rd(r->fsid, sizeof(r->fsid), &c->fsid);
	rd(r->mon, ADDR_LEN, &c->monc.con.peer_addr);
	r->mon_rank = BPF_CORE_READ(c, monc.cur_mon);
	r->mon_con_state = BPF_CORE_READ(c, monc.con.state);
	RD(&hunting, &c->monc.hunting);
	r->flags = hunting ? WALK_HUNTING : 0;
	r->osd_epoch = BPF_CORE_READ(c, osdc.osdmap, epoch);
	r->requests = BPF_CORE_READ(c, osdc.num_requests.counter);
	r->homeless = BPF_CORE_READ(c, osdc.num_homeless.counter);
	commit(r);
	wq_waiters(&c->auth_wq, addr, HOW_AUTH);
	push_tree(WORK_MONREQ, &c->monc.generic_request_tree, addr);
	push_tree(WORK_OSDREQ, &c->osdc.homeless_osd.o_requests, addr);
	push_tree(WORK_OSD, &c->osdc.osds, addr);
	return 0;
}

__noinline int emit_osd(u64 addr, u64 client)
{
	struct ceph_osd *o = (void *)addr;
	struct walk_osd *r = reserve(WALK_OSD, sizeof(*r));

	if (!r)
		return -1;
	r->addr = addr;
	r->client = client;
	r->osd = BPF_CORE_READ(o, o_osd);
	r->con_state = BPF_CORE_READ(o, o_con.state);
	rd(r->peer, ADDR_LEN, &o->o_con.peer_addr);
	commit(r);
	return 0;
}

__noinline int emit_osdreq(u64 addr, u64 client)
{
	struct ceph_osd_request *q = (void *)addr;
	struct inode___w *in = BPF_CORE_READ(q, r_inode);
	struct walk_osdreq *r;
	bool flag = false;
	char *name;
	s64 pool;

	no_path();
	if (in)
		path_names(inode_alias(in), 0);
	pool = BPF_CORE_READ(q, r_t.base_oloc.pool);
	find_pool(client, pool);
	r = reserve(WALK_OSDREQ, sizeof(*r));
	if (!r)
		return -1;
	r->addr = addr;
	r->client = client;
	r->tid = BPF_CORE_READ(q, r_tid);
	r->start_ns = BPF_CORE_READ(q, r_start_latency);
	r->started = BPF_CORE_READ(q, r_start_stamp);
	r->sent = BPF_CORE_READ(q, r_stamp);
	r->pool = pool;
	__builtin_memcpy(r->pool_name, pool_name.s, sizeof(r->pool_name));
	r->osd = BPF_CORE_READ(q, r_t.osd);
	r->attempts = BPF_CORE_READ(q, r_attempts);
	r->flags = BPF_CORE_READ(q, r_t.flags);
	RD(&flag, &q->r_t.paused);
	r->paused = flag;
	RD(&flag, &q->r_linger);
	r->linger = flag;
	if (in) {
		r->ino = BPF_CORE_READ(in, i_ino);
		r->dev = BPF_CORE_READ(in, i_sb, s_dev);
	}
	name = BPF_CORE_READ(q, r_t.base_oid.name);
	if (name)
		bpf_probe_read_kernel_str(r->object, sizeof(r->object), name);
	append_path(r, sizeof(*r), &r->path);
	commit(r);
	completion_waiters(&q->r_completion, addr, HOW_REPLY);
	return 0;
}

__noinline int emit_monreq(u64 addr, u64 client)
{
	struct ceph_mon_generic_request *q = (void *)addr;
	struct ceph_msg *m = BPF_CORE_READ(q, request);
	struct walk_monreq *r = reserve(WALK_MONREQ, sizeof(*r));
	u16 type = 0;

	if (!r)
		return -1;
	r->addr = addr;
	r->client = client;
	r->tid = BPF_CORE_READ(q, tid);
	rd(&type, sizeof(type), (void *)&m->hdr + 16);
	r->type = type;
	r->done = BPF_CORE_READ(q, completion.done);
	commit(r);
	completion_waiters(&q->completion, addr, HOW_REPLY);
	return 0;
}

static long client_step(u32 i, void *ctx)
{
	struct ceph_client *c;
	struct work w;
	u64 node;
	u32 n;

	if (!pop(&w)) {
		n = client_next;
		if (n >= clients.n || n >= MAX_TARGETS)
			return 1;
		client_next = n + 1;
		start_client(clients.at[n]);
		return 0;
	}
	c = (void *)w.owner;
	switch (w.kind) {
	case WORK_OSD:
		node = w.at - bpf_core_field_offset(struct ceph_osd, o_node);
		if (BPF_CORE_READ((struct ceph_osd *)node, o_osdc) != &c->osdc) {
			stats[WALK_STAT_FOREIGN]++;
			return 0;
		}
		push_children(WORK_OSD, w.at, w.owner);
		emit_osd(node, w.owner);
		push_tree(WORK_OSDREQ, &((struct ceph_osd *)node)->o_requests, w.owner);
		return 0;
	case WORK_OSDREQ:
		node = w.at - bpf_core_field_offset(struct ceph_osd_request, r_node);
		if (BPF_CORE_READ((struct ceph_osd_request *)node, r_osdc) != &c->osdc) {
			stats[WALK_STAT_FOREIGN]++;
			return 0;
		}
		push_children(WORK_OSDREQ, w.at, w.owner);
		emit_osdreq(node, w.owner);
		return 0;
	case WORK_MONREQ:
		node = w.at - bpf_core_field_offset(struct ceph_mon_generic_request, node);
		if (BPF_CORE_READ((struct ceph_mon_generic_request *)node, monc) != &c->monc) {
			stats[WALK_STAT_FOREIGN]++;
			return 0;
		}
		push_children(WORK_MONREQ, w.at, w.owner);
		emit_monreq(node, w.owner);
	}
	return 0;
}

SEC("syscall") int walk_clients(void *ctx)
{
	fault_site = WALK_STAT_FAULT_OSD;
	work_n = client_next = 0;
	pool_client = 0;
	RUN(client_step);
	return 0;
}

/* ---- rbd ---- */

static u32 rbd_next;

__noinline int emit_rbd(u64 addr)
{
	struct rbd_device *d = (void *)addr;
	struct rbd_spec *s = BPF_CORE_READ(d, spec);
	struct walk_rbd *r;
	const char *text;
	u64 client;

	if (!s || (u64)BPF_CORE_READ(d, disk, private_data) != addr) {
		stats[WALK_STAT_FOREIGN]++;
		return -1;
	}
	r = reserve(WALK_RBD, sizeof(*r));
	if (!r)
		return -1;
	client = (u64)BPF_CORE_READ(d, rbd_client, client);
	r->addr = addr;
	r->client = client;
	r->id = BPF_CORE_READ(d, dev_id);
	r->dev = (u32)BPF_CORE_READ(d, major) << 20 | (u32)BPF_CORE_READ(d, minor);
	r->pool_id = BPF_CORE_READ(s, pool_id);
	text = BPF_CORE_READ(s, pool_name);
	if (text)
		bpf_probe_read_kernel_str(r->pool, sizeof(r->pool), text);
	text = BPF_CORE_READ(s, pool_ns);
	if (text)
		bpf_probe_read_kernel_str(r->pool_ns, sizeof(r->pool_ns), text);
	text = BPF_CORE_READ(s, image_name);
	if (text)
		bpf_probe_read_kernel_str(r->image, sizeof(r->image), text);
	text = BPF_CORE_READ(s, image_id);
	if (text)
		bpf_probe_read_kernel_str(r->image_id, sizeof(r->image_id), text);
	commit(r);
	add_client(client);
	return 0;
}

/* All devices; without kallsyms those that carry a super block. */
static long rbd_step(u32 i, void *ctx)
{
	struct gendisk *disk;
	struct list_head *next = NULL;
	struct work w;
	u32 n;

	if (!pop(&w)) {
		n = rbd_next;
		if (symbols[SYM_RBD_DEV_LIST] || n >= rbds.n || n >= MAX_TARGETS)
			return 1;
		rbd_next = n + 1;
		disk = (void *)rbds.at[n];
		emit_rbd((u64)BPF_CORE_READ(disk, private_data));
		return 0;
	}
	if (!w.at || w.at == w.head || chain_seen(w.at, !w.n))
		return 0;
	if (!RD(&next, &((struct list_head *)w.at)->next))
		push(WORK_RBD, (u64)next, w.head, 0, 1);
	emit_rbd(w.at - bpf_core_field_offset(struct rbd_device, node));
	return 0;
}

SEC("syscall") int walk_rbds(void *ctx)
{
	u64 list = symbols[SYM_RBD_DEV_LIST];
	struct list_head *first = NULL;

	fault_site = WALK_STAT_FAULT_RBD;
	work_n = rbd_next = 0;
	if (list && !RD(&first, &((struct list_head *)list)->next))
		push(WORK_RBD, (u64)first, list, 0, 0);
	RUN(rbd_step);
	return 0;
}

#endif /* HANGTRACE_WALK_LIBCEPH_H */
