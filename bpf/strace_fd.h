/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What descriptors stand for (-y), as segments of the record in the scratch.
 * Included by strace.bpf.c behind strace_memory.h.
 */
#ifndef HANGTRACE_STRACE_FD_H
#define HANGTRACE_STRACE_FD_H

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

#endif
