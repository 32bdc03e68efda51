/*
 * Makes some 250 different system calls between two marks, each with arguments
 * that mean something, in a directory of its own. Built by strace_same_test.go;
 * the same lines must come from strace and from hangtrace. Memory lies at one
 * address, so that lines need no more normalising than PIDs and times.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define S(name, ...) syscall(SYS_##name, ##__VA_ARGS__)
#define AT AT_FDCWD

static char *arena, *next;
static void *room(size_t n)
{
	void *p = next;

	next += (n + 63) & ~63ul;
	return p;
}
static char *text(const char *s) { return strcpy(room(strlen(s) + 1), s); }
#define NEW(type, ...) memcpy(room(sizeof(type)), &(type)__VA_ARGS__, sizeof(type))

struct pair {
	int a, b;
};
struct list {
	char *a[4];
};

static void files(void)
{
	char *f = text("file"), *dir = text("dir"), *b = room(8192), *link = text("link");
	struct iovec *v = room(3 * sizeof(*v));
	off_t *off = NEW(off_t, {0}), *off2 = NEW(off_t, {1});
	int fd = S(openat, AT, f, O_RDWR | O_CREAT | O_TRUNC, 0644), d, g;

	S(write, fd, "hello, world\n\001\"\\", 16);
	S(pwrite64, fd, text("a long line of data that is longer than thirty-two bytes"), 56, 100);
	S(lseek, fd, 0, SEEK_SET);
	S(read, fd, b, 10);
	S(pread64, fd, b, 100, 90);
	v[0] = (struct iovec){text("one"), 3};
	v[1] = (struct iovec){text("two\n"), 4};
	S(writev, fd, v, 2);
	S(pwritev, fd, v, 2, 5, 0);
	S(pwritev2, fd, v, 2, 5, 0, 0);
	v[0].iov_base = b, v[1].iov_base = b + 100;
	S(preadv, fd, v, 2, 0, 0);
	S(preadv2, fd, v, 2, 0, 0, RWF_HIPRI);
	S(lseek, fd, 0, SEEK_SET);
	S(readv, fd, v, 2);
	S(fsync, fd);
	S(fdatasync, fd);
	S(sync_file_range, fd, 0, 4096, SYNC_FILE_RANGE_WRITE);
	S(syncfs, fd);
	S(ftruncate, fd, 200);
	S(fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 4096);
	S(fadvise64, fd, 0, 0, POSIX_FADV_WILLNEED);
	S(readahead, fd, 0, 4096);
	S(fchmod, fd, 0600);
	S(fchown, fd, -1, -1);
	S(flock, fd, LOCK_SH | LOCK_NB);
	S(fstat, fd, room(sizeof(struct stat)));
	S(fstatfs, fd, room(sizeof(struct statfs)));
	S(fcntl, fd, F_GETFL);
	S(fcntl, fd, F_SETFD, FD_CLOEXEC);
	S(fcntl, fd, F_SETLK, NEW(struct flock, {.l_type = F_WRLCK, .l_start = 1, .l_len = 2}));
	S(fcntl, fd, F_GETLK, NEW(struct flock, {.l_type = F_RDLCK, .l_whence = SEEK_END}));
	S(fcntl, fd, F_DUPFD_CLOEXEC, 20);
	S(close, 20);
	S(dup, fd);
	S(dup2, fd, 21);
	S(dup3, fd, 22, O_CLOEXEC);
	S(close_range, 21, 22, 0);
	S(mkdirat, AT, dir, 0755);
	d = S(openat, AT, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	S(openat, d, text("in"), O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK, 0);
	S(openat, AT, text("none"), O_RDWR | O_NOFOLLOW);
	S(openat2, AT, f, NEW(struct open_how, {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV}), sizeof(struct open_how));
	S(getdents64, d, b, 4096);
	S(getdents64, d, b, 4096);
	S(newfstatat, AT, f, room(sizeof(struct stat)), AT_SYMLINK_NOFOLLOW);
	S(newfstatat, d, text(""), room(sizeof(struct stat)), AT_EMPTY_PATH);
	S(newfstatat, AT, text("none"), room(sizeof(struct stat)), 0);
	S(statx, AT, f, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, room(256));
	S(statfs, text("."), room(sizeof(struct statfs)));
	S(faccessat, AT, f, R_OK | W_OK);
	S(faccessat2, AT, f, X_OK, AT_EACCESS);
	S(fchmodat, AT, f, 0640);
	S(fchownat, AT, f, 0, -1, AT_SYMLINK_NOFOLLOW);
	S(linkat, AT, f, d, text("hard"), 0);
	S(symlinkat, text("target"), AT, link);
	S(readlinkat, AT, link, b, 100);
	S(renameat, AT, link, AT, text("link2"));
	S(renameat2, AT, text("link2"), AT, link, RENAME_NOREPLACE);
	S(unlinkat, AT, link, 0);
	S(unlinkat, d, text("hard"), 0);
	S(mknodat, AT, text("fifo"), S_IFIFO | 0600, 0);
	S(utimensat, AT, f, NULL, 0);
	S(utimensat, AT, f, NEW(struct timespec, {.tv_nsec = UTIME_NOW}), AT_SYMLINK_NOFOLLOW);
	S(truncate, f, 100);
	S(setxattr, f, text("user.a"), text("value"), 5, XATTR_CREATE);
	S(getxattr, f, text("user.a"), b, 100);
	S(lgetxattr, f, text("user.none"), b, 100);
	S(fgetxattr, fd, text("user.a"), b, 100);
	S(listxattr, f, b, 100);
	S(removexattr, f, text("user.a"));
	S(lseek, fd, 0, SEEK_SET);
	g = S(memfd_create, text("mem"), MFD_CLOEXEC | MFD_ALLOW_SEALING);
	S(sendfile, g, fd, off, 10);
	S(copy_file_range, fd, off2, g, NULL, 10, 0);
	S(fcntl, g, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	S(fcntl, g, F_GET_SEALS);
	S(name_to_handle_at, AT, f, NEW(struct { struct file_handle h; }, {{.handle_bytes = 0}}), room(4), 0);
	S(ioctl, fd, FS_IOC_GETFLAGS, room(8));
	S(ioctl, fd, FIONREAD, room(8));
	S(ioctl, fd, TCGETS, room(64));
	S(ioctl, fd, 0x12345678, 0);
	S(fchdir, d);
	S(getcwd, b, 4096);
	S(chdir, text(".."));
	S(umask, 022);
	S(unlinkat, d, text("in"), 0);
	S(unlinkat, AT, dir, AT_REMOVEDIR);
	S(unlinkat, AT, text("fifo"), 0);
	S(unlinkat, AT, f, 0);
	S(sync);
	S(close, fd);
	S(close, fd);
	S(close_range, 3, 1000, CLOSE_RANGE_CLOEXEC);
	S(close_range, 3, 1000, 0);
}

#ifdef SYS_open
static void older(void)
{
	char *f = text("old"), *b = room(4096);
	int *p = room(8);
	int fd = S(open, f, O_RDWR | O_CREAT, 0600);

	S(creat, f, 0644);
	S(stat, f, room(sizeof(struct stat)));
	S(lstat, text("/nonexistent"), room(sizeof(struct stat)));
	S(access, f, F_OK);
	S(chmod, f, 01777);
	S(chown, f, 0, 0);
	S(lchown, f, 0, 0);
	S(link, f, text("old2"));
	S(rename, text("old2"), text("old3"));
	S(symlink, f, text("olds"));
	S(readlink, text("olds"), b, 10);
	S(readlink, f, b, 10);
	S(unlink, text("olds"));
	S(unlink, text("old3"));
	S(mkdir, text("oldd"), 0700);
	S(open, text("oldd"), O_RDONLY | O_DIRECTORY);
	S(getdents, 5, b, 1000);
	S(rmdir, text("oldd"));
	S(rmdir, text("none"));
	S(mknod, text("oldn"), S_IFCHR | 0666, 0x103);
	S(unlink, text("oldn"));
	S(utime, f, NEW(struct utimbuf, {.actime = 1, .modtime = 1700000000}));
	S(utimes, f, NEW(struct timeval, {.tv_sec = 1}));
	S(futimesat, AT, f, NULL);
	S(pipe, p);
	S(poll, NEW(struct pollfd, {.fd = p[1], .events = POLLIN | POLLOUT}), 1, 0);
	S(poll, NEW(struct pollfd, {.fd = p[0], .events = POLLIN}), 1, 1);
	fd_set *set = room(sizeof(fd_set)), *out = room(sizeof(fd_set));
	FD_SET(p[0], set);
	FD_SET(p[1], out);
	S(select, p[1] + 1, set, out, NULL, NEW(struct timeval, {.tv_usec = 1000}));
	S(eventfd, 3);
	S(epoll_create, 1);
	S(inotify_init);
	S(signalfd, -1, NEW(uint64_t, {1 << (SIGUSR1 - 1)}), 8);
	S(getpgrp);
	S(time, room(8));
	S(alarm, 0);
	S(arch_prctl, 0x1003, room(8));
	S(unlink, f);
	S(close_range, 3, 1000, 0);
	(void)fd;
}
#endif

static void memory(void)
{
	char *m = (char *)S(mmap, 0x30000000, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	S(mprotect, m, 4096, PROT_READ);
	S(madvise, m, 4096, MADV_DONTNEED);
	S(mlock, m, 4096);
	S(mlock2, m, 4096, 1);
	S(munlock, m, 4096);
	S(mincore, m, 8192, room(8));
	S(msync, m, 4096, MS_SYNC);
	S(mremap, m, 0x4000, 0x2000, MREMAP_MAYMOVE);
	S(munmap, m, 0x4000);
	S(mmap, 0, 4096, PROT_NONE, MAP_SHARED | MAP_NORESERVE, -1, 0);
	S(brk, 0);
	S(mlockall, MCL_CURRENT | 0x80);
	S(munlockall);
	S(membarrier, 0, 0, 0);
	S(pkey_alloc, 1, 0);
	S(remap_file_pages, 0x1000, 4096, 0, 0, 0);
	S(userfaultfd, 0x123);
}

static void sockets(void)
{
	struct sockaddr_in *in = NEW(struct sockaddr_in, {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {0x0100007f}});
	struct sockaddr_un *un = NEW(struct sockaddr_un, {.sun_family = AF_UNIX, .sun_path = "sock"});
	struct sockaddr_in6 *in6 = NEW(struct sockaddr_in6, {.sin6_family = AF_INET6, .sin6_port = 0x5000, .sin6_addr = IN6ADDR_LOOPBACK_INIT});
	struct msghdr *m = room(sizeof(*m));
	struct mmsghdr *mm = room(2 * sizeof(*mm));
	struct iovec *v = room(2 * sizeof(*v));
	int *pair = room(8), *len = NEW(int, {16}), *one = NEW(int, {1});
	char *b = room(4096);
	int s = S(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), u;

	S(setsockopt, s, SOL_SOCKET, SO_REUSEADDR, one, 4);
	S(setsockopt, s, SOL_SOCKET, SO_LINGER, NEW(struct linger, {.l_onoff = 1, .l_linger = 5}), 8);
	S(setsockopt, s, IPPROTO_TCP, TCP_NODELAY, one, 4);
	S(getsockopt, s, SOL_SOCKET, SO_ERROR, room(4), NEW(int, {4}));
	S(bind, s, in, sizeof(*in));
	S(listen, s, 5);
	S(accept4, s, room(16), len, SOCK_NONBLOCK | SOCK_CLOEXEC | 0x10000000);
	S(fcntl, s, F_SETFL, O_NONBLOCK);
	S(accept4, s, room(16), len, SOCK_NONBLOCK);
	S(connect, s, in6, sizeof(*in6));
	S(shutdown, s, SHUT_RDWR);
	u = S(socket, AF_UNIX, SOCK_DGRAM, 0);
	S(bind, u, un, sizeof(*un));
	S(getsockname, u, room(110), NEW(int, {110}));
	S(getpeername, u, room(110), NEW(int, {110}));
	S(sendto, u, text("datagram"), 8, MSG_DONTWAIT, un, sizeof(*un));
	S(recvfrom, u, b, 100, MSG_PEEK, room(110), NEW(int, {110}));
	S(recvfrom, u, b, 100, 0, NULL, NULL);
	S(socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
	v[0] = (struct iovec){text("message"), 7};
	*m = (struct msghdr){.msg_iov = v, .msg_iovlen = 1};
	S(sendmsg, pair[0], m, MSG_NOSIGNAL);
	v[0] = (struct iovec){b, 100};
	S(recvmsg, pair[1], m, 0);
	S(recvmsg, pair[1], m, MSG_DONTWAIT);
	v[0] = (struct iovec){text("several"), 7};
	mm[0].msg_hdr = *m, mm[1].msg_hdr = *m;
	S(sendmmsg, pair[0], mm, 2, 0);
	v[0] = (struct iovec){b, 4};
	S(recvmmsg, pair[1], mm, 2, MSG_DONTWAIT, NULL);
	S(unlinkat, AT, text("sock"), 0);
	S(close_range, 3, 1000, 0);
}

static void waits(void)
{
	int *p = room(8), *word = NEW(int, {1});
	int e, t, i;
	char *b = room(4096);

	S(pipe2, p, O_CLOEXEC | O_NONBLOCK);
	S(read, p[0], b, 100);
	S(write, p[1], "x", 1);
	S(tee, p[0], p[1], 10, SPLICE_F_NONBLOCK);
	S(vmsplice, p[1], NEW(struct iovec, {.iov_base = arena, .iov_len = 5}), 1, 0);
	S(splice, p[0], NULL, p[1], NULL, 10, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	e = S(epoll_create1, EPOLL_CLOEXEC);
	S(epoll_ctl, e, EPOLL_CTL_ADD, p[0], NEW(struct epoll_event, {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1234500000007}));
	S(epoll_pwait, e, room(12 * 4), 4, 100, NULL, 8);
#ifdef SYS_epoll_wait
	S(epoll_wait, e, room(12 * 4), 4, 0);
#endif
	S(epoll_pwait2, e, room(12 * 4), 4, NEW(struct timespec, {.tv_nsec = 1000}), NEW(uint64_t, {2}), 8);
	S(ppoll, NEW(struct pollfd, {.fd = p[0], .events = POLLIN}), 1, NEW(struct timespec, {.tv_sec = 1}), NULL, 8);
	fd_set *set = room(sizeof(fd_set));
	FD_SET(p[0], set);
	S(pselect6, p[0] + 1, set, NULL, NULL, NEW(struct timespec, {.tv_sec = 5}), NULL);
	S(eventfd2, 7, EFD_CLOEXEC | EFD_SEMAPHORE);
	i = S(inotify_init1, IN_NONBLOCK);
	S(inotify_add_watch, i, text("."), IN_CREATE | IN_DELETE_SELF);
	S(inotify_rm_watch, i, 1);
	t = S(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK);
	S(timerfd_settime, t, TFD_TIMER_ABSTIME, NEW(struct itimerspec, {.it_value = {5, 6}}), room(32));
	S(signalfd4, -1, NEW(uint64_t, {1 << (SIGCHLD - 1)}), 8, O_CLOEXEC);
	S(futex, word, FUTEX_WAKE_PRIVATE, 1);
	S(futex, word, FUTEX_WAIT, 5, NULL);
	S(futex, word, FUTEX_WAIT_PRIVATE, 1, NEW(struct timespec, {.tv_nsec = 1000}));
	S(futex, word, FUTEX_CMP_REQUEUE, 1, 2, word, 1);
	S(nanosleep, NEW(struct timespec, {.tv_nsec = 1000}), NULL);
	S(clock_nanosleep, CLOCK_REALTIME, 0, NEW(struct timespec, {.tv_nsec = 1000}), room(16));
	S(clock_getres, CLOCK_BOOTTIME, room(16));
	S(sched_yield);
	S(getitimer, ITIMER_REAL, room(32));
	S(setitimer, ITIMER_PROF, NEW(struct itimerval, {.it_value = {100, 0}}), room(32));
	S(setitimer, ITIMER_PROF, NEW(struct itimerval, {.it_value = {0, 0}}), NULL);
	int *id = room(4);
	S(timer_create, CLOCK_MONOTONIC, NEW(struct sigevent, {.sigev_signo = SIGUSR1, .sigev_notify = SIGEV_SIGNAL}), id);
	S(timer_settime, *id, 0, NEW(struct itimerspec, {.it_value = {100, 0}}), NULL);
	S(timer_getoverrun, *id);
	S(timer_delete, *id);
	S(fanotify_init, 0x12345678, 0);
	S(io_setup, 0, NEW(aio_context_t, {0}));
	S(io_uring_setup, 0, room(120));
	S(close_range, 3, 1000, 0);
}

static void signals(void)
{
	struct { unsigned long h, flags, rest, mask; } *act = room(sizeof(*act));

	act->h = (long)SIG_IGN, act->flags = SA_RESTART, act->mask = 1 << (SIGTERM - 1);
	S(rt_sigaction, SIGUSR2, act, room(64), 8);
	S(rt_sigprocmask, SIG_BLOCK, NEW(uint64_t, {1 << (SIGHUP - 1) | 1 << (SIGUSR1 - 1)}), room(8), 8);
	S(rt_sigpending, room(8), 8);
	S(rt_sigtimedwait, NEW(uint64_t, {1 << (SIGHUP - 1)}), NULL, NEW(struct timespec, {0}), 8);
	S(rt_sigprocmask, SIG_SETMASK, NEW(uint64_t, {0}), NULL, 8);
	S(sigaltstack, NULL, room(sizeof(stack_t)));
	S(kill, 0, 0);
	S(tgkill, -1, 1, SIGHUP);
	S(tkill, -1, 34);
	S(kill, getpid(), SIGUSR2);
	S(rt_sigqueueinfo, 999999999, SIGTERM, NEW(siginfo_t, {.si_signo = SIGTERM, .si_code = SI_QUEUE}));
	S(restart_syscall);
}

static void processes(void)
{
	uint32_t *cap = NEW(uint32_t, {0x20080522}), *ids = room(12);
	int *status = room(4), pid;

	S(getpid), S(gettid), S(getppid), S(getuid), S(geteuid), S(getgid), S(getegid);
	S(getpgid, 0), S(getsid, 0), S(setsid);
	S(getresuid, ids, ids + 1, ids + 2);
	S(getresgid, ids, ids + 1, ids + 2);
	S(setresuid, -1, -1, 0);
	S(setresgid, -1, 0, -1);
	S(setuid, 0), S(setgid, 0), S(setreuid, -1, 0), S(setregid, 0, -1), S(setfsuid, 0), S(setfsgid, 0);
	S(getgroups, 32, room(128));
	S(setgroups, 2, NEW(struct pair, {1, 2}));
	S(capget, cap, room(24));
	S(prctl, PR_SET_PDEATHSIG, 0);
	S(prctl, PR_GET_DUMPABLE);
	S(prctl, PR_GET_NAME, room(16));
	S(getrusage, RUSAGE_SELF, room(sizeof(struct rusage)));
	S(prlimit64, 0, RLIMIT_NOFILE, NULL, room(16));
	S(prlimit64, 0, RLIMIT_CORE, NEW(struct rlimit, {0, RLIM_INFINITY}), NULL);
#ifdef SYS_getrlimit
	S(getrlimit, RLIMIT_STACK, room(16));
	S(setrlimit, RLIMIT_CORE, NEW(struct rlimit, {0, RLIM_INFINITY}));
#endif
	S(getpriority, PRIO_PROCESS, 0);
	S(setpriority, PRIO_PROCESS, 0, 0);
	S(sched_getaffinity, 0, 128, room(128));
	S(sched_setaffinity, 0, 8, NEW(uint64_t, {3}));
	S(sched_getscheduler, 0);
	S(sched_setscheduler, 0, SCHED_BATCH, NEW(struct sched_param, {0}));
	S(sched_getscheduler, 0);
	S(sched_setscheduler, 0, SCHED_OTHER, NEW(struct sched_param, {0}));
	S(sched_getparam, 0, room(8));
	S(sched_get_priority_max, SCHED_FIFO);
	S(sched_rr_get_interval, 0, room(16));
	S(ioprio_get, 1, 0);
	S(uname, room(sizeof(struct utsname)));
	S(sysinfo, room(sizeof(struct sysinfo)));
	S(times, room(sizeof(struct tms)));
	S(clock_gettime, CLOCK_MONOTONIC, room(16));
	S(gettimeofday, room(16), NULL);
	S(getrandom, room(64), 16, 1);
	S(getcpu, room(4), room(4), NULL);
	S(personality, 0xffffffff);
	S(set_robust_list, arena, 24);
	S(get_robust_list, 0, room(8), room(8));
	S(set_tid_address, arena);
	S(unshare, CLONE_NEWUTS);
	S(sethostname, text("x"), 1);
	S(setdomainname, text("x"), 1);
	S(acct, text("/nonexistent"));
	S(chroot, text("/nonexistent"));
	S(pivot_root, text("/nonexistent"), text("/nonexistent/old"));
	S(mount, text("src"), text("/nonexistent"), text("tmpfs"), MS_RDONLY | MS_NOSUID, text("size=1M"));
	S(umount2, text("/nonexistent"), MNT_FORCE | MNT_DETACH);
	S(swapon, text("/nonexistent"), 0);
	S(swapoff, text("/nonexistent"));
	S(setns, 99, CLONE_NEWNET);
	S(fsopen, text("nonesuch"), 1);
	S(move_mount, AT, text("a"), AT, text("b"), 0);
	S(open_tree, AT, text("none"), OPEN_TREE_CLOEXEC);
	S(pidfd_open, 0, 0);
	S(pidfd_send_signal, -1, SIGTERM, NULL, 0);
	S(kcmp, 1, 1, 0, 3, 4);
	S(process_vm_readv, 0, NEW(struct iovec, {.iov_base = arena, .iov_len = 4}), 1, NEW(struct iovec, {.iov_base = arena, .iov_len = 4}), 1, 0);
	S(execve, text("/nonexistent"), NEW(struct list, {{text("a"), text("b c"), text("d\n")}}), NEW(struct list, {{text("X=1"), text("Y=2")}}));
	S(execveat, AT, text("/nonexistent"), NEW(struct list, {{text("a")}}), NULL, AT_SYMLINK_NOFOLLOW);
	S(wait4, -1, status, WNOHANG, NULL);
	S(waitid, P_ALL, 0, room(128), WEXITED | WNOHANG, NULL);
	pid = fork();
	if (!pid) {
		usleep(50000); /* its parent waits before it ends */
		_exit(3);
	}
	S(wait4, pid, status, 0, NULL);
	S(seccomp, 2, 0, NULL);
	S(bpf, 99, NULL, 0);
	S(perf_event_open, NULL, 0, 0, 0, 0);
	S(keyctl, 0, -3, 0);
	S(add_key, text("user"), text("k"), text("p"), 1, 0);
	S(request_key, text("user"), text("none"), NULL, 0);
	S(adjtimex, NEW(struct timex, {.modes = 0}));
	S(syslog, 10, NULL, 0);
	S(reboot, 1, 2, 3, 0);
	S(ptrace, 9999, 0, 0, 0);
	syscall(1000, 1, 2, 3, 4, 5, 6);
}

static void ipc(void)
{
	int q = S(msgget, IPC_PRIVATE, IPC_CREAT | 0600), sem = S(semget, IPC_PRIVATE, 1, 0600), shm = S(shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	char *b = room(64);

	*(long *)b = 1;
	strcpy(b + 8, "msg");
	S(msgsnd, q, b, 4, IPC_NOWAIT);
	S(msgrcv, q, b, 10, 0, IPC_NOWAIT);
	S(msgctl, q, IPC_RMID, NULL);
	S(semop, sem, NEW(struct sembuf, {0, 1, 0}), 1);
	S(semtimedop, sem, NEW(struct sembuf, {0, -1, IPC_NOWAIT}), 1, NEW(struct timespec, {.tv_sec = 1}));
	S(semctl, sem, 0, IPC_RMID, 0);
	S(shmat, shm, 0x31000000, SHM_RDONLY);
	S(shmdt, 0x31000000);
	S(shmctl, shm, IPC_RMID, NULL);
	S(mq_open, text("queue"), O_RDWR | O_CREAT, 0600, NULL);
	S(mq_unlink, text("queue"));
	S(close_range, 3, 1000, 0);
}

int main(int argc, char **argv)
{
	char c;

	if (argc < 2)
		return 2;
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
	}
	if (chdir(argv[1]) || unshare(CLONE_NEWIPC))
		return 3;
	arena = mmap((void *)0x20000000, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	next = arena + 4096;
	memset(arena, 0, 1 << 20);
	puts("ready");
	fflush(stdout);
	if (read(0, &c, 1) != 1)
		return 1;
	S(prctl, PR_SET_NAME, text("marked"));
	files();
#ifdef SYS_open
	older();
#endif
	memory();
	sockets();
	waits();
	signals();
	processes();
	ipc();
	S(prctl, PR_SET_NAME, text("marked"));
	S(exit_group, 0);
}
