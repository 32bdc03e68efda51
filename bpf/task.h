/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reading a task_struct on every kernel since 5.10. Include after the bpf headers. */
#ifndef HANGTRACE_TASK_H
#define HANGTRACE_TASK_H

#define TS_COMPAT   0x0002 /* x86, arch/x86/include/asm/thread_info.h */
#define TIF_32BIT   22	   /* arm64, arch/arm64/include/asm/thread_info.h */
#define TASK_DEAD   0x0080
#define PF_KTHREAD  0x00200000
#define THREAD_SIZE 16384 /* both architectures, without KASAN, 4K pages */

#define BLOCKER_TYPE_MASK  0x03ul /* include/linux/hung_task.h, since 6.16 */
#define BLOCKER_TYPE_MUTEX 0x00ul
#define BLOCKER_TYPE_SEM   0x01ul
#define LOCK_OWNER_MASK	   0x07ul /* flag bits of mutex and rwsem owners */

static __always_inline u32 task_state(struct task_struct *t)
{
	if (bpf_core_field_exists(t->__state))
		return BPF_CORE_READ(t, __state);
	return (u32)BPF_CORE_READ((struct task_struct___pre514 *)t, state);
}

static __always_inline bool task_is_compat(struct task_struct *t)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(t, thread_info.status) & TS_COMPAT;
#else
	return BPF_CORE_READ(t, thread_info.flags) & (1ul << TIF_32BIT);
#endif
}

/*
 * The same of the current thread, on the path of every call. Since 5.11
 * (3ca1032ab7ab) its task_struct can be read in place, which is a load where
 * the other is a call.
 */
static __always_inline bool current_is_compat(void)
{
	struct task_struct *t;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return task_is_compat((struct task_struct *)bpf_get_current_task());
	t = bpf_get_current_task_btf();
#if defined(__TARGET_ARCH_x86)
	return t->thread_info.status & TS_COMPAT;
#else
	return t->thread_info.flags & (1ul << TIF_32BIT);
#endif
}

/*
 * The registers saved at the last entry into the kernel. The helper came with
 * 5.15 (dd6e10fbd9fb); before, they lie at the top of the kernel stack.
 */
static __always_inline int task_regs(struct task_struct *t, struct pt_regs *regs)
{
	void *from;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		from = (void *)bpf_task_pt_regs(t);
	else
		from = BPF_CORE_READ(t, stack) + THREAD_SIZE - bpf_core_type_size(struct pt_regs);
	if (!from)
		return -1;
	return bpf_probe_read_kernel(regs, sizeof(*regs), from);
}

/*
 * What the perf side of the tracepoints of system calls is given (format in their
 * tracefs folders). It has no registers, but it is never preempted: on 7.2 the
 * other side is, and the kernel leaves a program out for whoever has the CPU while
 * a thread is preempted inside it.
 */
struct perf_sys_enter {
	u64 common;
	s64 id;
	u64 args[6];
};
struct perf_sys_exit {
	u64 common;
	s64 id;
	s64 ret;
};

static __always_inline struct pt_regs *current_regs(void)
{
	return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

struct call_regs {
	u64 args[6], pc, sp, bp, lr, ret;
	s64 nr;
};

/* The number alone. */
static __always_inline s64 call_nr(struct pt_regs *r)
{
#if defined(__TARGET_ARCH_x86)
	return (s32)r->orig_ax;
#else
	return r->syscallno;
#endif
}

static __always_inline void call_regs(struct call_regs *c, struct pt_regs *r)
{
#if defined(__TARGET_ARCH_x86)
	c->nr = (s32)r->orig_ax;
	c->args[0] = r->di;
	c->args[1] = r->si;
	c->args[2] = r->dx;
	c->args[3] = r->r10;
	c->args[4] = r->r8;
	c->args[5] = r->r9;
	c->pc = r->ip;
	c->sp = r->sp;
	c->bp = r->bp;
	c->ret = r->ax;
#else
	c->nr = r->syscallno;
	c->args[0] = r->orig_x0;
	c->args[1] = r->regs[1];
	c->args[2] = r->regs[2];
	c->args[3] = r->regs[3];
	c->args[4] = r->regs[4];
	c->args[5] = r->regs[5];
	c->pc = r->pc;
	c->sp = r->sp;
	c->bp = r->regs[29];
	c->lr = r->regs[30];
	c->ret = r->regs[0];
#endif
}

/* A 32-bit caller on x86 passes its arguments in other registers. */
static __always_inline void call_regs_compat(struct call_regs *c, struct pt_regs *r)
{
#if defined(__TARGET_ARCH_x86)
	c->args[0] = (u32)r->bx;
	c->args[1] = (u32)r->cx;
	c->args[2] = (u32)r->dx;
	c->args[3] = (u32)r->si;
	c->args[4] = (u32)r->di;
	c->args[5] = (u32)r->bp;
#endif
}

#endif /* HANGTRACE_TASK_H */
