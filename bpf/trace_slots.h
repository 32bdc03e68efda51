/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A slot a thread: what call it is in. Included by trace.bpf.c behind its knobs
 * and counters.
 */
#ifndef HANGTRACE_TRACE_SLOTS_H
#define HANGTRACE_TRACE_SLOTS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

typedef struct slot slot_type;
#include "slots.h"

static __always_inline struct slot *slot_claim(u32 tid, u32 *index, bool atomic)
{
	struct slot *s;
	u32 was;

	for (u32 i = 0; i < SLOT_PROBES; i++) {
		s = slot_at(tid, i, index);
		if (!s)
			return NULL;
		was = s->tid;
		if (was && was != SLOT_FREED)
			continue;
		if (!atomic) {
			s->tid = tid;
			return s;
		}
		if (__sync_val_compare_and_swap(&s->tid, was, tid) == was)
			return s;
	}
	__sync_fetch_and_add(&stats[STAT_SLOT_TAKEN], 1);
	return NULL;
}

/* Takes a free slot by compare and swap, which BPF has since 5.12 (5ffa25502b5a). */
static __noinline struct slot *slot_claim_atomic(u32 tid, u32 *index)
{
	return slot_claim(tid, index, true);
}

/*
 * Before 5.12 two threads claiming one slot at the same instant may mix, and
 * user space drops what does not fit the thread's registers. A function of its
 * own: the verifier of those kernels refuses the other instruction unseen.
 */
static __noinline struct slot *slot_claim_plain(u32 tid, u32 *index)
{
	return slot_claim(tid, index, false);
}

/* A thread keeps its slot until it exits: only its first traced call claims. */
static __always_inline struct slot *slot_of(u32 tid, u32 *index, bool atomic)
{
	struct slot *s = slot_find(tid, index);

	if (s)
		return s;
	return atomic ? slot_claim_atomic(tid, index) : slot_claim_plain(tid, index);
}

static __always_inline void slot_free(u32 tid)
{
	u32 index;
	struct slot *s = slot_find(tid, &index);

	if (!s)
		return;
	s->nr = 0;
	s->tid = SLOT_FREED;
}

#endif
