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

/* maps */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRACE_ROWS);
	__type(key, u32);
	__type(value, struct call_row);
} rows SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

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

/* logic */
#define TELL 1 /* BPF_RB_NO_WAKEUP: the reader polls, wake-ups would cost the target */

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

#define SLOT_PROBES 8
#define SLOT_FREED  0xffffffffu /* had an owner: a search goes on behind it */

static __always_inline struct strace_slot *slot_at(u32 tid, u32 probe, u32 *index)
{
	*index = (tid + probe * 40503u) & cfg.slot_mask;
	return bpf_map_lookup_elem(&slots, index);
}

static __always_inline struct strace_slot *slot_find(u32 tid, u32 *index)
{
	struct strace_slot *s;

	for (u32 i = 0; i < SLOT_PROBES; i++) {
		s = slot_at(tid, i, index);
		if (!s || !s->tid)
			return NULL;
		if (s->tid == tid)
			return s;
	}
	return NULL;
}

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

/* ---- reading the caller's memory ---- */
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

/* ---- what descriptors stand for ---- */
/*
 * Appends the name of a directory entry. How far the record is stands in the
 * scratch, whose values the verifier does not follow.
 */
__noinline long put_name(u64 dentry)
{
	struct dentry___file *d = (void *)dentry;
	const u8 *name = BPF_CORE_READ(d, d_name.name);
	struct scratch *s = the_scratch();
	u32 at;
	long n;

	if (!s)
		return -1;
	at = s->used;
	if (at > RECORD_ROOM)
		return -1;
	n = bpf_probe_read_kernel_str(s->record + at, NAME_ROOM, name);
	if (n <= 0 || n > NAME_ROOM)
		return -1;
	s->used = at + n;
	return 0;
}

/*
 * Appends what a descriptor stands for. Global, to be verified once.
 */
__noinline long put_file(u32 fd, u32 kind)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct file___file *f = NULL;
	struct strace_segment *g;
	struct mount___file *m, *above;
	struct dentry___file *d, *up;
	struct vfsmount___file *vm;
	struct strace_file *r;
	struct scratch *s = the_scratch();
	u32 off, flags = STRACE_FILE_CUT;

	if (!s)
		return 0;
	if (s->used > RECORD_ROOM) {
		COUNT(cut);
		return 0;
	}
	off = s->used;
	g = (void *)(s->record + off);
	g->addr = fd;
	g->kind = kind;
	g->len = 0;
	s->used = off + sizeof(*g);
	if (fd == (u32)-100 /* AT_FDCWD */) {
		d = (void *)BPF_CORE_READ(t, fs, pwd.dentry);
		vm = (void *)BPF_CORE_READ(t, fs, pwd.mnt);
	} else {
		f = file_of(fd);
		if (!f)
			return 0;
		d = BPF_CORE_READ(f, f_path.dentry);
		vm = BPF_CORE_READ(f, f_path.mnt);
	}
	if (!d || !vm)
		return 0;
	r = (void *)(g + 1);
	__builtin_memset(r, 0, sizeof(*r));
	fill_file(r, f, d);
	s->used = off + sizeof(*g) + sizeof(*r);
	m = (void *)vm - bpf_core_field_offset(struct mount___file, mnt);
	for (u32 i = 0; i < FILE_DEPTH; i++) {
		up = BPF_CORE_READ(d, d_parent);
		if (d == BPF_CORE_READ(m, mnt.mnt_root)) {
			above = BPF_CORE_READ(m, mnt_parent);
			if (above == m) {
				flags = 0;
				break;
			}
			d = BPF_CORE_READ(m, mnt_mountpoint);
			m = above;
			continue;
		}
		if (put_name((u64)d))
			break;
		if (d == up) {
			flags = STRACE_FILE_DETACHED;
			break;
		}
		d = up;
	}
	r->flags |= flags;
	g->len = s->used - off - sizeof(*g);
	s->used = (s->used + 7) & ~7;
	return 0;
}

/* Appends what the descriptors of poll(2) and select(2) stand for. */
#define MOST_POLLED 16
__noinline long put_polled(u64 addr, u64 n)
{
	s32 fd;

	for (u32 i = 0; i < MOST_POLLED && i < n; i++) {
		if (bpf_probe_read_user(&fd, sizeof(fd), (void *)(addr + 8 * i)))
			break;
		if (fd >= 0)
			put_file(fd, SEGMENT_FILE_ENTRY);
	}
	return 0;
}

__noinline long put_selected(u64 n, u64 in, u64 out, u64 except)
{
	u64 bits = word_at(in, 0) | word_at(out, 0) | word_at(except, 0);

	for (u32 fd = 0; fd < 64 && fd < n; fd++) {
		if (bits & (1ull << fd))
			put_file(fd, SEGMENT_FILE_ENTRY);
	}
	return 0;
}

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
