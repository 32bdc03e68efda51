/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the strace unit could not tell of, by reason.
 */
#ifndef HANGTRACE_STRACE_COUNT_H
#define HANGTRACE_STRACE_COUNT_H

/* Counted on each CPU by itself. New ones come last, as with enum stat. */
struct strace_count {
	u64 calls;	  /* traced calls begun */
	u64 lost_entries; /* of those, without a record: calls lost */
	u64 lost_exits;	  /* returns lost of calls that have an entry */
	u64 lost_others;  /* signals, births, deaths */
	u64 lost_stacks;  /* of calls that have an entry, or that slept */
	u64 no_slot;	  /* calls of threads that found no slot */
	u64 busy;	  /* of what was lost: for want of the scratch, not of room in the ring */
	u64 unread;	  /* memory that could be read neither at the entry nor at the return */
	u64 cut;	  /* memory and descriptors for which a record had no room */
	u64 no_regs;	  /* deaths without registers */
	u64 no_kstack;	  /* sleeps without a kernel stack */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct strace_count);
} counts SEC(".maps");

static __always_inline struct strace_count *count(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

#define COUNT(field)                                                                               \
	do {                                                                                       \
		struct strace_count *c_ = count();                                                 \
		if (c_)                                                                            \
			__sync_fetch_and_add(&c_->field, 1);                                       \
	} while (0)

#endif
