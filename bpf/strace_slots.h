/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A slot a thread: what call it is in. Included by strace.bpf.c behind its knobs.
 */
#ifndef HANGTRACE_STRACE_SLOTS_H
#define HANGTRACE_STRACE_SLOTS_H

enum slot_state {
	FRESH = 0,   /* nothing seen of the thread yet */
	OUTSIDE = 1, /* its last call returned */
	INSIDE = 2,  /* in a call whose entry was sent */
	UNSEEN = 3,  /* in a call that is not traced, or whose entry was lost */
	DEAD = 4,    /* it died, and the record of that was lost */
};
struct strace_slot {
	u32 tid, tgid;
	u64 args[6];
	u32 seq;
	s32 nr;
	u32 state;
	u32 row;
	u32 failed; /* needs of the entry whose page was absent */
	u32 flags;
	u32 code; /* of a dead one: its exit code */
	u32 pad0;
	u64 pad[5];
};
_Static_assert(sizeof(struct strace_slot) == 128, "two cache lines; slots must not share one");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct strace_slot);
} slots SEC(".maps");

/*
 * Who owns a slot: an entry is made or not made as one step, on kernels before
 * compare and swap (5.12, 5ffa25502b5a) too. Used once in a thread's life.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u32);
} claims SEC(".maps");

typedef struct strace_slot slot_type;
#include "slots.h"

static __noinline struct strace_slot *slot_claim(u32 tid, u32 *index)
{
	struct strace_slot *s;
	u32 was;

	for (u32 i = 0; i < SLOT_PROBES; i++) {
		s = slot_at(tid, i, index);
		if (!s)
			return NULL;
		was = s->tid;
		if (was && was != SLOT_FREED)
			continue;
		if (bpf_map_update_elem(&claims, index, &tid, BPF_NOEXIST))
			continue; /* another was quicker */
		s->seq = 0;
		s->state = FRESH;
		s->tid = tid;
		return s;
	}
	COUNT(no_slot);
	return NULL;
}

static __always_inline void slot_free(struct strace_slot *s, u32 index)
{
	s->state = FRESH;
	s->tid = SLOT_FREED;
	bpf_map_delete_elem(&claims, &index);
}

static __always_inline struct strace_slot *slot_of(u32 tid, u32 *index)
{
	struct strace_slot *s = slot_find(tid, index);

	return s ? s : slot_claim(tid, index);
}

#endif
