//go:build ignore
/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The live tracer. sys_enter keeps one slot a thread, sys_exit sends a record
 * only for a call that took longer than the threshold, sched_switch times the
 * sleeps that no system call encloses (page faults, task work, exit).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "hangtrace.h"
#include "task.h"

/* knobs */
struct trace_config {
	u64 threshold_jiffies;
	u64 threshold_ns;
	u32 all;	  /* every process: the byte table is not asked */
	u32 follow_forks; /* children of targets become targets */
	u32 slot_mask;	  /* number of slots less one, a power of two less one */
	u32 self;	  /* our own tgid: never traced */
};
const volatile struct trace_config cfg;
const volatile u8 call_class[CALL_CLASSES];

/*
 * Whether a call of that number may stand in a slot: call_class, and what was
 * seeded. Most calls are neither, and one load tells it.
 */
u8 may_return[CALL_CLASSES] SEC(".data.may_return");

/* maps */
struct path_buffer {
	char s[PATH_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct path_buffer);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

u64 stats[STAT_MAX] STATS;

#include "targets.h"
#include "trace_slots.h"
#include "trace_sleep.h"

/* logic */
static __always_inline void copy_path(struct slot *s, u32 index, u64 addr)
{
	struct path_buffer *p = bpf_map_lookup_elem(&paths, &index);
	long n;

	if (!p)
		return;
	n = bpf_probe_read_user_str(p->s, sizeof(p->s), (void *)addr);
	if (n <= 0) { /* not paged in: tried again at exit, or by user space */
		s->flags |= PATH_FAILED;
		return;
	}
	if (n == PATH_LEN)
		s->flags |= PATH_TRUNCATED;
	s->path_len = n - 1;
}

static __always_inline u64 path_argument(struct slot *s, u8 class)
{
	switch (class & CALL_PATH_MASK) {
	case 1:
		return s->args[0];
	case 2:
		return s->args[1];
	case 3:
		return s->args[2];
	case 4:
		return s->args[3];
	case 5:
		return s->args[4];
	}
	return 0;
}

static __always_inline bool is_slow(struct slot *s, u64 now)
{
	return s->flags & CALL_SEEDED || now - s->entered_jiffies >= cfg.threshold_jiffies;
}

/*
 * A call stands in the slot of a thread that is in another one by now: its return
 * was not seen. Where the programs of system calls can be preempted (7.2 with
 * PREEMPT_LAZY), the kernel does not run them for whoever has the CPU meanwhile.
 */
static __always_inline void return_unseen(struct slot *s, u64 now)
{
	/* A seeded one may have returned before its slot was there. */
	if (!(s->flags & CALL_SEEDED) && is_slow(s, now))
		__sync_fetch_and_add(&stats[STAT_RETURN_UNSEEN], 1);
	s->nr = 0;
}

static __always_inline int enter(struct pt_regs *regs, long id, bool atomic)
{
	u32 index, tid, tgid;
	struct call_regs c;
	struct slot *s;
	u64 addr, ids, now;
	u8 class;

	/* First what costs one load: it holds for most calls of everybody. */
	if ((unsigned long)id >= CALL_CLASSES)
		return 0;
	class = call_class[id];
	if (!(class & CALL_TRACED))
		return 0;
	ids = bpf_get_current_pid_tgid();
	tid = (u32)ids;
	tgid = ids >> 32;
	if (!is_target(tgid))
		return 0;
	/* 32-bit callers have other numbers: the iterator pass covers them. */
	if (current_is_compat())
		return 0;
	s = slot_of(tid, &index, atomic);
	if (!s)
		return 0;
	now = bpf_jiffies64();
	if (s->nr)
		return_unseen(s, now);
	call_regs(&c, regs); /* in place: a copy of them all costs more */
	s->generation++;     /* odd: being written */
	s->tgid = tgid;
	__builtin_memcpy(s->args, c.args, sizeof(s->args));
	s->flags = 0;
	s->path_len = 0;
	s->entered_jiffies = now;
	addr = path_argument(s, class);
	if (addr)
		copy_path(s, index, addr);
	s->nr = id + 1;
	s->generation++;
	return 0;
}

SEC("tp_btf/sys_enter") int BPF_PROG(trace_enter, struct pt_regs *regs, long id)
{
	return enter(regs, id, true);
}

SEC("tracepoint/raw_syscalls/sys_enter") int trace_enter_perf(struct perf_sys_enter *ctx)
{
	return enter(current_regs(), ctx->id, true);
}

/* For kernels before 5.12, without compare and swap in BPF. */
SEC("tp_btf/sys_enter") int BPF_PROG(trace_enter_plain, struct pt_regs *regs, long id)
{
	return enter(regs, id, false);
}

struct call_event {
	struct call_record r;
	char path[PATH_LEN];
};
struct call_event_short {
	struct call_record r;
	char path[PATH_SHORT];
};

static __always_inline void fill_call(struct call_record *r, struct slot *s, u32 tid, long ret,
				      u64 now_jiffies, u32 size)
{
	r->h.kind = RECORD_CALL;
	r->h.size = size;
	r->entered_jiffies = s->entered_jiffies;
	r->returned_jiffies = now_jiffies;
	r->returned_ns = bpf_ktime_get_ns();
	__builtin_memcpy(r->args, s->args, sizeof(r->args));
	r->ret = ret;
	r->nr = s->nr - 1;
	r->pid = s->tgid;
	r->tid = tid;
	r->flags = s->flags;
	r->path_len = s->path_len;
	r->pad = 0;
	bpf_get_current_comm(r->comm, sizeof(r->comm));
}

/* Copies a path whose page was absent at the entry: the call has paged it in. */
static __noinline int late_path(struct slot *s, u32 index)
{
	u64 addr, i;

	if (!s || !(s->flags & PATH_FAILED))
		return 0;
	i = (u32)(s->nr - 1);
	barrier_var(i); /* see waits_by_nature */
	if (i >= CALL_CLASSES)
		return 0;
	s->flags &= ~PATH_FAILED;
	addr = path_argument(s, call_class[i]);
	if (addr)
		copy_path(s, index, addr);
	return 0;
}

static __noinline int send_call(struct slot *s, u32 index, u32 tid, long ret, u64 now_jiffies)
{
	struct path_buffer *p = bpf_map_lookup_elem(&paths, &index);

	if (!s || !p)
		return 0;
	if (s->flags & PATH_FAILED)
		__sync_fetch_and_add(&stats[STAT_PATH_FAULT], 1);
	if (s->path_len < PATH_SHORT) {
		struct call_event_short *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

		if (!e)
			goto full;
		fill_call(&e->r, s, tid, ret, now_jiffies, sizeof(*e));
		bpf_probe_read_kernel(e->path, sizeof(e->path), p->s);
		bpf_ringbuf_submit(e, 0);
	} else {
		struct call_event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

		if (!e)
			goto full;
		fill_call(&e->r, s, tid, ret, now_jiffies, sizeof(*e));
		bpf_probe_read_kernel(e->path, sizeof(e->path), p->s);
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
full:
	__sync_fetch_and_add(&stats[STAT_RING_FULL], 1);
	return 0;
}

/*
 * Whether the call that returns is the slot's. A seeded call may have returned
 * before its slot was there, and the return of any may not have been seen: then
 * this is another one, of which nothing is known.
 */
static __always_inline bool is_call_of(struct slot *s, struct pt_regs *regs)
{
	struct call_regs c;

	call_regs(&c, regs);
	return c.nr == s->nr - 1 && c.args[0] == s->args[0] && c.args[1] == s->args[1] &&
	       c.args[2] == s->args[2] && c.args[3] == s->args[3];
}

static __always_inline int leave(struct pt_regs *regs, long ret)
{
	u64 now, ids, nr = call_nr(regs);
	u32 index, tid, tgid;
	struct slot *s;

	if (nr >= CALL_CLASSES || !(may_return[nr] & CALL_TRACED))
		return 0;
	ids = bpf_get_current_pid_tgid();
	tid = (u32)ids;
	tgid = ids >> 32;
	if (!is_target(tgid))
		return 0;
	s = slot_find(tid, &index);
	if (!s || !s->nr)
		return 0;
	now = bpf_jiffies64();
	if (is_slow(s, now)) {
		if (is_call_of(s, regs)) {
			late_path(s, index);
			send_call(s, index, tid, ret, now);
		} else {
			return_unseen(s, now);
		}
	}
	s->nr = 0;
	return 0;
}

SEC("tp_btf/sys_exit") int BPF_PROG(trace_exit, struct pt_regs *regs, long ret)
{
	return leave(regs, ret);
}

SEC("tracepoint/raw_syscalls/sys_exit") int trace_exit_perf(struct perf_sys_exit *ctx)
{
	return leave(current_regs(), ctx->ret);
}

/*
 * Run by user space for a thread that is already inside a call: gives it a
 * slot, so that its return is seen. The entry time stays unknown.
 */
struct seed {
	u64 args[6];
	u32 tid, tgid;
	s32 nr;
	u32 pad;
};
SEC("syscall") int trace_seed(struct seed *in)
{
	u32 index, tid = in->tid;
	struct slot *s;

	if (slot_find(tid, &index))
		return 0; /* it made a call meanwhile: the tracer has it */
	s = slot_claim_atomic(tid, &index);
	if (!s)
		return 0;
	if ((u32)in->nr < CALL_CLASSES)
		may_return[(u32)in->nr] = CALL_TRACED;
	s->generation++;
	s->tgid = in->tgid;
	__builtin_memcpy(s->args, in->args, sizeof(s->args));
	s->flags = CALL_SEEDED | PATH_FAILED;
	s->path_len = 0;
	s->entered_jiffies = bpf_jiffies64();
	s->nr = in->nr + 1;
	s->generation++;
	return 0;
}

/* ---- sleeps ---- */
/* Since 5.18 (fa2c3254d7cf) the state comes as an argument. */
SEC("tp_btf/sched_switch")
int BPF_PROG(trace_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	return preempt ? switched(prev, next, 0) : switched(prev, next, prev_state);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(trace_switch_old, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return preempt ? switched(prev, next, 0) : switched(prev, next, task_state(prev));
}

/* ---- births and deaths ---- */
static __always_inline void send_target(u32 pid, u32 parent, u32 born, const char *comm)
{
	struct target_record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r) {
		__sync_fetch_and_add(&stats[STAT_RING_FULL_TARGET], 1);
		return;
	}
	r->h.kind = RECORD_TARGET;
	r->h.size = sizeof(*r);
	r->at_ns = bpf_ktime_get_ns();
	r->pid = pid;
	r->parent = parent;
	r->born = born;
	r->pad = 0;
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), comm);
	bpf_ringbuf_submit(r, 0);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(trace_fork, struct task_struct *parent, struct task_struct *child)
{
	u8 *b;

	if (cfg.all || !cfg.follow_forks || child->tgid == parent->tgid || !is_target(parent->tgid))
		return 0;
	b = traced_byte(child->tgid);
	if (!b)
		return 0;
	*b = 1;
	send_target(child->tgid, parent->tgid, 1, child->comm);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(trace_exec, struct task_struct *t, int old_tid)
{
	struct slot *s;
	u32 index;
	u64 now;

	if (!is_target(t->tgid))
		return 0;
	/* The call that did it ends here: at its exit the registers are another
	 * program's, as its memory is by now, and arm64 has not even its number. */
	s = slot_find(old_tid, &index);
	if (s && s->nr) {
		now = bpf_jiffies64();
		if (is_slow(s, now))
			send_call(s, index, old_tid, 0, now);
		s->nr = 0;
	}
	/* A thread that executes takes over its leader's tid. */
	if (old_tid != t->pid)
		slot_free(old_tid);
	if (!cfg.all)
		send_target(t->tgid, BPF_CORE_READ(t, real_parent, tgid), 2, t->comm);
	return 0;
}

SEC("tp_btf/sched_process_exit") int BPF_PROG(trace_death, struct task_struct *t)
{
	if (!is_target(t->tgid))
		return 0;
	slot_free(t->pid);
	if (!cfg.all && t->pid == t->tgid)
		send_target(t->tgid, 0, 0, t->comm);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
