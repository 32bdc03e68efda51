/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where calls are made, and where they sleep (-k). Included by strace.bpf.c
 * behind its maps and put(). Without cfg.stacks none of it is in a program that
 * runs.
 *
 * The program's side is its registers and a copy of its stack: few programs keep
 * frame pointers, so who called whom is found out by user space, from the tables
 * that programs carry. At the entry the memory is still that of the caller, after
 * an execve it is not. The kernel's side of a call that does not sleep is the same
 * for all; of one that does it is taken when it leaves the CPU.
 */
#ifndef HANGTRACE_STRACE_STACK_H
#define HANGTRACE_STRACE_STACK_H

#define RED_ZONE 128 /* below the stack pointer, of which functions may make use */

/* Where a thread sleeps now, and where in this call it slept for longest. */
struct sleep {
	u64 since; /* 0: it does not */
	u64 longest;
	u32 depth, longest_depth;
	u64 ips[STRACE_DEPTH], longest_ips[STRACE_DEPTH];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384); /* as slots; user space makes it 1 without -k */
	__type(key, u32);
	__type(value, struct sleep);
} sleeps SEC(".maps");

static __always_inline void forget_sleep(u32 index)
{
	struct sleep *l = bpf_map_lookup_elem(&sleeps, &index);

	if (!l)
		return;
	l->since = l->longest = 0;
	l->depth = l->longest_depth = 0;
}

/*
 * Sends where the call in a slot was made. Global, to be verified once; so the
 * registers come one by one.
 */
__noinline long send_stack(u32 index, u64 pc, u64 sp, u64 bp, u64 lr)
{
	struct strace_slot *s = bpf_map_lookup_elem(&slots, &index);
	struct scratch *c = s ? take_scratch() : NULL;
	struct strace_stack *r;
	long n, err;

	if (!s || !c)
		return -1;
	r = (void *)c->record;
	r->h.kind = STRACE_STACK;
	r->ns = bpf_ktime_get_ns();
	r->pid = s->tgid;
	r->tid = s->tid;
	r->seq = s->seq;
	r->flags = s->flags;
	r->pc = pc;
	r->sp = sp;
	r->bp = bp;
	r->lr = lr;
	c->used = sizeof(*r);
	n = put(sp - RED_ZONE, 4096, PUT_BYTES);
	if (n > 0)
		sp += n - RED_ZONE;
	for (u32 i = 0; i < 3; i++) { /* as much as there is room for */
		n = put(sp, 4096, PUT_BYTES);
		if (n <= 0)
			break;
		sp += n;
	}
	r->h.size = c->used;
	err = send_scratch(c);
	c->busy = 0;
	return err;
}

/* Sends where the call in a slot slept for longest, if it did. */
__noinline long send_slept(u32 index)
{
	struct strace_slot *s = bpf_map_lookup_elem(&slots, &index);
	struct sleep *l = bpf_map_lookup_elem(&sleeps, &index);
	struct strace_slept *r;

	if (!s || !l || !l->longest_depth)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r)
		return -1;
	r->h.kind = STRACE_SLEPT;
	r->h.size = sizeof(*r);
	r->ns = bpf_ktime_get_ns();
	r->pid = s->tgid;
	r->tid = s->tid;
	r->seq = s->seq;
	r->depth = l->longest_depth;
	r->slept = l->longest;
	__builtin_memcpy(r->ips, l->longest_ips, sizeof(r->ips));
	bpf_ringbuf_submit(r, TELL);
	return 0;
}

/* Finds the sleep of a thread that is inside a traced call. */
static __always_inline struct sleep *sleep_of(u32 tid)
{
	struct strace_slot *s;
	u32 index;

	s = slot_find(tid, &index);
	if (!s || s->state != INSIDE)
		return NULL;
	return bpf_map_lookup_elem(&sleeps, &index);
}

static __always_inline void fall_asleep(void *ctx, u32 tid)
{
	struct sleep *l = sleep_of(tid);
	long n;

	if (!l)
		return;
	n = bpf_get_stack(ctx, l->ips, sizeof(l->ips), 0);
	if (n < 0)
		COUNT(no_kstack);
	l->depth = n > 0 ? (u32)n / sizeof(u64) : 0;
	l->since = bpf_ktime_get_ns();
}

static __always_inline void wake_up(u32 tid)
{
	struct sleep *l = sleep_of(tid);
	u64 slept;

	if (!l || !l->since)
		return;
	slept = bpf_ktime_get_ns() - l->since;
	l->since = 0;
	if (slept < l->longest)
		return;
	l->longest = slept;
	l->longest_depth = l->depth;
	__builtin_memcpy(l->longest_ips, l->ips, sizeof(l->ips));
}

SEC("tp_btf/sched_switch")
int BPF_PROG(strace_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	if (!preempt && is_target(prev->tgid) && task_state(prev))
		fall_asleep(ctx, prev->pid);
	if (is_target(next->tgid))
		wake_up(next->pid);
	return 0;
}

#endif /* HANGTRACE_STRACE_STACK_H */
