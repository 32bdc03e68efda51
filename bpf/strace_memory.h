/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Copies of the caller's memory, each a segment of the record in the scratch.
 * Included by strace.bpf.c behind its knobs and counters.
 */
#ifndef HANGTRACE_STRACE_MEMORY_H
#define HANGTRACE_STRACE_MEMORY_H

#define RECORD_ROOM 12288
struct scratch {
	u32 busy;
	u32 used;
	u8 record[RECORD_ROOM + 16 + 4096 + 8];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *the_scratch(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

#define NO_ROOM (-2)

/* The same for a new record, if nobody that was preempted on this CPU has it. */
static __always_inline struct scratch *take_scratch(void)
{
	struct scratch *s = the_scratch();

	if (!s)
		return NULL;
	if (s->busy) {
		COUNT(busy);
		return NULL;
	}
	s->busy = 1;
	return s;
}

enum put_how { PUT_BYTES = 0, PUT_STRING = 1, PUT_ENTRY = 2 };

/*
 * Appends memory to the record in the scratch. Returns how many bytes there
 * were, negative if none could be read (-1) or there was no room (NO_ROOM). The functions that are
 * not static are verified once each instead of once a caller.
 */
__noinline long put(u64 addr, u32 len, u32 how)
{
	struct scratch *s = the_scratch();
	struct strace_segment *g;
	u32 off;
	long n;

	if (!s || !addr || !len)
		return 0;
	off = s->used;
	if (off > RECORD_ROOM) {
		COUNT(cut);
		return NO_ROOM;
	}
	if (len > 4096)
		len = 4096;
	g = (void *)(s->record + off);
	if (how & PUT_STRING) {
		n = bpf_probe_read_user_str(g + 1, len, (void *)addr);
		if (n == len) /* cut: the NUL at its end is not the caller's */
			n--;
	} else {
		n = len;
		if (bpf_probe_read_user(g + 1, len, (void *)addr)) {
			n = 4096 - (addr & 4095); /* up to the end of the page */
			if (n >= len || bpf_probe_read_user(g + 1, n & 4095, (void *)addr))
				return -1;
		}
	}
	if (n <= 0 || n > 4096)
		return -1;
	g->addr = addr;
	g->len = n;
	g->kind = how & PUT_ENTRY ? SEGMENT_ENTRY : SEGMENT_EXIT;
	s->used = off + sizeof(*g) + ((n + 7) & ~7);
	return n;
}

static __always_inline u64 word_at(u64 addr, u32 compat)
{
	u64 w = 0;

	if (bpf_probe_read_user(&w, compat ? 4 : 8, (void *)addr))
		return 0;
	return w;
}

#define MOST_VECTORS 16
__noinline long put_iovec(u64 addr, u64 n, u32 compat, u32 how)
{
	u32 size = compat ? 8 : 16, word = compat ? 4 : 8;
	u64 base, len;

	long err;

	if (n > 64)
		n = 64;
	err = put(addr, n * size, how);
	if (err < 0)
		return err;
	for (u32 i = 0; i < MOST_VECTORS; i++) {
		if (i >= n)
			break;
		base = word_at(addr + i * size, compat);
		len = word_at(addr + i * size + word, compat);
		put(base, len < cfg.data_limit ? len : cfg.data_limit, how);
	}
	return 0;
}

__noinline long put_msghdr(u64 addr, u32 compat, u32 how)
{
	u32 word = compat ? 4 : 8;
	u64 len;
	long err;

	err = put(addr, 7 * word, how);
	if (err < 0)
		return err;
	len = word_at(addr + word, 1);
	put(word_at(addr, compat), len < 128 ? len : 128, how);
	put_iovec(word_at(addr + 2 * word, compat), word_at(addr + 3 * word, compat), compat, how);
	len = word_at(addr + 5 * word, compat);
	put(word_at(addr + 4 * word, compat), len < 512 ? len : 512, how);
	return 0;
}

#define MOST_MESSAGES 4
__noinline long put_mmsghdr(u64 addr, u64 n, u32 compat, u32 how)
{
	u32 size = compat ? 32 : 64;
	long err;

	for (u32 i = 0; i < MOST_MESSAGES; i++) {
		if (i >= n)
			break;
		err = put(addr + i * size, size, how);
		if (err >= 0)
			err = put_msghdr(addr + i * size, compat, how);
		if (err < 0)
			return err;
	}
	return 0;
}

#define MOST_STRINGS 33 /* strace shows 32 and whether there are more */
__noinline long put_strings(u64 addr, u32 compat, u32 how)
{
	u32 word = compat ? 4 : 8, limit = cfg.data_limit + 1;
	u64 at;

	/* The whole array where it is readable: of an environment it is counted. */
	if (put(addr, 2048, how) < 0 && put(addr, 512, how) < 0 && put(addr, 128, how) < 0 &&
	    put(addr, 2 * word, how) < 0 && put(addr, word, how) < 0)
		return -1;
	for (u32 i = 0; i < MOST_STRINGS; i++) {
		at = word_at(addr + i * word, compat);
		if (!at)
			break;
		put(at, limit, how | PUT_STRING);
	}
	return 0;
}

#endif
