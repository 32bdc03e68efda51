/*
 * What happens to processes and threads while they are traced, one thing at a
 * time: life MODE. It says "ready", waits for a line, does it and ends. Pauses
 * make sure of the order of what several threads do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(name, ...) syscall(SYS_##name, ##__VA_ARGS__)
#define PAUSE usleep(60000)

static void await(int pid)
{
	int status;

	waitpid(pid, &status, 0);
}

static void do_fork(void)
{
	int pid = fork();

	if (!pid) {
		PAUSE;
		S(getppid);
		S(exit_group, 3);
	}
	await(pid);
}

static void do_vfork(void)
{
	static char *argv[] = {"life", "none", NULL};
	int pid = vfork();

	if (!pid) {
		execve("/proc/self/exe", argv, NULL);
		_exit(1);
	}
	await(pid);
}

static void *thread(void *arg)
{
	PAUSE;
	S(getsid, (long)arg);
	PAUSE;
	return NULL;
}

static void do_threads(void)
{
	for (long i = 0; i < 3; i++) {
		pthread_t t;

		pthread_create(&t, NULL, thread, (void *)i);
		pthread_join(t, NULL);
	}
}

static void *execute(void *arg)
{
	static char *argv[] = {"life", "none", NULL};

	PAUSE;
	execve("/proc/self/exe", argv, NULL);
	return NULL;
}

/* A thread that is not the first executes: it takes over the first one's ID. */
static void do_exec(void)
{
	pthread_t t;

	pthread_create(&t, NULL, execute, NULL);
	for (;;)
		pause();
}

static void filtered(unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	S(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	S(getsid, 7);
	S(exit_group, 0);
}

static void do_seccomp(void)
{
	unsigned actions[] = {SECCOMP_RET_ERRNO | EDOM, SECCOMP_RET_KILL_PROCESS};

	for (int i = 0; i < 2; i++) {
		int pid = fork();

		if (!pid) {
			PAUSE;
			filtered(actions[i]);
		}
		await(pid);
	}
}

static void handler(int sig)
{
}

static void alarm_in(int flags, long us)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
	struct itimerval it = {.it_value.tv_usec = us};

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

static void do_signals(void)
{
	/* far more than the alarms take on a busy machine, and what is left is 9 s */
	struct timespec ts = {.tv_sec = 9, .tv_nsec = 900000000};
	int p[2];
	char c;

	pipe(p);
	alarm_in(0, 200000);
	read(p[0], &c, 1); /* EINTR */
	alarm_in(SA_RESTART, 200000);
	if (!fork()) {
		usleep(900000);
		S(write, p[1], "x", 1);
		S(exit_group, 0);
	}
	read(p[0], &c, 1); /* restarted */
	await(-1);
	alarm_in(0, 200000);
	S(nanosleep, &ts, &ts); /* ERESTART_RESTARTBLOCK, then EINTR */
	raise(SIGCONT);
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
}

/* A stop and a start make the kernel go on by restart_syscall. */
static void do_restart(void)
{
	struct timespec ts = {.tv_nsec = 400000000};
	int me = getpid();

	if (!fork()) {
		PAUSE;
		kill(me, SIGSTOP);
		PAUSE;
		kill(me, SIGCONT);
		S(exit_group, 0);
	}
	S(nanosleep, &ts, NULL);
	await(-1);
}

static void do_kill(void)
{
	int pid = fork();

	if (!pid) {
		for (;;)
			pause();
	}
	PAUSE;
	kill(pid, SIGKILL);
	await(pid);
	pid = fork();
	if (!pid) {
		PAUSE;
		*(volatile int *)16 = 1;
	}
	await(pid);
}

/* The next child gets the ID of the one before. */
static void do_reuse(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	int pid = fork();
	pid_t again = pid;

	if (!pid)
		S(exit_group, 1);
	await(pid);
	args.set_tid = (uintptr_t)&again;
	args.set_tid_size = 1;
	pid = S(clone3, &args, sizeof(args));
	if (!pid) {
		PAUSE;
		S(getsid, 12345);
		S(exit_group, 2);
	}
	await(pid);
}

#ifdef __x86_64__
static long int80(long nr, long a, long b, long c, long d)
{
	long ret;

	asm volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static void do_compat(void)
{
	char *m = mmap((void *)0x20000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	long fd;

	strcpy(m, "/dev/null");
	strcpy(m + 100, "thirty-two bits");
	fd = int80(5, (long)m, O_RDWR, 0, 0);		     /* open */
	int80(4, fd, (long)m + 100, 15, 0);		     /* write */
	int80(3, fd, (long)m + 200, 100, 0);		     /* read */
	int80(195, (long)m, (long)m + 512, 0, 0);	     /* stat64 */
	int80(300, -100, (long)m, (long)m + 1024, 0);	     /* fstatat64 */
	int80(295, -100, (long)m + 100, O_CREAT | O_EXCL, 0600); /* openat */
	int80(10, (long)m + 100, 0, 0, 0);		     /* unlink */
	int80(221, fd, F_GETFL, 0, 0);			     /* fcntl64 */
	int80(140, fd, -1, -1, (long)m + 300);		     /* _llseek */
	int80(192, 0x30000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED); /* mmap2 */
	int80(6, fd, 0, 0, 0);				     /* close */
	int80(6, fd, 0, 0, 0);
	int80(20, 0, 0, 0, 0);				     /* getpid */
	int80(9999, 1, 2, 3, 4);
	S(getsid, 7);
}
#else
static void do_compat(void)
{
}
#endif

static void do_none(void)
{
	S(exit_group, 4);
}

static struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{"fork", do_fork},   {"vfork", do_vfork},     {"threads", do_threads}, {"exec", do_exec},     {"seccomp", do_seccomp}, {"signals", do_signals},
	{"kill", do_kill},   {"restart", do_restart}, {"reuse", do_reuse},     {"compat", do_compat}, {"none", do_none},
};

int main(int argc, char **argv)
{
	char c;

	for (int i = 0; argc == 2 && i < sizeof(modes) / sizeof(*modes); i++) {
		if (strcmp(argv[1], modes[i].name))
			continue;
		if (strcmp(argv[1], "none")) {
			puts("ready");
			fflush(stdout);
			read(0, &c, 1);
		}
		S(prctl, PR_SET_NAME, "marked");
		modes[i].run();
		S(prctl, PR_SET_NAME, "marked");
		return 0;
	}
	return 2;
}
