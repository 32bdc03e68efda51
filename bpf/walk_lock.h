/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sleeping locks: who holds one, and who waits for it. */
#ifndef HANGTRACE_WALK_LOCK_H
#define HANGTRACE_WALK_LOCK_H

static u32 lock_dev; /* of a lock that belongs to no inode */

/* The first waiter of a lock, and the head that ends the ring, if it has one. */
static __always_inline u64 rwsem_first(struct rw_semaphore___w *s, u64 *head)
{
	struct list_head *p = NULL;

	*head = 0;
	if (bpf_core_field_exists(((struct rw_semaphore___71 *)0)->first_waiter))
		return (u64)BPF_CORE_READ((struct rw_semaphore___71 *)s, first_waiter);
	*head = (u64)&s->wait_list;
	if (RD(&p, &s->wait_list.next) || (u64)p == *head)
		return 0;
	return (u64)p;
}

static __always_inline u64 mutex_first(struct mutex___w *m, u64 *head)
{
	struct list_head *p = NULL;

	*head = 0;
	if (bpf_core_field_exists(((struct mutex___71 *)0)->first_waiter))
		return (u64)BPF_CORE_READ((struct mutex___71 *)m, first_waiter);
	*head = (u64)&m->wait_list;
	if (RD(&p, &m->wait_list.next) || (u64)p == *head)
		return 0;
	return (u64)p;
}

#define LOCK_OWNER_FLAGS 0x07ul

/* A lock somebody waits for, its owner, and all who wait. */
__noinline int emit_lock(u64 lock, u64 owner, u64 inode, u32 type)
{
	struct inode___w *in = (void *)inode;
	struct task_struct *t = (void *)(owner & ~LOCK_OWNER_FLAGS);
	struct walk_lock *l;

	no_path();
	if (in)
		path_names(inode_alias(in), 0);
	l = reserve(WALK_LOCK, sizeof(*l));
	if (!l)
		return -1;
	l->addr = lock;
	l->type = type;
	l->owner_flags = owner & LOCK_OWNER_FLAGS;
	l->dev = lock_dev;
	if (in) {
		l->ino = BPF_CORE_READ(in, i_ino);
		l->dev = BPF_CORE_READ(in, i_sb, s_dev);
		l->node = fuse_node(in);
	}
	if (t) {
		l->owner_tid = BPF_CORE_READ(t, pid);
		l->owner_pid = BPF_CORE_READ(t, tgid);
		l->owner_start_ns = BPF_CORE_READ(t, start_boottime);
		bpf_probe_read_kernel_str(l->owner_comm, sizeof(l->owner_comm), &t->comm);
	}
	append_path(l, sizeof(*l), &l->path);
	commit(l);
	return 0;
}

/* first is the first waiter; without a head the ring ends where it began. */
static __always_inline void lock_waiters(u64 lock, u64 first, u64 head)
{
	queue_head = head ?: first;
	queue_at = first;
	queue_task = bpf_core_field_offset(struct rwsem_waiter, task);
	queue_owner = lock;
	queue_how = HOW_LOCK;
	if (!head) { /* the first one is its own end mark */
		struct task_struct *t = NULL;
		struct list_head *next = NULL;

		if (RD(&t, (struct task_struct **)((void *)first + queue_task)) || !t)
			return;
		emit_waiter((u64)t, lock, first, HOW_LOCK);
		if (RD(&next, &((struct list_head *)first)->next))
			return;
		queue_at = (u64)next;
	}
	walk_queue();
}

static __always_inline void rwsem_record(struct rw_semaphore___w *s, u64 inode, u32 type)
{
	u64 head, first = rwsem_first(s, &head);

	if (!first)
		return;
	emit_lock((u64)s, BPF_CORE_READ(s, owner.counter), inode, type);
	lock_waiters((u64)s, first, head);
}

static __always_inline void mutex_record(struct mutex___w *m, u64 inode, u32 type)
{
	u64 head, first = mutex_first(m, &head);

	if (!first)
		return;
	emit_lock((u64)m, BPF_CORE_READ(m, owner.counter), inode, type);
	lock_waiters((u64)m, first, head);
}

#endif /* HANGTRACE_WALK_LOCK_H */
