/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requests of cephfs, libceph and rbd. Nothing of these moved from 6.1 to 7.2. */
#ifndef HANGTRACE_WALK_CEPH_H
#define HANGTRACE_WALK_CEPH_H

enum {
	WORK_SESSION = 1,
	WORK_MDSREQ,
	WORK_CAPWAIT,
	WORK_OSD,
	WORK_OSDREQ,
	WORK_MONREQ,
	WORK_RBD,
	WORK_PROCESS,
	WORK_THREAD,
};

static u32 fs_next, client_next;

/* Many rbd devices share one client. */
__noinline int add_client(u64 client)
{
	u32 i;

	if (!client)
		return 0;
	for (i = 0; i < MAX_TARGETS && i < clients.n; i++)
		if (clients.at[i] == client)
			return 0;
	target(&clients, client);
	return 0;
}

/* ---- cephfs ---- */

/*
 * Who waits for caps: cap_wait lies on its stack, so the thread is the one of
 * that process whose stack this is. walk_threads finds it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, 1);
	__type(key, u64); /* where the stack begins */
	__type(value, u64);
} stacks SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, 1);
	__type(key, u32);
	__type(value, u8);
} processes SEC(".maps");
u32 cap_waits;	/* found by this walk */

static __always_inline void emit_cephfs(struct ceph_fs_client *f, struct ceph_mds_client *m)
{
	struct ceph_mdsmap *map = BPF_CORE_READ(m, mdsmap);
	struct walk_cephfs *r = reserve(WALK_CEPHFS, sizeof(*r));
	bool blocklisted = false;
	char *name;

	if (!r)
		return;
	r->super = (u64)BPF_CORE_READ(f, sb);
	r->mdsc = (u64)m;
	r->client = (u64)BPF_CORE_READ(f, client);
	r->dev = BPF_CORE_READ(f, sb, s_dev);
	r->mount_state = BPF_CORE_READ(f, mount_state);
	RD(&blocklisted, &f->blocklisted);
	r->blocklisted = blocklisted;
	r->stopping = BPF_CORE_READ(m, stopping);
	if (map) {
		r->epoch = BPF_CORE_READ(map, m_epoch);
		r->laggy = BPF_CORE_READ(map, m_num_laggy);
		r->timeout = BPF_CORE_READ(map, m_session_timeout);
		if (bpf_core_field_exists(map->m_fs_name)) {
			name = BPF_CORE_READ(map, m_fs_name);
			if (name)
				bpf_probe_read_kernel_str(r->fs_name, sizeof(r->fs_name), name);
		}
	}
	name = BPF_CORE_READ(f, mount_options, server_path);
	if (name)
		bpf_probe_read_kernel_str(r->server_path, sizeof(r->server_path), name);
	commit(r);
}

__noinline int start_cephfs(u64 addr)
{
	struct super_block___w *sb = (void *)addr;
	struct ceph_fs_client *f = BPF_CORE_READ(sb, s_fs_info);
	struct ceph_mds_client *m;
	struct list_head *first = NULL;

	if (!f || BPF_CORE_READ(f, sb) != sb) {
		stats[WALK_STAT_FOREIGN]++;
		return -1;
	}
	add_client((u64)BPF_CORE_READ(f, client));
	m = BPF_CORE_READ(f, mdsc);
	if (!m || BPF_CORE_READ(m, fsc) != f)
		return -1;
	emit_cephfs(f, m);
	completion_waiters(&m->safe_umount_waiters, addr, HOW_UMOUNT);
	wq_waiters(&m->session_close_wq, addr, HOW_UMOUNT);
	wq_waiters(&m->cap_flushing_wq, addr, HOW_FLUSH);
	lock_dev = BPF_CORE_READ(sb, s_dev);
	mutex_record(&m->mutex, 0, LOCK_MDSC);
	rwsem_record(&m->snap_rwsem, 0, LOCK_SNAP);
	rwsem_record(&m->pool_perm_rwsem, 0, LOCK_POOL);
	if (!RD(&first, &m->cap_wait_list.next))
		push(WORK_CAPWAIT, (u64)first, (u64)&m->cap_wait_list, (u64)m, 0);
	push_tree(WORK_MDSREQ, &m->request_tree, (u64)m);
	push(WORK_SESSION, (u64)BPF_CORE_READ(m, sessions), BPF_CORE_READ(m, max_sessions), (u64)m,
	     0);
	return 0;
}

__noinline int emit_session(u64 addr, u64 mdsc)
{
	struct ceph_mds_session *s = (void *)addr;
	struct ceph_mds_client *m = (void *)mdsc;
	struct ceph_mdsmap *map = BPF_CORE_READ(m, mdsmap);
	struct ceph_mds_info *info;
	struct walk_session *r;
	bool laggy = false;
	s32 rank;

	if (BPF_CORE_READ(s, s_mdsc) != m) {
		stats[WALK_STAT_FOREIGN]++;
		return -1;
	}
	r = reserve(WALK_SESSION, sizeof(*r));
	if (!r)
		return -1;
	rank = BPF_CORE_READ(s, s_mds);
	r->addr = addr;
	r->mdsc = mdsc;
	r->rank = rank;
	r->state = BPF_CORE_READ(s, s_state);
	r->ttl = BPF_CORE_READ(s, s_ttl);
	r->renew_requested = BPF_CORE_READ(s, s_renew_requested);
	r->cap_ttl = BPF_CORE_READ(s, s_cap_ttl);
	r->con_state = BPF_CORE_READ(s, s_con.state);
	r->caps = BPF_CORE_READ(s, s_nr_caps);
	rd(r->peer, ADDR_LEN, &s->s_con.peer_addr);
	info = map ? BPF_CORE_READ(map, m_info) : NULL;
	if (info && rank >= 0 && rank < (s32)BPF_CORE_READ(map, possible_max_rank)) {
		info = (void *)info + (u64)rank * bpf_core_type_size(struct ceph_mds_info);
		r->map_state = BPF_CORE_READ(info, state);
		RD(&laggy, &info->laggy);
		r->laggy = laggy;
	}
	commit(r);
	lock_dev = BPF_CORE_READ(m, fsc, sb, s_dev);
	mutex_record(&s->s_mutex, 0, LOCK_SESSION);
	return 0;
}

__noinline int emit_mdsreq(u64 addr)
{
	struct ceph_mds_request *q = (void *)addr;
	struct dentry___w *d = BPF_CORE_READ(q, r_dentry);
	struct inode___w *in = BPF_CORE_READ(q, r_inode);
	struct ceph_mds_session *s = BPF_CORE_READ(q, r_session);
	char *path1 = BPF_CORE_READ(q, r_path1);
	struct walk_mdsreq *r;

	no_path();
	if (d)
		path_names((u64)d, 0);
	else if (in)
		path_names(inode_alias(in), 0);
	r = reserve(WALK_MDSREQ, sizeof(*r));
	if (!r)
		return -1;
	r->addr = addr;
	r->mdsc = (u64)BPF_CORE_READ(q, r_mdsc);
	r->tid = BPF_CORE_READ(q, r_tid);
	r->start_ns = BPF_CORE_READ(q, r_start_latency);
	r->sent = BPF_CORE_READ(q, r_request_started);
	r->base_ino = BPF_CORE_READ(q, r_ino1.ino);
	r->dentry = (u64)d;
	if (in)
		r->ino = BPF_CORE_READ(in, i_ino);
	r->op = BPF_CORE_READ(q, r_op);
	r->rank = -1;
	if (s) {
		r->rank = BPF_CORE_READ(s, s_mds);
		r->session_state = BPF_CORE_READ(s, s_state);
	}
	r->attempts = BPF_CORE_READ(q, r_attempts);
	r->flags = BPF_CORE_READ(q, r_req_flags);
	r->err = BPF_CORE_READ(q, r_err);
	r->done = BPF_CORE_READ(q, r_completion.done);
	r->resend_rank = BPF_CORE_READ(q, r_resend_mds);
	if (path1)
		bpf_probe_read_kernel_str(r->path1, sizeof(r->path1), path1);
	append_path(r, sizeof(*r), &r->path);
	commit(r);
	completion_waiters(&q->r_completion, addr, HOW_REPLY);
	completion_waiters(&q->r_safe_completion, addr, HOW_SAFE);
	request_lookup(d, &q->r_completion.wait.task_list);
	return 0;
}

__noinline int emit_capwait(u64 addr, u64 mdsc)
{
	struct cap_wait *c = (void *)addr;
	struct walk_capwait *r = reserve(WALK_CAPWAIT, sizeof(*r));
	u64 stack = addr & ~(stack_size - 1);
	u32 tgid;
	u8 one = 1;

	if (!r)
		return -1;
	tgid = BPF_CORE_READ(c, tgid);
	r->addr = addr;
	r->mdsc = mdsc;
	r->ino = BPF_CORE_READ(c, ino);
	r->tgid = tgid;
	r->need = BPF_CORE_READ(c, need);
	r->want = BPF_CORE_READ(c, want);
	commit(r);
	bpf_map_update_elem(&stacks, &stack, &addr, BPF_ANY);
	bpf_map_update_elem(&processes, &tgid, &one, BPF_ANY);
	cap_waits++;
	return 0;
}

static long cephfs_step(u32 i, void *ctx)
{
	struct ceph_mds_session *s = NULL;
	struct list_head *next = NULL;
	struct work w;
	u64 node;
	u32 n;

	if (!pop(&w)) {
		n = fs_next;
		if (n >= cephs.n || n >= MAX_TARGETS)
			return 1;
		fs_next = n + 1;
		start_cephfs(cephs.at[n]);
		return 0;
	}
	switch (w.kind) {
	case WORK_SESSION: /* an array with holes */
		if (!w.at || w.n >= w.head || w.n >= MAX_TARGETS)
			return 0;
		push(WORK_SESSION, w.at, w.head, w.owner, w.n + 1);
		if (!RD(&s, (struct ceph_mds_session **)(w.at + w.n * 8ull)) && s)
			emit_session((u64)s, w.owner);
		return 0;
	case WORK_MDSREQ:
		node = w.at - bpf_core_field_offset(struct ceph_mds_request, r_node);
		if ((u64)BPF_CORE_READ((struct ceph_mds_request *)node, r_mdsc) != w.owner) {
			stats[WALK_STAT_FOREIGN]++;
			return 0;
		}
		push_children(WORK_MDSREQ, w.at, w.owner);
		emit_mdsreq(node);
		return 0;
	case WORK_CAPWAIT:
		if (!w.at || w.at == w.head || chain_seen(w.at, !w.n))
			return 0;
		if (!RD(&next, &((struct list_head *)w.at)->next))
			push(WORK_CAPWAIT, (u64)next, w.head, w.owner, 1);
		emit_capwait(w.at - bpf_core_field_offset(struct cap_wait, list), w.owner);
	}
	return 0;
}

SEC("syscall") int walk_cephfs(void *ctx)
{
	fault_site = WALK_STAT_FAULT_MDS;
	work_n = fs_next = 0;
	cap_waits = 0;
	RUN(cephfs_step);
	return 0;
}

/* ---- libceph: OSD and monitor requests ---- */

static struct {
	char s[WALK_NAME_LEN];
} pool_name;
static s64 pool_id;
static u64 pool_client;

/* The pool's name from the OSD map, a tree by ID; the last one is kept. */
__noinline int find_pool(u64 client, s64 id)
{
	struct ceph_client *c = (void *)client;
	struct ceph_pg_pool_info *p;
	struct rb_node *n;
	s64 at;
	int i;

	if (client == pool_client && id == pool_id)
		return 0;
	pool_client = client;
	pool_id = id;
	pool_name.s[0] = 0;
	n = BPF_CORE_READ(c, osdc.osdmap, pg_pools.rb_node);
	for (i = 0; i < 32 && n; i++) {
		p = (void *)n - bpf_core_field_offset(struct ceph_pg_pool_info, node);
		at = BPF_CORE_READ(p, id);
		if (at == id) {
			bpf_probe_read_kernel_str(pool_name.s, sizeof(pool_name.s),
						  BPF_CORE_READ(p, name));
			return 0;
		}
		n = id < at ? BPF_CORE_READ(n, rb_left) : BPF_CORE_READ(n, rb_right);
	}
	return -1;
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

/* ---- the threads behind the cap waits ---- */

static u64 process_first;

static long thread_step(u32 i, void *ctx)
{
	struct list_head *next = NULL;
	struct task_struct___w *t;
	struct work w;
	u64 *found, stack;
	u32 tgid;

	if (!pop(&w))
		return 1;
	if (!w.at || w.at == w.head)
		return 0;
	if (!RD(&next, &((struct list_head *)w.at)->next))
		push(w.kind, (u64)next, w.head, 0, 1);
	if (w.kind == WORK_PROCESS) {
		t = (void *)(w.at - bpf_core_field_offset(struct task_struct___w, tasks));
		tgid = BPF_CORE_READ(t, tgid);
		if (bpf_map_lookup_elem(&processes, &tgid)) {
			struct signal_struct *s = BPF_CORE_READ(t, signal);

			if (!RD(&next, &s->thread_head.next))
				push(WORK_THREAD, (u64)next, (u64)&s->thread_head, 0, 0);
		}
		return 0;
	}
	if (brent_seen(w.at))
		return 0;
	t = (void *)(w.at - bpf_core_field_offset(struct task_struct___w, thread_node));
	stack = (u64)BPF_CORE_READ(t, stack);
	found = bpf_map_lookup_elem(&stacks, &stack);
	if (found)
		emit_waiter((u64)t, *found, *found, HOW_CAPS);
	return 0;
}

/* Only run when a walk found cap waits: it looks at every process of the node. */
SEC("syscall") int walk_threads(void *ctx)
{
	struct task_struct___w *me = (void *)bpf_get_current_task(), *leader;
	struct list_head *next = NULL;

	fault_site = WALK_STAT_FAULT_TASK;
	work_n = 0;
	brent_start();
	leader = (void *)BPF_CORE_READ(me, group_leader);
	if (!RD(&next, &leader->tasks.next))
		push(WORK_PROCESS, (u64)next, (u64)&leader->tasks, 0, 0);
	RUN(thread_step);
	return 0;
}

#endif /* HANGTRACE_WALK_CEPH_H */
