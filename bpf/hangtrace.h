/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire types: what our programs hand to user space. Package events decodes
 * them by these offsets, and a test in bpf/ holds both sides together. All
 * integers are little-endian; padding is explicit and zero.
 */
#ifndef HANGTRACE_H
#define HANGTRACE_H

#define COMM_LEN     16
#define FSTYPE_LEN   16
#define STACK_DEPTH  64
#define PATH_LEN     4096
#define PATH_SHORT   256
#define CALL_CLASSES 512
#define TGIDS	     (1 << 22) /* PID_MAX_LIMIT on 64-bit kernels */

enum record_kind {
	RECORD_TASK = 1,
	RECORD_FILE = 2,
	RECORD_CALL = 3,
	RECORD_BLOCK = 4,
	RECORD_TARGET = 5,
	RECORD_SLOT = 6, /* header, struct slot, path: made by user space */
	RECORD_REST = 7,
};

/* call_class[nr]: what the live tracer does with a system call. */
enum call_class {
	CALL_PATH_MASK = 0x07, /* index of the path argument plus one, 0: none */
	CALL_TRACED = 0x08,    /* a file call: keep its entry */
	CALL_WAITS = 0x10, /* long by nature (futex, epoll_wait): sleeping in it means nothing */
};

enum record_flags {
	TASK_HAS_REGS = 1 << 0,
	TASK_COMPAT = 1 << 1,
	CALL_SEEDED = 1 << 2, /* was in flight before the tracer: no entry time */
	PATH_FAILED = 1 << 3, /* the page was absent at entry */
	PATH_TRUNCATED = 1 << 4,
	FILE_DETACHED = 1 << 5, /* the mount is in no mount namespace any more */
	FILE_HAS_PATH = 1 << 6,
	CWD_DETACHED = 1 << 7,
};

struct record_header {
	u32 kind; /* enum record_kind */
	u32 size; /* of the whole record with what follows */
};

/* One thread, from iter/task. stack_len addresses of 8 bytes follow. */
struct task_record {
	struct record_header h;
	u64 sampled_ns;	     /* CLOCK_MONOTONIC */
	u64 start_ns;	     /* CLOCK_BOOTTIME */
	u64 last_arrival_ns; /* the scheduler's clock */
	u64 nvcsw, nivcsw;
	u64 args[6];
	u64 pc, sp, bp, lr, ret; /* lr: arm64 only */
	s64 nr;
	u32 pid, tid, ppid;
	u32 state;	/* task_struct.__state */
	u32 task_flags; /* PF_* */
	u32 flags;	/* enum record_flags */
	u32 mount_ns, pid_ns;
	u32 blocker_tid;
	u32 cwd_dev; /* s_dev of the working directory: MAJOR << 20 | MINOR */
	u32 cwd_mount_id;
	u32 stack_len;
	char comm[COMM_LEN];
	char leader_comm[COMM_LEN];
};
_Static_assert(sizeof(struct task_record) == 8 + 5 * 8 + 6 * 8 + 5 * 8 + 8 + 12 * 4 + 32,
	       "events.decodeTask reads fixed offsets");

/* A thread that is still in the wait that user space judged already, in the stream of tasks. */
struct rest_record {
	struct record_header h;
	u64 start_ns; /* CLOCK_BOOTTIME */
	u32 pid, tid, ppid;
	u32 task_flags; /* PF_* */
	u32 mount_ns;
	u32 pad;
};
_Static_assert(sizeof(struct rest_record) == 8 + 8 + 6 * 4,
	       "events.decodeRest reads fixed offsets");

/* One open file, from iter/task_file. path_len bytes of path follow, padded to 8. */
struct file_record {
	struct record_header h;
	u64 inode;
	u64 magic;
	u32 pid;
	u32 fd;
	u32 dev; /* MAJOR << 20 | MINOR */
	u32 mode;
	u32 mount_id;
	u32 flags; /* FILE_* */
	u32 path_len;
	u32 mount_ns;
	char fstype[FSTYPE_LEN];
};
_Static_assert(sizeof(struct file_record) == 8 + 2 * 8 + 8 * 4 + 16,
	       "events.decodeFile reads fixed offsets");

/* A system call in flight: one slot a thread, read by user space through mmap. */
struct slot {
	u32 tid; /* 0: free */
	u32 tgid;
	u64 entered_jiffies;
	u64 args[6];
	s32 nr;	   /* the call's number plus one; 0: in none that we trace */
	u32 flags; /* CALL_*, PATH_*, TASK_COMPAT */
	u32 path_len;
	u32 generation; /* counts up with each use: a reader sees that it changed meanwhile */
	u64 pad[6];
};
_Static_assert(sizeof(struct slot) == 128, "two cache lines; slots must not share one");

/* A call that returned after more than the threshold. path_len bytes follow. */
struct call_record {
	struct record_header h;
	u64 entered_jiffies;
	u64 returned_jiffies;
	u64 returned_ns; /* CLOCK_MONOTONIC */
	u64 args[6];
	s64 ret;
	s32 nr;
	u32 pid, tid;
	u32 flags;
	u32 path_len;
	u32 pad;
	char comm[COMM_LEN];
};
_Static_assert(sizeof(struct call_record) == 8 + 3 * 8 + 48 + 8 + 6 * 4 + 16,
	       "events.decodeCall reads fixed offsets");

/* A sleep longer than the threshold, timed by sched_switch. */
struct block_record {
	struct record_header h;
	u64 start_ns, end_ns; /* CLOCK_MONOTONIC */
	u64 args[6];
	s64 nr;
	u32 pid, tid;
	u32 state;
	u32 task_flags;
	u32 flags;
	u32 stack_len; /* addresses used of stack[] */
	char comm[COMM_LEN];
	u64 stack[STACK_DEPTH];
};

/* A target came (fork) or went (exit of the thread group leader). */
struct target_record {
	struct record_header h;
	u64 at_ns;
	u32 pid, parent;
	u32 born; /* 1: forked, 0: exited, 2: executed another program */
	u32 pad;
	char comm[COMM_LEN];
};

/*
 * Our own errors and losses, one counter a site. Shown, never hidden. They lie in
 * a map of their own, by which another hangtrace, of another version, reads them:
 * new ones come last.
 */
enum stat {
	STAT_RING_FULL, /* for the return of a call */
	STAT_SLOT_TAKEN,
	STAT_SLEEP_TAKEN,
	STAT_PATH_FAULT,
	STAT_STACK_FAULT,
	STAT_REGS_FAULT,
	STAT_NAME_FAULT,       /* of an open file */
	STAT_RING_FULL_SLEEP,  /* for the end of a sleep */
	STAT_RING_FULL_TARGET, /* for a birth, an exec, a death */
	STAT_RETURN_UNSEEN,    /* of a slow call */
	STAT_MAX,
};
#define STATS SEC(".data.stats")

#endif /* HANGTRACE_H */
