/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The wire types of the walker. One walk is a run of records, each with a
 * record_header; a WALK_WAITER follows the record of what its thread waits for
 * and names it by address. Package events decodes by these offsets and a test in
 * bpf/ holds both sides together. Addresses are kernel addresses: they identify
 * things within one boot and are never shown. Times in jiffies are jiffies_64.
 */
#ifndef HANGTRACE_WALK_H
#define HANGTRACE_WALK_H

#define ADDR_LEN      40   /* type, nonce, and what matters of a sockaddr_storage */
#define WALK_PATH_LEN 1024 /* names leaf first, each ended by NUL */
#define WALK_TEXT_LEN 128
#define WALK_NAME_LEN 64

enum walk_kind {
	WALK_BEGIN = 32,
	WALK_END, /* made by user space, which knows how long it took */
	WALK_SUPER,
	WALK_MOUNT,
	WALK_CEPHFS,
	WALK_SESSION,
	WALK_MDSREQ,
	WALK_CAPWAIT,
	WALK_CLIENT,
	WALK_OSD,
	WALK_OSDREQ,
	WALK_MONREQ,
	WALK_RBD,
	WALK_FUSE,
	WALK_FUSEREQ,
	WALK_LOCK,
	WALK_PAGE,
	WALK_BIT,
	WALK_LOOKUP,
	WALK_WAITER,
};

/* What a waiter sleeps on, where its owner has more than one queue. */
enum walk_how {
	HOW_REPLY, /* the request's completion or queue */
	HOW_SAFE,  /* an MDS request is answered, but not yet on disk */
	HOW_LOCK,
	HOW_PAGE,
	HOW_BIT,
	HOW_LOOKUP, /* another thread looks the same name up */
	HOW_CAPS,
	HOW_UMOUNT,  /* a cephfs client's last requests and sessions */
	HOW_FLUSH,   /* caps are being flushed: sync */
	HOW_AUTH,    /* a ceph client has no monitor yet: mount */
	HOW_BLOCKED, /* a FUSE connection takes no more requests */
};

enum walk_lock_type {
	LOCK_INODE = 1, /* inode->i_rwsem */
	LOCK_UMOUNT,	/* super_block->s_umount */
	LOCK_RENAME,	/* super_block->s_vfs_rename_mutex */
	LOCK_MAPPING,	/* address_space->invalidate_lock */
	LOCK_FUSE_DIR,	/* fuse_inode->mutex: without FUSE_PARALLEL_DIROPS */
	LOCK_SESSION,	/* ceph_mds_session->s_mutex */
	LOCK_MDSC,	/* ceph_mds_client->mutex */
	LOCK_SNAP,	/* ceph_mds_client->snap_rwsem */
	LOCK_POOL,	/* ceph_mds_client->pool_perm_rwsem: the first use of a pool */
};

enum walk_bit_type {
	BIT_OTHER,
	BIT_PAGE_LOCK, /* being read, or written by another */
	BIT_PAGE_WRITEBACK,
	BIT_PAGE_PRIVATE_2, /* fscache */
	BIT_BUFFER,	    /* buffer_head: ext4 metadata */
	BIT_INODE,	    /* inode->i_state: being read in, or written back */
	BIT_VAR,	    /* wait_var_event() on addr */
};

enum walk_flags {
	WALK_DETACHED = 1 << 0, /* the mount is in no mount namespace */
	WALK_PATH_CUT = 1 << 1, /* the path has more components above */
	WALK_URING = 1 << 2,	/* the FUSE daemon reads by io_uring: those requests are not seen */
	WALK_HUNTING = 1 << 3,	/* the client looks for a monitor */
	WALK_ERROR_PTR = 1 << 4, /* the mount is the kernel's own */
};

enum walk_fuse_list {
	FUSE_LIST_PENDING = 1, /* not read by the daemon */
	FUSE_LIST_BACKGROUND,  /* waits for its turn */
	FUSE_LIST_IO,	       /* being copied to or from the daemon */
	FUSE_LIST_PROCESSING,  /* read by the daemon, not answered */
};

/*
 * Our own errors and bounds, one counter a site, in the WALK_END record. New ones
 * come last, as with enum stat.
 */
enum walk_stat {
	WALK_STAT_FAULT_SUPER,
	WALK_STAT_FAULT_MOUNT,
	WALK_STAT_FAULT_MDS,
	WALK_STAT_FAULT_OSD,
	WALK_STAT_FAULT_MON,
	WALK_STAT_FAULT_RBD,
	WALK_STAT_FAULT_FUSE,
	WALK_STAT_FAULT_TABLE,
	WALK_STAT_FAULT_INODE,
	WALK_STAT_FAULT_TASK,
	WALK_STAT_FAULT_WAITER,
	WALK_STAT_FOREIGN, /* a node that was not its list's */
	WALK_STAT_CYCLE,   /* a list that led round */
	WALK_STAT_BOUND,   /* a list longer than we look at */
	WALK_STAT_DROPPED, /* no room for the record */
	WALK_STAT_STEPS,
	WALK_STAT_MAX,
};

struct walk_begin {
	struct record_header h;
	u64 now_ns; /* CLOCK_MONOTONIC, ktime_get() */
	u64 jiffies;
};
_Static_assert(sizeof(struct walk_begin) == 24, "events.decodeWalk reads fixed offsets");

struct walk_end {
	struct record_header h;
	u64 took_ns;
	u64 stats[WALK_STAT_MAX];
};
_Static_assert(sizeof(struct walk_end) == 16 + WALK_STAT_MAX * 8, "as above");

/* A super block, mounted or not. */
struct walk_super {
	struct record_header h;
	u64 addr;
	u64 magic;
	u64 flags;  /* SB_* */
	u32 dev;    /* MAJOR << 20 | MINOR, everywhere */
	u32 bdev;   /* of the block device below; 0: none */
	s32 active; /* s_active: 0 while it is being shut down */
	u32 pad;
	char fstype[16];
};
_Static_assert(sizeof(struct walk_super) == 64, "as above");

struct walk_path {
	u32 len;   /* of the names that follow the record */
	u32 flags; /* WALK_PATH_CUT */
};

/* A mount of the super block before it. The path is that of the mount point. */
struct walk_mount {
	struct record_header h;
	u64 addr;
	u64 super;
	u32 id;
	u32 parent; /* id; its own: a root, or detached */
	u32 ns;	    /* inode of the mount namespace */
	u32 flags;
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_mount) == 48, "as above");

/* fsc and its mdsc of the super block. */
struct walk_cephfs {
	struct record_header h;
	u64 super;
	u64 mdsc;
	u64 client;
	u32 dev;
	u32 mount_state; /* CEPH_MOUNT_* */
	u32 blocklisted;
	u32 stopping;
	u32 epoch;   /* of the mdsmap */
	u32 laggy;   /* MDSs that the monitors call laggy */
	u32 timeout; /* session timeout in seconds */
	u32 pad;
	char fs_name[WALK_NAME_LEN];
	char server_path[WALK_TEXT_LEN];
};
_Static_assert(sizeof(struct walk_cephfs) == 64 + 64 + 128, "as above");

struct walk_session {
	struct record_header h;
	u64 addr;
	u64 mdsc;
	u64 ttl;	     /* jiffies */
	u64 renew_requested; /* jiffies */
	u64 cap_ttl;	     /* jiffies */
	s32 rank;
	u32 state;     /* CEPH_MDS_SESSION_* */
	u32 con_state; /* CEPH_CON_S_* */
	s32 map_state; /* CEPH_MDS_STATE_* of the mdsmap */
	u32 laggy;
	u32 caps;
	u8 peer[ADDR_LEN];
};
_Static_assert(sizeof(struct walk_session) == 48 + 24 + 40, "as above");

struct walk_mdsreq {
	struct record_header h;
	u64 addr;
	u64 mdsc;
	u64 tid;
	u64 start_ns; /* CLOCK_MONOTONIC */
	u64 sent;     /* jiffies of the last try */
	u64 ino;
	u64 base_ino; /* what path1 is relative to */
	u64 dentry;
	u32 op;
	s32 rank; /* -1: no session */
	u32 session_state;
	u32 attempts;
	u32 flags; /* CEPH_MDS_R_* as bits */
	s32 err;
	u32 done;
	s32 resend_rank;
	char path1[WALK_TEXT_LEN];
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_mdsreq) == 72 + 32 + 128 + 8, "as above");

/* A thread that waits for caps; addr lies on its stack. */
struct walk_capwait {
	struct record_header h;
	u64 addr;
	u64 mdsc;
	u64 ino;
	u32 tgid;
	u32 need, want;
	u32 pad;
};
_Static_assert(sizeof(struct walk_capwait) == 48, "as above");

/* A libceph client: of cephfs or of rbd devices. */
struct walk_client {
	struct record_header h;
	u64 addr;
	u64 global_id;
	u8 fsid[16];
	u8 mon[ADDR_LEN];
	s32 mon_rank;
	u32 mon_con_state;
	u32 flags; /* WALK_HUNTING */
	u32 osd_epoch;
	u32 requests;
	u32 homeless;
};
_Static_assert(sizeof(struct walk_client) == 24 + 16 + 40 + 24, "as above");

struct walk_osd {
	struct record_header h;
	u64 addr;
	u64 client;
	s32 osd; /* -1: the place of requests without an OSD */
	u32 con_state;
	u8 peer[ADDR_LEN];
};
_Static_assert(sizeof(struct walk_osd) == 32 + 40, "as above");

struct walk_osdreq {
	struct record_header h;
	u64 addr;
	u64 client;
	u64 tid;
	u64 start_ns; /* CLOCK_MONOTONIC */
	u64 started;  /* jiffies */
	u64 sent;     /* jiffies of the last try */
	u64 ino;
	s64 pool;
	u32 dev;
	s32 osd;
	u32 attempts;
	u32 flags; /* CEPH_OSD_FLAG_* */
	u32 paused;
	u32 linger;
	char pool_name[WALK_NAME_LEN];
	char object[WALK_TEXT_LEN];
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_osdreq) == 72 + 24 + 64 + 128 + 8, "as above");

struct walk_monreq {
	struct record_header h;
	u64 addr;
	u64 client;
	u64 tid;
	u32 type; /* CEPH_MSG_* */
	u32 done;
};
_Static_assert(sizeof(struct walk_monreq) == 40, "as above");

struct walk_rbd {
	struct record_header h;
	u64 addr;
	u64 client;
	u64 pool_id;
	u32 dev;
	s32 id;
	char pool[WALK_NAME_LEN];
	char pool_ns[WALK_NAME_LEN];
	char image[WALK_TEXT_LEN];
	char image_id[WALK_NAME_LEN];
};
_Static_assert(sizeof(struct walk_rbd) == 40 + 64 * 3 + 128, "as above");

struct walk_fuse {
	struct record_header h;
	u64 addr;
	u64 super;
	u32 dev;
	u32 number; /* the connection's name in fusectl */
	u32 waiting;
	u32 connected;
	u32 initialized;
	u32 blocked;
	u32 background;
	u32 flags; /* WALK_URING */
};
_Static_assert(sizeof(struct walk_fuse) == 56, "as above");

struct walk_fusereq {
	struct record_header h;
	u64 addr;
	u64 conn; /* addr of the walk_fuse record */
	u64 unique;
	u64 node;
	u64 created;   /* jiffies; 0 before 6.14 */
	u64 flags;     /* FR_* as bits */
	u64 name_addr; /* a short name lies inside its dentry: joins lookups */
	u32 opcode;
	u32 pid; /* of the caller, in the daemon's PID namespace */
	u32 uid;
	u32 list; /* enum walk_fuse_list */
	char name[WALK_NAME_LEN];
};
_Static_assert(sizeof(struct walk_fusereq) == 64 + 16 + 64, "as above");

struct walk_lock {
	struct record_header h;
	u64 addr;
	u64 owner_start_ns; /* CLOCK_BOOTTIME */
	u64 ino;
	u64 node; /* FUSE */
	u32 dev;
	u32 type;	 /* enum walk_lock_type */
	u32 owner_flags; /* of an rwsem: 1: read-owned, then the owner may be stale */
	u32 owner_tid, owner_pid;
	u32 pad;
	char owner_comm[COMM_LEN];
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_lock) == 40 + 24 + 16 + 8, "as above");

struct walk_page {
	struct record_header h;
	u64 addr; /* the folio */
	u64 index;
	u64 ino;
	u64 node; /* FUSE */
	u32 dev;
	u32 rdev; /* of a block device's own pages */
	u32 bit;
	u32 type; /* enum walk_bit_type */
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_page) == 40 + 16 + 8, "as above");

struct walk_bit {
	struct record_header h;
	u64 addr;
	u64 block, size; /* of a buffer */
	u64 ino;
	u32 dev; /* the buffer's block device, or the inode's super block */
	s32 bit;
	u32 type; /* enum walk_bit_type */
	u32 pad;
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_bit) == 40 + 16 + 8, "as above");

/* A name that one thread looks up while others wait for its answer. */
struct walk_lookup {
	struct record_header h;
	u64 addr;      /* the dentry */
	u64 queue;     /* lies on the looking thread's stack; 0 since 7.2 */
	u64 name_addr; /* joins the FUSE request */
	u64 dir_ino;
	u32 dev;
	u32 pad;
	struct walk_path path;
};
_Static_assert(sizeof(struct walk_lookup) == 48 + 8, "as above");

struct walk_waiter {
	struct record_header h;
	u64 owner;    /* addr of what it waits for */
	u64 entry;    /* its place in the queue, on its stack */
	u64 stack;    /* where its stack begins */
	u64 start_ns; /* CLOCK_BOOTTIME */
	u32 tid, pid;
	u32 state;
	u32 how; /* enum walk_how */
	char comm[COMM_LEN];
	u64 switches; /* how often it left a CPU: which of its waits this is */
};
_Static_assert(sizeof(struct walk_waiter) == 40 + 16 + 16 + 8, "as above");

#endif /* HANGTRACE_WALK_H */
