//go:build ignore
/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The walker: who waits for whom, from the kernel's own structures. Programs
 * that user space runs one after the other; nothing is attached, no lock is
 * taken, no user memory is read, so nothing here can wait for anybody. It needs
 * bpf_loop() of 5.17, and for ceph, rbd and FUSE the BTF of the module: user
 * space drops the programs whose module is not there.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "hangtrace.h"
#include "task.h"
#include "walk.h"
#include "walk_kernel.h"
#include "walk_emit.h"
#include "walk_lock.h"
#include "walk_vfs.h"
#include "walk_tables.h"
#include "walk_libceph.h"
#include "walk_cephfs.h"
#include "walk_fuse.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
