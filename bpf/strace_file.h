/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a descriptor of the current thread stands for: its names up to the root
 * of the mount tree, and what sockets and devices are. Include after task.h.
 */
#ifndef HANGTRACE_STRACE_FILE_H
#define HANGTRACE_STRACE_FILE_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct task_struct___files {
	struct files_struct *files;
};
struct hlist_bl_node {
	void **pprev;
};
struct inode___file {
	u16 i_mode;
	u32 i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct dentry___file {
	struct hlist_bl_node d_hash;
	struct dentry___file *d_parent;
	struct qstr d_name;
	struct inode___file *d_inode;
};
struct vfsmount___file {
	struct dentry___file *mnt_root;
};
struct mount___file {
	struct mount___file *mnt_parent;
	struct dentry___file *mnt_mountpoint;
	struct vfsmount___file mnt;
};
struct path___file {
	struct vfsmount___file *mnt;
	struct dentry___file *dentry;
};
struct file___file {
	struct path___file f_path;
	struct inode___file *f_inode;
	void *private_data;
};
struct in6_addr {
	u8 b[16];
};
struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct socket {
	struct sock *sk;
};
struct socket_alloc {
	struct socket socket;
	struct inode___file vfs_inode;
};
struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
	u16 sk_type;
	struct socket *sk_socket;
};
struct unix_sock {
	struct sock *peer;
};

#pragma clang attribute pop

#define SOCKFS_MAGIC 0x534f434b
#define S_IFMT	     0170000
#define S_IFSOCK     0140000
#define FAMILY_UNIX  1
#define FAMILY_INET  2
#define FAMILY_INET6 10

#define FILE_DEPTH 40
#define NAME_ROOM  256

static __always_inline struct file___file *file_of(u32 fd)
{
	struct task_struct___files *t = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(t, files, fdt);
	struct file___file *f = NULL;
	struct file **list;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	list = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&f, sizeof(f), list + fd);
	return f;
}

static __always_inline void fill_socket(struct strace_file *r, struct file___file *f)
{
	struct socket *s = BPF_CORE_READ(f, private_data);
	struct sock *sk = BPF_CORE_READ(s, sk), *peer;

	if (!sk)
		return;
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->type = BPF_CORE_READ(sk, sk_type);
	r->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (r->family == FAMILY_INET || r->family == FAMILY_INET6) {
		r->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		r->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	}
	if (r->family == FAMILY_INET) {
		BPF_CORE_READ_INTO((u32 *)r->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)r->remote, sk, __sk_common.skc_daddr);
	} else if (r->family == FAMILY_INET6) {
		bpf_probe_read_kernel(r->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(r->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else if (r->family == FAMILY_UNIX) {
		peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
		s = peer ? BPF_CORE_READ(peer, sk_socket) : NULL;
		if (s)
			r->peer = BPF_CORE_READ((struct socket_alloc *)s, vfs_inode.i_ino);
	}
}

static __always_inline void fill_file(struct strace_file *r, struct file___file *f,
				      struct dentry___file *d)
{
	struct inode___file *in = f ? BPF_CORE_READ(f, f_inode) : BPF_CORE_READ(d, d_inode);

	r->ino = BPF_CORE_READ(in, i_ino);
	r->mode = BPF_CORE_READ(in, i_mode);
	r->rdev = BPF_CORE_READ(in, i_rdev);
	r->magic = BPF_CORE_READ(in, i_sb, s_magic);
	r->flags = 0;
	if (d && !BPF_CORE_READ(d, d_hash.pprev) && BPF_CORE_READ(d, d_parent) != d)
		r->flags |= STRACE_FILE_DELETED;
	if (f && r->magic == SOCKFS_MAGIC)
		fill_socket(r, f);
}

#endif /* HANGTRACE_STRACE_FILE_H */
