/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire types of the strace unit. Package events reads them by these offsets
 * (strace.go). All integers are little-endian; padding is explicit.
 */
#ifndef HANGTRACE_STRACE_H
#define HANGTRACE_STRACE_H

#define STRACE_CALLS 512 /* numbers that have a row, one table an architecture */
#define STRACE_ROWS  (2 * STRACE_CALLS + 1)
#define STRACE_NEEDS 5

enum strace_kind {
	STRACE_ENTER = 32,
	STRACE_EXIT = 33,
	STRACE_SIGNAL = 34,
	STRACE_FORK = 35,
	STRACE_EXEC = 36,
	STRACE_DEATH = 37,
	STRACE_STACK = 38,
	STRACE_SLEPT = 39,
};

enum strace_flags {
	STRACE_COMPAT = 1 << 0,	 /* a 32-bit call */
	STRACE_LATE = 1 << 1,	 /* an entry that was not seen: told at the return */
	STRACE_LEADER = 1 << 2,	 /* of a death: the whole thread group's */
	STRACE_IGNORED = 1 << 3, /* of a signal: the target ignores it */
	STRACE_EXECED = 1 << 4,	 /* of a slot's call: it put another program in place */
};

/* A call began. Segments follow. */
struct strace_enter {
	struct record_header h;
	u64 ns; /* CLOCK_MONOTONIC; of a late one when it was seen */
	u32 pid, tid;
	u32 seq; /* counts the calls of a thread: a gap is a loss */
	s32 nr;
	u32 flags;
	u32 pad;
	u64 args[6];
};
_Static_assert(sizeof(struct strace_enter) == 88, "events reads fixed offsets");

/* It returned. Segments follow. */
struct strace_exit {
	struct record_header h;
	u64 ns;
	u32 pid, tid;
	u32 seq;
	u32 flags;
	s64 ret;
};
_Static_assert(sizeof(struct strace_exit) == 40, "events reads fixed offsets");

/* Memory of the caller: len bytes follow, padded to 8. */
struct strace_segment {
	u64 addr;
	u32 len;
	u32 kind;
};

/* What a segment holds. */
enum strace_segment_kind {
	SEGMENT_EXIT = 0,	/* memory as at the return */
	SEGMENT_ENTRY = 1,	/* memory as at the entry, even if it was read at the return */
	SEGMENT_FILE = 2,	/* addr is a descriptor: struct strace_file at the return */
	SEGMENT_FILE_ENTRY = 3, /* the same at the entry; empty: it was not open */
};

enum strace_file_flags {
	STRACE_FILE_DELETED = 1 << 0,
	STRACE_FILE_DETACHED = 1 << 1, /* its first name has no directory: memfd, shm */
	STRACE_FILE_CUT = 1 << 2,      /* not all names fit */
};

/* Names follow, innermost first, each with its NUL. */
struct strace_file {
	u64 ino;
	u64 magic; /* of its file system */
	u32 mode;
	u32 rdev; /* as the kernel has it: major << 20 | minor */
	u32 flags;
	u16 family, type; /* of a socket */
	u16 protocol, local_port, remote_port, pad;
	u64 peer; /* the inode of a UNIX socket's peer */
	u8 local[16], remote[16];
};
_Static_assert(sizeof(struct strace_file) == 80, "events reads fixed offsets");

struct strace_signal {
	struct record_header h;
	u64 ns;
	u32 pid, tid;
	u32 flags;
	u32 pad;
	u8 info[48]; /* the head of a struct siginfo of 64 bits */
};
_Static_assert(sizeof(struct strace_signal) == 80, "events reads fixed offsets");

/* A thread was born (fork), took another's ID (exec), or died (death). */
struct strace_life {
	struct record_header h;
	u64 ns;
	u32 pid, tid;
	u32 other; /* fork: the parent's tid; exec: the tid it had; death: exit code */
	u32 flags;
	u32 seq; /* death: the calls it made */
	s32 nr;	 /* death: of the registers, -1 if it was in none */
	u64 args[6];
	char comm[COMM_LEN];
};
_Static_assert(sizeof(struct strace_life) == 104, "events reads fixed offsets");

/* Where in the program a call was made, behind its entry. Segments follow: the
 * stack from sp up, as far as it is there and there is room. */
struct strace_stack {
	struct record_header h;
	u64 ns;
	u32 pid, tid;
	u32 seq;
	u32 flags;
	u64 pc, sp, bp, lr;
};
_Static_assert(sizeof(struct strace_stack) == 64, "events reads fixed offsets");

#define STRACE_DEPTH 32

/* Where in the kernel a call slept for longest, before its return. */
struct strace_slept {
	struct record_header h;
	u64 ns;
	u32 pid, tid;
	u32 seq;
	u32 depth; /* frames in ips, innermost first */
	u64 slept; /* for how long there, ns */
	u64 ips[STRACE_DEPTH];
};
_Static_assert(sizeof(struct strace_slept) == 296, "events reads fixed offsets");

#endif /* HANGTRACE_STRACE_H */
