/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose calls are traced, for programs whose knobs (cfg) are all and self.
 */
#ifndef HANGTRACE_TARGETS_H
#define HANGTRACE_TARGETS_H

/* One byte a thread group: exact, and one load on the hot path. */
struct tgid_page {
	u8 traced[8];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TGIDS / 8);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct tgid_page);
} traced SEC(".maps");

static __always_inline u8 *traced_byte(u32 tgid)
{
	u32 key = tgid / 8;
	struct tgid_page *p = bpf_map_lookup_elem(&traced, &key);

	return p ? &p->traced[tgid % 8] : NULL;
}

static __always_inline bool is_target(u32 tgid)
{
	u8 *b;

	if (cfg.all)
		return tgid != cfg.self;
	b = traced_byte(tgid);
	return b && *b;
}

#endif
