/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which memory of which call is copied, at its entry and at its return: a table
 * that user space fills. Included by strace.bpf.c behind its slots and
 * strace_fd.h.
 */
#ifndef HANGTRACE_STRACE_NEEDS_H
#define HANGTRACE_STRACE_NEEDS_H

/* How to read one piece of memory: package decode's Capture. */
enum need_when { NEED_ENTRY = 1, NEED_EXIT = 2 };
enum need_flags { NEED_DATA = 1, NEED_AT_ERROR = 2 };
enum need_rule {
	NEED_STRING = 1,
	NEED_FIXED,
	NEED_ARG,
	NEED_RETURN,
	NEED_POINTED,
	NEED_IOVEC,
	NEED_MSGHDR,
	NEED_MMSGHDR,
	NEED_STRINGS,
};
struct need {
	u8 arg, when, rule, len_arg;
	u8 flags, pad;
	u16 size;
};
/* Calls that wait for several descriptors. */
enum row_waits { WAITS_POLL = 1, WAITS_SELECT = 2 };
struct call_row {
	u8 traced;
	u8 count;
	u8 entry;  /* some need is of the entry */
	u8 exit;   /* some need is of the return */
	u8 fds;	   /* arguments that are descriptors, a bit each */
	u8 ret_fd; /* it returns one */
	u8 pair;   /* the argument, from 1, that it fills with two */
	u8 waits;  /* enum row_waits */
	struct need needs[STRACE_NEEDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRACE_ROWS);
	__type(key, u32);
	__type(value, struct call_row);
} rows SEC(".maps");

static __always_inline u64 argument(struct strace_slot *s, u32 i)
{
	return i < 6 ? s->args[i] : 0;
}

/* How many bytes a need has, before any bound. */
static __always_inline u64 need_length(struct need *n, struct strace_slot *s, long ret)
{
	u32 pointed = 0;

	switch (n->rule) {
	case NEED_ARG:
		return n->size * (argument(s, n->len_arg) & 0xffffffff);
	case NEED_RETURN:
		return ret > 0 ? n->size * (u64)ret : 0;
	case NEED_POINTED:
		if (bpf_probe_read_user(&pointed, sizeof(pointed),
					(void *)argument(s, n->len_arg)) &&
		    argument(s, n->len_arg))
			COUNT(unread);
		return (u64)n->size * pointed;
	}
	return n->size;
}

static __always_inline long capture_need(struct need *n, struct strace_slot *s, long ret, u32 how)
{
	u64 addr = argument(s, n->arg), len;
	u64 elements = n->len_arg < 6 ? argument(s, n->len_arg) : 1;
	u32 compat = s->flags & STRACE_COMPAT;

	if (!addr)
		return 0;
	switch (n->rule) {
	case NEED_STRING:
		len = n->flags & NEED_DATA ? cfg.data_limit + 1 : 4096;
		return put(addr, len, how | PUT_STRING);
	case NEED_IOVEC:
		return put_iovec(addr, elements, compat, how);
	case NEED_MSGHDR:
		return put_msghdr(addr, compat, how);
	case NEED_MMSGHDR:
		return put_mmsghdr(addr, elements, compat, how);
	case NEED_STRINGS:
		return put_strings(addr, compat, how);
	}
	len = need_length(n, s, ret);
	if (n->flags & NEED_DATA && len > cfg.data_limit)
		len = cfg.data_limit;
	return put(addr, len < 4096 ? len : 4096, how);
}

/*
 * Counts a need that was not read at the last chance. What fcntl and ioctl are
 * given is a number as often as an address; those are small.
 */
#define LEAST_ADDRESS 65536
static __always_inline void count_unread(struct need *n, struct strace_slot *s, long err)
{
	if (err == -1 && argument(s, n->arg) >= LEAST_ADDRESS)
		COUNT(unread);
}

/* Reads the needs of mask at the entry, and gives those that failed. */
__noinline u32 capture_entry(u32 index, u32 mask)
{
	struct strace_slot *s = bpf_map_lookup_elem(&slots, &index);
	struct call_row *row;
	struct need *n;
	u32 failed = 0;
	long err;

	row = s ? bpf_map_lookup_elem(&rows, &s->row) : NULL;
	if (!row)
		return 0;
	for (u32 i = 0; cfg.files && mask == ~0u && i < 6; i++) {
		if (row->fds & (1 << i))
			put_file(s->args[i], SEGMENT_FILE_ENTRY);
	}
	if (cfg.files && mask == ~0u && row->waits == WAITS_POLL)
		put_polled(s->args[0], s->args[1]);
	if (cfg.files && mask == ~0u && row->waits == WAITS_SELECT)
		put_selected(s->args[0], s->args[1], s->args[2], s->args[3]);
	for (u32 i = 0; i < STRACE_NEEDS; i++) {
		n = &row->needs[i];
		if (i >= row->count || !(n->when & NEED_ENTRY) || !(mask & (1 << i)))
			continue;
		err = capture_need(n, s, 0, PUT_ENTRY);
		if (err < 0)
			failed |= 1 << i;
		if (mask != ~0u) /* this is the return */
			count_unread(n, s, err);
	}
	return failed;
}

__noinline u32 capture_exit(u32 index, long ret)
{
	struct strace_slot *s = bpf_map_lookup_elem(&slots, &index);
	bool error = (unsigned long)ret >= -4095ul;
	struct call_row *row;
	struct need *n;
	u32 pair[2];

	row = s ? bpf_map_lookup_elem(&rows, &s->row) : NULL;
	if (!row)
		return 0;
	if (cfg.files && row->ret_fd && !error)
		put_file(ret, SEGMENT_FILE);
	if (cfg.files && row->pair && !error &&
	    !bpf_probe_read_user(pair, sizeof(pair), (void *)argument(s, row->pair - 1))) {
		put_file(pair[0], SEGMENT_FILE);
		put_file(pair[1], SEGMENT_FILE);
	}
	for (u32 i = 0; i < STRACE_NEEDS; i++) {
		n = &row->needs[i];
		if (i >= row->count || !(n->when & NEED_EXIT))
			continue;
		if (!error || n->flags & NEED_AT_ERROR)
			count_unread(n, s, capture_need(n, s, ret, 0));
	}
	return 0;
}

#endif
