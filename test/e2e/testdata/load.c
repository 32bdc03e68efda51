/*
 * Threads that make calls as fast as they are told to: load THREADS BURSTS SIZE
 * PAUSE_US. Each closes descriptors that do not exist, counting up, so that a
 * missing line shows. Prints how long it took, in microseconds.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIRST 1000000

static long bursts, size, rest;

static void *work(void *arg)
{
	long n = FIRST;

	for (long b = 0; b < bursts; b++) {
		for (long i = 0; i < size; i++)
			syscall(SYS_close, n++);
		if (rest)
			usleep(rest);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct timespec a, b;
	pthread_t t[64];
	char c;
	int n;

	if (argc < 5 || (n = atoi(argv[1])) > 64)
		return 2;
	bursts = atol(argv[2]), size = atol(argv[3]), rest = atol(argv[4]);
	puts("ready");
	fflush(stdout);
	read(0, &c, 1);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, work, NULL);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%ld\n", (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
	return 0;
}
