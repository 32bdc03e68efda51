/* native blocks in read(2) at a known depth, for tests that unwind it. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fds[2];
int sink;

__attribute__((noinline)) int blocker(const char *name)
{
	char c = 0;
#ifdef TELL_FRAME
	printf("thread %s %ld %#lx\n", name, syscall(SYS_gettid), (unsigned long)__builtin_frame_address(0));
#else
	printf("thread %s %ld\n", name, syscall(SYS_gettid));
#endif
	fflush(stdout);
	sink += read(fds[0], &c, 1);
	return c + sink;
}
__attribute__((noinline)) int middle(const char *name) { char pad[300]; memset(pad, 1, sizeof pad); return blocker(name) + pad[sink & 255]; }
__attribute__((noinline)) int outer(const char *name) { return middle(name) + 1; }
static int compare(const void *a, const void *b) { (void)a; (void)b; return outer("qsort") + sink; }
static void *sorter(void *arg)
{
	int list[2] = {2, 1};
	(void)arg;
	qsort(list, 2, sizeof list[0], compare);
	return NULL;
}
static void handler(int sig) { (void)sig; sink += outer("signal"); }
__attribute__((noinline)) static int raiser(void) { return raise(SIGUSR1) + sink; }
static void *signalled(void *arg) { (void)arg; sink += raiser(); return NULL; }

static void *teller(void *arg)
{
	(void)arg;
	usleep(300000);
	printf("dump\nready\n");
	fflush(stdout);
	return NULL;
}

int main(void)
{
	pthread_t t;
	struct sigaction sa = {0};
	if (pipe(fds))
		return 1;
	sa.sa_handler = handler;
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&t, NULL, sorter, NULL);
	pthread_create(&t, NULL, signalled, NULL);
	pthread_create(&t, NULL, teller, NULL);
	return outer("main") + sink;
}
