/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The requests, sessions and caps of cephfs. None of it moved from 6.1 to 7.2. */
#ifndef HANGTRACE_WALK_CEPHFS_H
#define HANGTRACE_WALK_CEPHFS_H

enum {
	WORK_SESSION = 1,
	WORK_MDSREQ,
	WORK_CAPWAIT,
	WORK_PROCESS,
	WORK_THREAD,
};

static u32 fs_next;

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
u32 cap_waits; /* found by this walk */

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
	long err;

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
	err = bpf_map_update_elem(&stacks, &stack, &addr, BPF_ANY);
	if (bpf_map_update_elem(&processes, &tgid, &one, BPF_ANY) || err)
		stats[WALK_STAT_BOUND]++;
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

/* ---- the threads behind the cap waits ---- */

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

#endif /* HANGTRACE_WALK_CEPHFS_H */
