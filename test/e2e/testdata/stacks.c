/*
 * Calls from various depths: recursion, a callback from a library, a signal
 * handler, a thread. It says "ready", waits for a line, and goes on between two
 * marks. No frame pointers are kept, so the chains are in the tables alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))
#define HERE __asm__ volatile("" ::: "memory") /* no tail calls */

static KEEP void deep(int n)
{
	volatile char room[64 + 16];

	room[0] = n;
	if (n)
		deep(n - 1);
	else
		getppid();
	HERE;
	room[1] = room[0];
}

static KEEP int compare(const void *a, const void *b)
{
	getuid();
	HERE;
	return *(int *)a - *(int *)b;
}

static KEEP void handler(int sig)
{
	(void)sig;
	getgid();
	HERE;
}

static KEEP void sleeps(void)
{
	struct timespec t = {.tv_nsec = 30000000};

	nanosleep(&t, NULL);
	HERE;
}

static KEEP void *thread(void *arg)
{
	sleeps(); /* until the other waits for it */
	getegid();
	HERE;
	return arg;
}

static KEEP void files(void)
{
	char b[8];
	int fd = open("/proc/self/comm", O_RDONLY);

	if (read(fd, b, sizeof(b)) < 0)
		abort();
	close(fd);
	HERE;
}

int main(void)
{
	int list[] = {3, 1, 2};
	pthread_t t;
	char c;

	puts("ready");
	fflush(stdout);
	if (read(0, &c, 1) < 0)
		return 1;
	signal(SIGUSR1, handler);
	prctl(PR_SET_NAME, "marked");
	deep(0);
	deep(5);
	qsort(list, 3, sizeof(list[0]), compare);
	raise(SIGUSR1);
	files();
	sleeps();
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	prctl(PR_SET_NAME, "marked");
	return 0;
}
