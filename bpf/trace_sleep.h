/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * When threads of targets sleep, which tells of what no system call encloses.
 * Included by trace.bpf.c behind its ring and slots.
 */
#ifndef HANGTRACE_TRACE_SLEEP_H
#define HANGTRACE_TRACE_SLEEP_H

/* When a thread of a target went to sleep; indexed by tid like the slots. */
struct sleep {
	u32 tid;
	u32 state;
	u64 since_ns;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct sleep);
} sleeps SEC(".maps");

#define SLEEPING 0x0003 /* TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE */
#define NOLOAD	 0x0400 /* idle kernel threads */

static __always_inline void fell_asleep(struct task_struct *t, u32 tid, u32 state)
{
	u32 index = tid & cfg.slot_mask;
	struct sleep *z = bpf_map_lookup_elem(&sleeps, &index);

	if (!z)
		return;
	/* Another thread's sleep of less than a second is no loss; a longer one
	 * is still seen by the iterator, only without its exact end. */
	if (z->tid && z->tid != tid)
		__sync_fetch_and_add(&stats[STAT_SLEEP_TAKEN], 1);
	z->state = state;
	z->since_ns = bpf_ktime_get_ns();
	z->tid = tid;
}

static __always_inline bool waits_by_nature(s64 nr, u32 state)
{
	u64 i = (u32)nr;

	/* The compiler must not compare one register and use another, which it
	 * extended by its sign: the verifier does not see that they are one. */
	barrier_var(i);
	if (i >= CALL_CLASSES)
		return false;
	return call_class[i] & CALL_WAITS && !(state & 0x2);
}

static __noinline int send_block(struct task_struct *t, struct sleep *z, u64 now)
{
	struct pt_regs regs;
	struct call_regs c = {};
	struct block_record *r;
	bool has_regs;
	long n;

	if (!t || !z)
		return 0;
	has_regs = !task_regs(t, &regs);
	if (has_regs)
		call_regs(&c, &regs);
	else
		__sync_fetch_and_add(&stats[STAT_REGS_FAULT], 1);
	if (has_regs && waits_by_nature(c.nr, z->state))
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&stats[STAT_RING_FULL_SLEEP], 1);
		return 0;
	}
	r->h.kind = RECORD_BLOCK;
	r->h.size = sizeof(*r);
	r->start_ns = z->since_ns;
	r->end_ns = now;
	__builtin_memcpy(r->args, c.args, sizeof(r->args));
	r->nr = has_regs ? c.nr : -1;
	r->pid = BPF_CORE_READ(t, tgid);
	r->tid = BPF_CORE_READ(t, pid);
	r->state = z->state;
	r->task_flags = BPF_CORE_READ(t, flags);
	r->flags = (has_regs ? TASK_HAS_REGS : 0) | (task_is_compat(t) ? TASK_COMPAT : 0);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), &t->comm);
	n = bpf_get_task_stack(t, r->stack, sizeof(r->stack), 0);
	if (n < 0)
		__sync_fetch_and_add(&stats[STAT_STACK_FAULT], 1);
	r->stack_len = n > 0 ? (u32)n / 8 : 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

static __always_inline void woke_up(struct task_struct *t, u32 tid)
{
	u32 index = tid & cfg.slot_mask;
	struct sleep *z = bpf_map_lookup_elem(&sleeps, &index);
	u64 now;

	if (!z || z->tid != tid)
		return;
	now = bpf_ktime_get_ns();
	if (now - z->since_ns >= cfg.threshold_ns)
		send_block(t, z, now);
	z->tid = 0;
}

static __always_inline int switched(struct task_struct *prev, struct task_struct *next, u32 state)
{
	if (state & SLEEPING && !(state & NOLOAD) && is_target(prev->tgid))
		fell_asleep(prev, prev->pid, state);
	if (is_target(next->tgid))
		woke_up(next, next->pid);
	return 0;
}

#endif
