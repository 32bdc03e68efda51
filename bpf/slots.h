/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where a thread's slot is: a few places that follow from its number. Included
 * behind the map slots, whose values are slot_type, and behind cfg.slot_mask.
 */
#ifndef HANGTRACE_SLOTS_H
#define HANGTRACE_SLOTS_H

#define SLOT_PROBES 8
#define SLOT_FREED  0xffffffffu /* had an owner: a search goes on behind it */

static __always_inline slot_type *slot_at(u32 tid, u32 probe, u32 *index)
{
	*index = (tid + probe * 40503u) & cfg.slot_mask;
	return bpf_map_lookup_elem(&slots, index);
}

/* The slot that this thread has, if it has one. */
static __always_inline slot_type *slot_find(u32 tid, u32 *index)
{
	slot_type *s;

#pragma unroll
	for (u32 i = 0; i < SLOT_PROBES; i++) {
		s = slot_at(tid, i, index);
		if (!s || !s->tid)
			return NULL;
		if (s->tid == tid)
			return s;
	}
	return NULL;
}

#endif
