/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel types that only the walker reads, cut down as in kernel.h. Types
 * that kernel.h has with fewer members are flavours (___w) here: CO-RE drops
 * what follows the three underscores. Fields that moved have a flavour named by
 * the kernel that moved them.
 */
#ifndef HANGTRACE_WALK_KERNEL_H
#define HANGTRACE_WALK_KERNEL_H

/* The wire form of libceph: not relocated, it does not change. */
struct ceph_entity_addr {
	u8 bytes[ADDR_LEN];
};
struct ceph_fsid {
	u8 bytes[16];
};
struct ceph_msg_header {
	u8 bytes[18]; /* seq, tid, type: packed */
};
struct fuse_in_header {
	u32 len, opcode;
	u64 unique, nodeid;
	u32 uid, gid, pid, pad;
};

/* Probed with bpf_core_enum_value(): the values are the kernel's. */
enum pageflags {
	PG_locked = 0,
	PG_writeback = 15,
	PG_private_2 = 14,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct rb_node {
	struct rb_node *rb_right, *rb_left;
};
struct rb_root {
	struct rb_node *rb_node;
};

/* waiting */
struct wait_queue_head {
	struct list_head head;
};
struct wait_queue_entry {
	void *private;
	struct list_head entry;
};
struct swait_queue_head {
	struct list_head task_list;
};
struct swait_queue {
	struct task_struct *task;
	struct list_head task_list;
};
struct completion {
	unsigned int done;
	struct swait_queue_head wait;
};
struct wait_bit_key {
	void *flags;
	int bit_nr;
};
struct wait_bit_queue_entry {
	struct wait_bit_key key;
	struct wait_queue_entry wq_entry;
};
struct wait_page_queue {
	struct folio *folio;
	int bit_nr;
	struct wait_queue_entry wait;
};
/* mutex_waiter begins like this, too. */
struct rwsem_waiter {
	struct list_head list;
	struct task_struct *task;
};
struct rw_semaphore___w {
	atomic_long_t owner;
	struct list_head wait_list;
};
struct mutex___w {
	atomic_long_t owner;
	struct list_head wait_list;
};
/* Since 7.1 the head of the ring is no list_head any more. */
struct rw_semaphore___71 {
	struct rwsem_waiter *first_waiter;
};
struct mutex___71 {
	struct rwsem_waiter *first_waiter;
};

/* the VFS */
struct signal_struct {
	struct list_head thread_head;
};
struct task_struct___w {
	struct list_head tasks;
	struct list_head thread_node;
	struct signal_struct *signal;
	struct task_struct *group_leader;
	struct fs_struct *fs;
	void *stack;
	int pid, tgid;
	u64 start_boottime;
	char comm[16];
};
struct gendisk {
	void *private_data;
	char disk_name[32];
};
struct block_device {
	u32 bd_dev;
	struct gendisk *bd_disk;
};
struct address_space {
	struct inode___w *host;
	struct rw_semaphore___w invalidate_lock;
};
struct folio {
	struct address_space *mapping;
	unsigned long index;
};
struct buffer_head {
	struct block_device *b_bdev;
	u64 b_blocknr;
	unsigned long b_size;
};
struct super_block___w {
	struct list_head s_list;
	u32 s_dev;
	unsigned long s_flags, s_magic;
	struct file_system_type *s_type;
	struct rw_semaphore___w s_umount;
	struct mutex___w s_vfs_rename_mutex;
	atomic_t s_active;
	struct list_head s_mounts, s_inodes;
	struct block_device *s_bdev;
	void *s_fs_info;
};
struct inode___w {
	u32 i_rdev;
	struct super_block___w *i_sb;
	struct list_head i_sb_list;
	struct rw_semaphore___w i_rwsem;
	unsigned long i_ino;
	struct address_space i_data;
	unsigned long i_state;
	union {
		struct hlist_head i_dentry;
	};
};
/* i_state became an enum in 6.18 and a struct in 6.19. */
enum inode_state_flags_t {
	I_DUMMY,
};
struct inode___618 {
	enum inode_state_flags_t i_state;
};
struct inode_state_flags {
	u32 __state;
};
struct inode___619 {
	struct inode_state_flags i_state;
};
struct dentry___w {
	u32 d_flags;
	struct dentry___w *d_parent;
	struct qstr d_name;
	struct inode___w *d_inode;
	u8 d_iname[32];
	struct super_block___w *d_sb;
	union {
		struct wait_queue_head *d_wait;
	};
	union {
		struct hlist_node d_alias;
		struct hlist_node d_in_lookup_hash;
	} d_u;
};
union shortname_store {
	u8 string[32];
};
/* d_iname was renamed in 6.14. */
struct dentry___614 {
	union shortname_store d_shortname;
};
/* Since 7.1 the unions have no name, and d_wait is a variable waited for. */
struct dentry___71 {
	union {
		struct hlist_node d_alias;
		struct hlist_node d_in_lookup_hash;
	};
};
struct vfsmount___w {
	struct dentry___w *mnt_root;
	struct super_block___w *mnt_sb;
};
struct mount___w {
	struct mount___w *mnt_parent;
	struct dentry___w *mnt_mountpoint;
	struct vfsmount___w mnt;
	struct list_head mnt_instance;
	struct mnt_namespace *mnt_ns;
	int mnt_id;
};
/* Since 6.18 a plain chain instead of a list_head. */
struct mount___618 {
	struct mount___w *mnt_next_for_sb;
};
struct super_block___618 {
	struct mount___w *s_mounts;
};

/* libceph */
struct ceph_connection {
	int state;
	struct ceph_entity_addr peer_addr;
};
struct ceph_auth_client {
	u64 global_id;
};
struct ceph_mon_client {
	struct ceph_auth_client *auth;
	bool hunting;
	int cur_mon;
	struct ceph_connection con;
	struct rb_root generic_request_tree;
};
struct ceph_msg {
	struct ceph_msg_header hdr;
};
struct ceph_mon_generic_request {
	struct ceph_mon_client *monc;
	u64 tid;
	struct rb_node node;
	struct completion completion;
	struct ceph_msg *request;
};
struct ceph_pg_pool_info {
	struct rb_node node;
	s64 id;
	char *name;
};
struct ceph_osdmap {
	u32 epoch;
	struct rb_root pg_pools;
};
struct ceph_osd {
	int o_osd;
	struct ceph_osd_client *o_osdc;
	struct rb_node o_node;
	struct ceph_connection o_con;
	struct rb_root o_requests;
};
struct ceph_osd_client {
	struct ceph_osdmap *osdmap;
	struct rb_root osds;
	struct ceph_osd homeless_osd;
	atomic_t num_requests, num_homeless;
};
struct ceph_object_id {
	char *name;
};
struct ceph_object_locator {
	s64 pool;
};
struct ceph_osd_request_target {
	struct ceph_object_id base_oid;
	struct ceph_object_locator base_oloc;
	u32 flags;
	bool paused;
	int osd;
};
struct ceph_osd_request {
	u64 r_tid;
	struct rb_node r_node;
	struct ceph_osd_request_target r_t;
	struct ceph_osd_client *r_osdc;
	bool r_linger;
	struct completion r_completion;
	struct inode___w *r_inode;
	unsigned long r_stamp, r_start_stamp;
	s64 r_start_latency; /* since 5.8 */
	int r_attempts;
};
struct ceph_client {
	struct ceph_fsid fsid;
	struct wait_queue_head auth_wq;
	struct ceph_mon_client monc;
	struct ceph_osd_client osdc;
};

/* cephfs */
struct ceph_mount_options {
	char *server_path;
};
struct ceph_fs_client {
	struct super_block___w *sb;
	struct ceph_mount_options *mount_options;
	struct ceph_client *client;
	int mount_state;
	bool blocklisted;
	struct ceph_mds_client *mdsc;
};
struct ceph_mds_info {
	s32 state;
	bool laggy;
};
struct ceph_mdsmap {
	u32 m_epoch, m_session_timeout, possible_max_rank;
	struct ceph_mds_info *m_info;
	int m_num_laggy;
	char *m_fs_name; /* since 6.9 */
};
struct ceph_mds_session {
	struct ceph_mds_client *s_mdsc;
	int s_mds, s_state;
	unsigned long s_ttl, s_renew_requested, s_cap_ttl;
	struct mutex___w s_mutex;
	struct ceph_connection s_con;
	int s_nr_caps;
};
struct ceph_mds_client {
	struct ceph_fs_client *fsc;
	struct mutex___w mutex;
	struct ceph_mdsmap *mdsmap;
	struct completion safe_umount_waiters;
	struct wait_queue_head session_close_wq, cap_flushing_wq;
	struct ceph_mds_session **sessions;
	int max_sessions, stopping;
	struct rw_semaphore___w snap_rwsem, pool_perm_rwsem;
	struct rb_root request_tree;
	struct list_head cap_wait_list;
};
struct ceph_vino {
	u64 ino, snap;
};
struct ceph_mds_request {
	u64 r_tid;
	struct rb_node r_node;
	struct ceph_mds_client *r_mdsc;
	int r_op;
	struct inode___w *r_inode;
	struct dentry___w *r_dentry;
	char *r_path1;
	struct ceph_vino r_ino1;
	unsigned long r_req_flags;
	int r_err;
	unsigned long r_started, r_start_latency, r_request_started;
	struct ceph_mds_session *r_session;
	int r_attempts, r_resend_mds;
	struct completion r_completion, r_safe_completion;
};
struct cap_wait {
	struct list_head list;
	u64 ino;
	int tgid, need, want;
};
struct netfs_inode {
	struct inode___w inode;
};
struct ceph_inode_info {
	struct netfs_inode netfs;
	struct wait_queue_head i_cap_wq;
};

/* rbd */
struct rbd_spec {
	u64 pool_id;
	const char *pool_name, *pool_ns, *image_id, *image_name;
};
struct rbd_client {
	struct ceph_client *client;
};
struct rbd_device {
	int dev_id, major, minor;
	struct gendisk *disk;
	struct rbd_client *rbd_client;
	struct rbd_spec *spec;
	struct list_head node;
};

/* FUSE */
struct fuse_iqueue {
	struct list_head pending;
};
struct fuse_ring;
struct fuse_conn {
	struct fuse_iqueue iq;
	unsigned int num_background;
	struct list_head bg_queue;
	int initialized, blocked;
	struct wait_queue_head blocked_waitq;
	unsigned int connected;
	atomic_t num_waiting;
	u32 dev;
	struct list_head devices;
	struct fuse_ring *ring; /* since 6.14 */
};
/* Since 7.1 the transport half of fuse_conn is a fuse_chan of its own. */
struct fuse_conn___71 {
	struct fuse_chan *chan;
	u32 dev;
};
struct fuse_chan {
	struct fuse_iqueue iq;
	struct list_head devices;
	unsigned int num_background;
	struct list_head bg_queue;
	int initialized, blocked;
	struct wait_queue_head blocked_waitq;
	unsigned int connected;
	atomic_t num_waiting;
	struct fuse_ring *ring;
};
struct fuse_mount {
	struct fuse_conn *fc;
	struct super_block___w *sb;
};
struct fuse_pqueue {
	struct list_head *processing;
	struct list_head io;
};
struct fuse_dev {
	struct fuse_pqueue pq;
	struct list_head entry;
};
struct fuse_in_arg {
	u32 size;
	const void *value;
};
struct fuse_args {
	u8 in_numargs;
	struct fuse_in_arg in_args[3];
};
struct fuse_req {
	struct list_head list;
	struct fuse_args *args;
	unsigned long flags;
	struct {
		struct fuse_in_header h;
	} in;
	struct wait_queue_head waitq;
	struct fuse_mount *fm;
	unsigned long create_time; /* since 6.14 */
};
struct fuse_req___71 {
	struct fuse_chan *chan;
};
struct fuse_inode {
	struct inode___w inode;
	u64 nodeid;
	struct mutex___w mutex;
};

#pragma clang attribute pop

#endif /* HANGTRACE_WALK_KERNEL_H */
