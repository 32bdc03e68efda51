/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Super blocks, mounts, and the locks of inodes. */
#ifndef HANGTRACE_WALK_VFS_H
#define HANGTRACE_WALK_VFS_H

#define CEPH_SUPER_MAGIC 0x00c36400
#define MAX_SUPERS	 32768
#define MAX_MOUNTS	 65536

/* The first 8 bytes of a file system type's name. */
#define NAME_CEPH 0x0000000068706563ull
#define NAME_NFS  0x000000000073666eull
#define NAME_NFS4 0x000000003473666eull
#define NAME_CIFS 0x0000000073666963ull
#define NAME_SMB3 0x0000000033626d73ull
#define NAME_9P	  0x0000000000007039ull

static struct targets watched; /* super blocks whose mounts are wanted */
static u64 super_at, super_first;

static __always_inline bool rbd_or_nbd(struct gendisk *g)
{
	char name[4] = {};

	if (!g || rd(name, 3, &g->disk_name))
		return false;
	return (name[0] == 'r' || name[0] == 'n') && name[1] == 'b' && name[2] == 'd';
}

__noinline int emit_super(u64 addr)
{
	struct super_block___w *sb = (void *)addr;
	struct walk_super *r = reserve(WALK_SUPER, sizeof(*r));
	struct block_device *bd = BPF_CORE_READ(sb, s_bdev);

	if (!r)
		return -1;
	r->addr = addr;
	r->dev = BPF_CORE_READ(sb, s_dev);
	r->magic = BPF_CORE_READ(sb, s_magic);
	r->flags = BPF_CORE_READ(sb, s_flags);
	r->active = BPF_CORE_READ(sb, s_active.counter);
	if (bd)
		r->bdev = BPF_CORE_READ(bd, bd_dev);
	bpf_probe_read_kernel_str(r->fstype, sizeof(r->fstype), BPF_CORE_READ(sb, s_type, name));
	commit(r);
	lock_dev = BPF_CORE_READ(sb, s_dev);
	rwsem_record(&sb->s_umount, 0, LOCK_UMOUNT);
	mutex_record(&sb->s_vfs_rename_mutex, 0, LOCK_RENAME);
	return 0;
}

static long super_step(u32 i, void *ctx)
{
	struct super_block___w *sb = (void *)super_at;
	struct list_head *next = NULL;
	struct file_system_type *fs;
	struct block_device *bd;
	const char *name = NULL;
	u64 type = 0;
	u32 dev;
	bool ours = false;

	stats[WALK_STAT_STEPS]++;
	if (RD(&next, &sb->s_list.next) || !next)
		return 1;
	super_at = (u64)next - bpf_core_field_offset(struct super_block___w, s_list);
	dev = BPF_CORE_READ(sb, s_dev);
	/* The head of the list is no super block: what we read there is rubbish, and no fault. */
	fs = BPF_CORE_READ(sb, s_type);
	bpf_probe_read_kernel(&name, sizeof(name), &fs->name);
	bpf_probe_read_kernel_str(&type, sizeof(type), name);
	bd = BPF_CORE_READ(sb, s_bdev);
	if (type == NAME_CEPH) {
		target(&cephs, (u64)sb);
		ours = true;
	} else if (BPF_CORE_READ(sb, s_magic) == FUSE_SUPER_MAGIC && (type & 0xffff) != 0) {
		target(&fuses, (u64)sb);
		ours = true;
	} else if (bd && rbd_or_nbd(BPF_CORE_READ(bd, bd_disk))) {
		target(&rbds, (u64)BPF_CORE_READ(bd, bd_disk));
		ours = true;
	} else if (type == NAME_NFS || type == NAME_NFS4 || type == NAME_CIFS ||
		   type == NAME_SMB3 || type == NAME_9P) {
		ours = true;
	}
	if (bpf_map_lookup_elem(&devices, &dev)) {
		target(&inodes, (u64)sb);
		target(&watched, (u64)sb);
	} else if (ours) {
		target(&watched, (u64)sb);
		if (inodes_of_all)
			target(&inodes, (u64)sb);
	}
	return super_at == super_first;
}

static __always_inline void emit_mount(struct mount___w *m, u64 super)
{
	struct mnt_namespace *ns = BPF_CORE_READ(m, mnt_ns);
	struct walk_mount *r;

	if ((u64)BPF_CORE_READ(m, mnt.mnt_sb) != super) {
		stats[WALK_STAT_FOREIGN]++;
		return;
	}
	path_names((u64)BPF_CORE_READ(m, mnt.mnt_root), (u64)m);
	r = reserve(WALK_MOUNT, sizeof(*r));
	if (!r)
		return;
	r->addr = (u64)m;
	r->super = super;
	r->id = BPF_CORE_READ(m, mnt_id);
	r->parent = BPF_CORE_READ(m, mnt_parent, mnt_id);
	if (!ns)
		r->flags = WALK_DETACHED;
	else if ((s64)ns < 0 && (s64)ns >= -4095)
		r->flags = WALK_ERROR_PTR;
	else
		r->ns = BPF_CORE_READ(ns, ns.inum);
	append_path(r, sizeof(*r), &r->path);
	commit(r);
}

enum {
	WORK_MOUNT = 1,
};
static u32 watched_next;

/* The next mount, or the first one of the next super block. */
static long mount_step(u32 i, void *ctx)
{
	bool chain = bpf_core_field_exists(((struct mount___618 *)0)->mnt_next_for_sb);
	struct super_block___w *sb;
	struct list_head *p = NULL;
	struct mount___w *m;
	struct work w;
	u32 n;

	if (!pop(&w)) {
		n = watched_next;
		if (n >= watched.n || n >= MAX_TARGETS)
			return 1;
		watched_next = n + 1;
		sb = (void *)watched.at[n];
		emit_super((u64)sb);
		brent_start();
		if (chain)
			push(WORK_MOUNT,
			     (u64)BPF_CORE_READ((struct super_block___618 *)sb, s_mounts), 0,
			     (u64)sb, 0);
		else if (!RD(&p, &sb->s_mounts.next))
			push(WORK_MOUNT, (u64)p, (u64)&sb->s_mounts, (u64)sb, 0);
		return 0;
	}
	if (!w.at || w.at == w.head || brent_seen(w.at))
		return 0;
	if (chain) {
		m = (void *)w.at;
		emit_mount(m, w.owner);
		push(WORK_MOUNT, (u64)BPF_CORE_READ((struct mount___618 *)m, mnt_next_for_sb), 0,
		     w.owner, 0);
		return 0;
	}
	emit_mount((void *)(w.at - bpf_core_field_offset(struct mount___w, mnt_instance)), w.owner);
	if (!RD(&p, &((struct list_head *)w.at)->next))
		push(WORK_MOUNT, (u64)p, w.head, w.owner, 0);
	return 0;
}

/*
 * The super blocks, first of all programs: no symbol is needed, the list is
 * reached from our own root directory.
 */
SEC("syscall") int walk_supers(void *ctx)
{
	struct task_struct___w *me = (void *)bpf_get_current_task();
	struct vfsmount___w *root;
	struct walk_begin *b;

	fault_site = WALK_STAT_FAULT_SUPER;
	cephs.n = fuses.n = rbds.n = clients.n = inodes.n = watched.n = 0;
	watched_next = 0;
	b = reserve(WALK_BEGIN, sizeof(*b));
	if (b) {
		b->now_ns = bpf_ktime_get_ns();
		b->jiffies = bpf_jiffies64();
		commit(b);
	}
	root = (void *)BPF_CORE_READ(me, fs, root.mnt);
	super_at = (u64)BPF_CORE_READ(root, mnt_sb);
	super_first = super_at;
	if (super_at && bpf_loop(MAX_SUPERS, super_step, NULL, 0) == MAX_SUPERS)
		stats[WALK_STAT_BOUND]++;
	fault_site = WALK_STAT_FAULT_MOUNT;
	work_n = 0;
	if (bpf_loop(MAX_MOUNTS, mount_step, NULL, 0) == MAX_MOUNTS)
		stats[WALK_STAT_BOUND]++;
	return 0;
}

/* ---- inodes: who waits for i_rwsem and its like ---- */

static struct {
	u8 b[1024];
} inode_copy; /* one read instead of four */

#define INODE_FIELD(type, field)                                                                   \
	(*(type *)&inode_copy.b[bpf_core_field_offset(struct inode___w, field)])

static u64 inode_at, inode_head, inode_super, inode_magic;
static u32 inodes_next;

static __always_inline bool rwsem_waited(u32 offset, u64 in)
{
	if (bpf_core_field_exists(((struct rw_semaphore___71 *)0)->first_waiter))
		return *(u64 *)&inode_copy
				.b[offset +
				   bpf_core_field_offset(struct rw_semaphore___71, first_waiter)];
	offset += bpf_core_field_offset(struct rw_semaphore___w, wait_list);
	return *(u64 *)&inode_copy.b[offset] != in + offset;
}

static __always_inline void emit_cap_queue(struct inode___w *in)
{
	struct wait_queue_head *q =
		&((struct ceph_inode_info *)((void *)in -
					     bpf_core_field_offset(struct ceph_inode_info,
								   netfs.inode)))
			 ->i_cap_wq;
	struct list_head *first = NULL;
	struct ceph_fs_client *fsc;
	struct walk_capwait *r;

	if (RD(&first, &q->head.next) || !first || first == &q->head)
		return;
	r = reserve(WALK_CAPWAIT, sizeof(*r));
	if (!r)
		return;
	fsc = BPF_CORE_READ((struct super_block___w *)inode_super, s_fs_info);
	r->addr = (u64)in;
	r->mdsc = (u64)BPF_CORE_READ(fsc, mdsc);
	r->ino = BPF_CORE_READ(in, i_ino);
	commit(r);
	wq_waiters(q, (u64)in, HOW_CAPS);
}

/* The locks of one inode: rare, so it may cost more. */
__noinline int inode_locks(u64 addr)
{
	struct inode___w *in = (void *)addr;

	rwsem_record(&in->i_rwsem, addr, LOCK_INODE);
	rwsem_record(&in->i_data.invalidate_lock, addr, LOCK_MAPPING);
	return 0;
}

static long inode_step(u32 i, void *ctx)
{
	u32 size = bpf_core_type_size(struct inode___w), n;
	struct super_block___w *sb;
	struct list_head *p = NULL;
	struct inode___w *in;

	stats[WALK_STAT_STEPS]++;
	if (!inode_at || inode_at == inode_head) {
		n = inodes_next;
		if (n >= inodes.n || n >= MAX_TARGETS)
			return 1;
		inodes_next = n + 1;
		sb = (void *)inodes.at[n];
		inode_super = (u64)sb;
		inode_magic = BPF_CORE_READ(sb, s_magic);
		inode_head = (u64)&sb->s_inodes;
		inode_at = RD(&p, &sb->s_inodes.next) ? 0 : (u64)p;
		brent_start();
		return 0;
	}
	in = (void *)(inode_at - bpf_core_field_offset(struct inode___w, i_sb_list));
	if (size > sizeof(inode_copy))
		size = sizeof(inode_copy);
	if (brent_seen(inode_at) || rd(&inode_copy, size, in)) {
		inode_at = 0;
		return 0;
	}
	if (INODE_FIELD(u64, i_sb) != inode_super) {
		stats[WALK_STAT_FOREIGN]++;
		inode_at = 0;
		return 0;
	}
	inode_at = INODE_FIELD(u64, i_sb_list);
	if (rwsem_waited(bpf_core_field_offset(struct inode___w, i_rwsem), (u64)in) ||
	    rwsem_waited(bpf_core_field_offset(struct inode___w, i_data.invalidate_lock), (u64)in))
		inode_locks((u64)in);
	if (bpf_core_type_exists(struct ceph_inode_info) && inode_magic == CEPH_SUPER_MAGIC)
		emit_cap_queue(in);
	if (bpf_core_type_exists(struct fuse_inode) && inode_magic == FUSE_SUPER_MAGIC)
		mutex_record(
			&((struct fuse_inode *)((void *)in -
						bpf_core_field_offset(struct fuse_inode, inode)))
				 ->mutex,
			(u64)in, LOCK_FUSE_DIR);
	return 0;
}

SEC("syscall") int walk_inodes(void *ctx)
{
	u32 most = max_inodes;

	if (most > 1 << 22)
		most = 1 << 22;
	fault_site = WALK_STAT_FAULT_INODE;
	inodes_next = 0;
	inode_at = 0;
	if (most && bpf_loop(most, inode_step, NULL, 0) == most)
		stats[WALK_STAT_BOUND]++;
	return 0;
}

#endif /* HANGTRACE_WALK_VFS_H */
