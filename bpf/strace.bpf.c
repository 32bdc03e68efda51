//go:build ignore
/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every system call of the targets as two records, one at each end, with the
 * memory that its text needs. A table filled by user space says which memory:
 * nothing here knows a system call.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "hangtrace.h"
#include "strace.h"
#include "task.h"
#include "strace_file.h"

/* knobs */
struct strace_config {
	u32 all;
	u32 follow_forks;
	u32 slot_mask;
	u32 self;
	u32 data_limit; /* how much is copied of data; paths come whole */
	u32 no_signals;
	u32 files;  /* what descriptors stand for (-y) */
	u32 stacks; /* where calls are made and where they sleep (-k) */
};
const volatile struct strace_config cfg;

/* maps */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

#include "targets.h"
#include "strace_count.h"
#include "strace_slots.h"
#include "strace_memory.h"
#include "strace_fd.h"
#include "strace_needs.h"

/* logic */
#define TELL 1 /* BPF_RB_NO_WAKEUP: the reader polls, wake-ups would cost the target */

/* ---- calls ---- */
static __always_inline u32 row_of(long id, u32 compat)
{
	if ((unsigned long)id >= STRACE_CALLS)
		return 2 * STRACE_CALLS;
	return compat ? STRACE_CALLS + id : id;
}

static __always_inline void fill_enter(struct strace_enter *e, struct strace_slot *s, u32 late)
{
	e->h.kind = STRACE_ENTER;
	e->h.size = sizeof(*e);
	e->ns = bpf_ktime_get_ns();
	e->pid = s->tgid;
	e->tid = s->tid;
	e->seq = s->seq;
	e->nr = s->nr;
	e->flags = s->flags | late;
	e->pad = 0;
	__builtin_memcpy(e->args, s->args, sizeof(e->args));
}

static __always_inline long send_scratch(struct scratch *c)
{
	struct record_header *h = (void *)c->record;
	u32 used = c->used;

	h->size = used;
	if (used > sizeof(c->record))
		return -1;
	return bpf_ringbuf_output(&ring, c->record, used, TELL);
}

#include "strace_stack.h"

static __always_inline long send_enter(struct strace_slot *s, u32 index, struct call_row *row,
				       u32 late)
{
	struct strace_enter *e;
	struct scratch *c;
	long err;

	if (!row->entry) {
		e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		if (!e)
			return -1;
		fill_enter(e, s, late);
		bpf_ringbuf_submit(e, TELL);
		return 0;
	}
	c = take_scratch();
	if (!c)
		return -1;
	c->used = sizeof(*e);
	fill_enter((void *)c->record, s, late);
	s->failed = capture_entry(index, ~0u);
	err = send_scratch(c);
	c->busy = 0;
	return err;
}

/* Begins a traced call in its slot and sends it. */
static __always_inline void begin(struct strace_slot *s, u32 index, struct pt_regs *regs, long id,
				  u32 tgid, u32 late)
{
	u32 compat = current_is_compat();
	struct call_row *row;
	struct call_regs c;

	c.lr = 0;	     /* which not all have */
	call_regs(&c, regs); /* read in place: a copy is too much for the stack before 6.2 */
	if (compat)
		call_regs_compat(&c, regs);
	if (late)
		id = c.nr;
	if (s->state == INSIDE) /* its return was not seen: see same_call */
		COUNT(lost_exits);
	s->row = row_of(id, compat);
	s->state = UNSEEN;
	row = bpf_map_lookup_elem(&rows, &s->row);
	if (!row || !row->traced || id < 0)
		return;
	s->tgid = tgid;
	s->flags = compat ? STRACE_COMPAT : 0;
	s->nr = id;
	s->failed = 0;
	s->seq++;
	__builtin_memcpy(s->args, c.args, sizeof(s->args));
	COUNT(calls);
	if (send_enter(s, index, row, late)) {
		COUNT(lost_entries);
		return;
	}
	if (cfg.stacks) {
		forget_sleep(index);
		if (send_stack(index, c.pc, c.sp, c.bp, c.lr))
			COUNT(lost_stacks);
	}
	s->state = INSIDE;
}

static __always_inline int enter(struct pt_regs *regs, long id)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 index, tid = (u32)ids, tgid = ids >> 32;
	struct strace_slot *s;

	if (!is_target(tgid))
		return 0;
	s = slot_of(tid, &index);
	if (s)
		begin(s, index, regs, id, tgid, 0);
	return 0;
}

SEC("tp_btf/sys_enter") int BPF_PROG(strace_enter, struct pt_regs *regs, long id)
{
	return enter(regs, id);
}

SEC("tracepoint/raw_syscalls/sys_enter") int strace_enter_perf(struct perf_sys_enter *ctx)
{
	return enter(current_regs(), ctx->id);
}

static __always_inline void fill_exit(struct strace_exit *e, struct strace_slot *s, long ret)
{
	e->h.kind = STRACE_EXIT;
	e->h.size = sizeof(*e);
	e->ns = bpf_ktime_get_ns();
	e->pid = s->tgid;
	e->tid = s->tid;
	e->seq = s->seq;
	e->flags = s->flags;
	e->ret = ret;
}

static __always_inline long send_exit(struct strace_slot *s, u32 index, long ret)
{
	struct call_row *row = bpf_map_lookup_elem(&rows, &s->row);
	struct strace_exit *e;
	struct scratch *c;
	long err;

	if (!row)
		return 0;
	if (!row->exit && !s->failed) {
		e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		if (!e)
			return -1;
		fill_exit(e, s, ret);
		bpf_ringbuf_submit(e, TELL);
		return 0;
	}
	c = take_scratch();
	if (!c)
		return -1;
	c->used = sizeof(*e);
	fill_exit((void *)c->record, s, ret);
	if (s->failed) /* the call itself has paged it in */
		capture_entry(index, s->failed);
	if (row->exit)
		capture_exit(index, ret);
	err = send_scratch(c);
	c->busy = 0;
	return err;
}

/*
 * Whether the call that returns may be the one whose entry was sent. Where the
 * programs of system calls can be preempted (7.2 with PREEMPT_LAZY), the kernel
 * does not run them for whoever has the CPU meanwhile: one call's return and the
 * next one's entry are not seen then. A call that has no number any more, as
 * after rt_sigreturn, or that put another program in place, is let pass.
 */
static __always_inline bool same_call(struct strace_slot *s, struct pt_regs *regs)
{
	u32 compat = current_is_compat();
	struct call_regs c;

	call_regs(&c, regs);
	if (c.nr < 0 || s->flags & STRACE_EXECED)
		return true;
	if (compat)
		call_regs_compat(&c, regs);
	return c.nr == s->nr && c.args[0] == s->args[0] && c.args[1] == s->args[1] &&
	       c.args[2] == s->args[2];
}

static __always_inline int leave(struct pt_regs *regs, long ret)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 index, tid = (u32)ids, tgid = ids >> 32;
	struct strace_slot *s;

	if (!is_target(tgid))
		return 0;
	s = slot_of(tid, &index);
	if (!s)
		return 0;
	/* A return without an entry: the call began before us, or seccomp
	 * answered it before the tracepoint. */
	if (s->state == FRESH || s->state == OUTSIDE || (s->state == INSIDE && !same_call(s, regs)))
		begin(s, index, regs, 0, tgid, STRACE_LATE);
	if (s->state == INSIDE) {
		if (cfg.stacks && send_slept(index))
			COUNT(lost_stacks);
		if (send_exit(s, index, ret))
			COUNT(lost_exits);
	}
	s->state = OUTSIDE;
	return 0;
}

SEC("tp_btf/sys_exit") int BPF_PROG(strace_exit, struct pt_regs *regs, long ret)
{
	return leave(regs, ret);
}

SEC("tracepoint/raw_syscalls/sys_exit") int strace_exit_perf(struct perf_sys_exit *ctx)
{
	return leave(current_regs(), ctx->ret);
}

/* ---- signals, births, deaths ---- */
struct kernel_siginfo;
struct k_sigaction;
static __always_inline void send_signal(u32 pid, u32 tid, int sig, struct kernel_siginfo *info,
					u32 flags)
{
	struct strace_signal *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	s32 *words;

	if (!r) {
		COUNT(lost_others);
		return;
	}
	r->h.kind = STRACE_SIGNAL;
	r->h.size = sizeof(*r);
	r->ns = bpf_ktime_get_ns();
	r->pid = pid;
	r->tid = tid;
	r->flags = flags;
	r->pad = 0;
	if (bpf_probe_read_kernel(r->info, sizeof(r->info), info)) {
		/* SEND_SIG_NOINFO, SEND_SIG_PRIV: no address, but who sends */
		__builtin_memset(r->info, 0, sizeof(r->info));
		words = (s32 *)r->info;
		words[0] = sig;
		words[2] = info ? 0x80 /* SI_KERNEL */ : 0 /* SI_USER */;
	}
	bpf_ringbuf_submit(r, TELL);
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(strace_signal, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	u64 ids = bpf_get_current_pid_tgid();

	if (!cfg.no_signals && is_target(ids >> 32))
		send_signal(ids >> 32, (u32)ids, sig, info, 0);
	return 0;
}

/*
 * A signal that the target ignores is dropped where it is sent. A tracer that
 * uses ptrace gets it nevertheless, so its users expect to see it.
 */
#define TRACE_SIGNAL_IGNORED 1
SEC("tp_btf/signal_generate")
int BPF_PROG(strace_ignored, int sig, struct kernel_siginfo *info, struct task_struct *t, int group,
	     int result)
{
	if (result == TRACE_SIGNAL_IGNORED && !cfg.no_signals && is_target(t->tgid))
		send_signal(t->tgid, t->pid, sig, info, STRACE_IGNORED);
	return 0;
}

static __always_inline long send_life(u32 kind, struct task_struct *t, u32 other, u32 flags,
				      u32 seq)
{
	struct strace_life *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	struct pt_regs regs;
	struct call_regs c = {.nr = -1};

	if (!r) {
		COUNT(lost_others);
		return -1;
	}
	if (kind == STRACE_DEATH && task_regs(t, &regs)) {
		COUNT(no_regs);
	} else if (kind == STRACE_DEATH) {
		call_regs(&c, &regs);
		if (flags & STRACE_COMPAT)
			call_regs_compat(&c, &regs);
	}
	r->h.kind = kind;
	r->h.size = sizeof(*r);
	r->ns = bpf_ktime_get_ns();
	r->pid = t->tgid;
	r->tid = t->pid;
	r->other = other;
	r->flags = flags;
	r->seq = seq;
	r->nr = c.nr;
	__builtin_memcpy(r->args, c.args, sizeof(r->args));
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), &t->comm);
	bpf_ringbuf_submit(r, TELL);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(strace_fork, struct task_struct *parent, struct task_struct *child)
{
	struct strace_slot *s;
	u32 index;
	u8 *b;

	if (!is_target(parent->tgid))
		return 0;
	s = slot_find(child->pid, &index);
	if (s) /* of a thread whose death was lost */
		slot_free(s, index);
	if (child->tgid != parent->tgid && !cfg.all) {
		b = cfg.follow_forks ? traced_byte(child->tgid) : NULL;
		if (!b)
			return 0;
		*b = 1;
	}
	send_life(STRACE_FORK, child, parent->pid, 0, 0);
	return 0;
}

/* A thread that executes takes over its leader's ID: its call goes with it. */
static __always_inline void move_slot(u32 from, u32 to)
{
	u32 was, index;
	struct strace_slot *a = slot_find(from, &was), *b;

	b = slot_of(to, &index);
	if (!a || !b)
		return;
	__builtin_memcpy(b->args, a->args, sizeof(b->args));
	b->seq = a->seq;
	b->nr = a->nr;
	b->row = a->row;
	b->flags = a->flags;
	b->state = a->state;
	if (cfg.stacks)
		forget_sleep(index);
	slot_free(a, was);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(strace_exec, struct task_struct *t, int old_tid)
{
	struct strace_slot *s;
	u32 index;

	if (!is_target(t->tgid))
		return 0;
	if (old_tid != t->pid)
		move_slot(old_tid, t->pid);
	s = slot_find(t->pid, &index);
	if (s)
		s->flags |= STRACE_EXECED;
	if (s && s->failed) {
		COUNT(unread);
		s->failed = 0; /* the memory is gone */
	}
	send_life(STRACE_EXEC, t, old_tid, 0, 0);
	return 0;
}

struct task_struct___exit {
	int exit_code;
} __attribute__((preserve_access_index));

SEC("tp_btf/sched_process_exit") int BPF_PROG(strace_death, struct task_struct *t)
{
	u32 index, code, flags = 0, seq = 0;
	struct strace_slot *s;

	if (!is_target(t->tgid))
		return 0;
	if (t->pid == t->tgid)
		flags |= STRACE_LEADER;
	if (task_is_compat(t))
		flags |= STRACE_COMPAT;
	s = slot_find(t->pid, &index);
	if (s)
		seq = s->seq;
	code = BPF_CORE_READ((struct task_struct___exit *)t, exit_code);
	if (!send_life(STRACE_DEATH, t, code, flags, seq)) {
		if (s)
			slot_free(s, index);
	} else if (s) { /* user space reads it at the end */
		s->code = code;
		s->state = DEAD;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
