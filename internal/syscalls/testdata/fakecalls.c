/*
 * fakecalls SCRIPT: makes system calls that the kernel does not carry out.
 *
 * A seccomp listener answers every call of the script with the return value
 * given there, after writing the memory that the call is to have filled in. So
 * any call with any arguments can be shown to strace without harm, and its
 * line compared with ours for the same registers and memory.
 *
 * A script line: ARCH NR A0 A1 A2 A3 A4 A5 RET [<ADDR=HEX]... [>ADDR=HEX]...
 * ARCH is 64 or 32; < is memory at entry, > at exit, within the arena.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARENA 0x20000000UL
#define ARENA_SIZE 0x100000UL

struct poke {
	unsigned long addr;
	unsigned char *bytes;
	size_t len;
};

struct call {
	int bits;
	long nr;
	unsigned long a[6];
	long ret;
	struct poke in[16], out[16];
	int nin, nout;
};

static struct call *calls;
static int ncalls;
static volatile int *listener;

long fake64(long nr, unsigned long *a);
long fake32(long nr, unsigned long *a);
extern char fake64_after[], fake32_after[];

asm(".globl fake64, fake64_after\n"
    "fake64:\n"
    "	mov %rdi, %rax\n"
    "	mov %rsi, %r11\n"
    "	mov 0(%r11), %rdi\n"
    "	mov 8(%r11), %rsi\n"
    "	mov 16(%r11), %rdx\n"
    "	mov 24(%r11), %r10\n"
    "	mov 32(%r11), %r8\n"
    "	mov 40(%r11), %r9\n"
    "	syscall\n"
    "fake64_after:\n"
    "	ret\n"
    ".globl fake32, fake32_after\n"
    "fake32:\n"
    "	push %rbx\n"
    "	push %rbp\n"
    "	push %r12\n"
    "	mov %edi, %eax\n"
    "	mov %rsi, %r11\n"
    "	mov 0(%r11), %ebx\n"
    "	mov 8(%r11), %ecx\n"
    "	mov 16(%r11), %edx\n"
    "	mov 24(%r11), %esi\n"
    "	mov 32(%r11), %edi\n"
    "	mov 40(%r11), %ebp\n"
    "	int $0x80\n"
    "fake32_after:\n"
    "	pop %r12\n"
    "	pop %rbp\n"
    "	pop %rbx\n"
    "	ret\n");

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void parse_poke(struct poke *p, char *s)
{
	char *hex;

	p->addr = strtoul(s, &hex, 0);
	if (*hex++ != '=')
		die(s);
	p->len = strlen(hex) / 2;
	p->bytes = malloc(p->len + 1);
	for (size_t i = 0; i < p->len; i++)
		sscanf(hex + 2 * i, "%2hhx", &p->bytes[i]);
	if (p->addr < ARENA || p->addr + p->len > ARENA + ARENA_SIZE)
		die("address outside the arena");
}

static void parse(const char *path)
{
	static char line[1 << 20];
	FILE *f = fopen(path, "r");

	if (!f)
		die(path);
	calls = calloc(200000, sizeof(*calls));
	while (fgets(line, sizeof(line), f)) {
		struct call *c = &calls[ncalls];
		char *w = strtok(line, " \n");

		if (!w)
			continue;
		c->bits = atoi(w);
		c->nr = strtol(strtok(NULL, " \n"), NULL, 0);
		for (int i = 0; i < 6; i++)
			c->a[i] = strtoul(strtok(NULL, " \n"), NULL, 0);
		c->ret = strtol(strtok(NULL, " \n"), NULL, 0);
		while ((w = strtok(NULL, " \n"))) {
			if (*w == '<')
				parse_poke(&c->in[c->nin++], w + 1);
			else
				parse_poke(&c->out[c->nout++], w + 1);
		}
		ncalls++;
	}
	fclose(f);
}

static void poke(struct poke *p, int n)
{
	for (int i = 0; i < n; i++)
		memcpy((void *)p[i].addr, p[i].bytes, p[i].len);
}

static int answer(void *arg)
{
	while (*listener < 0)
		sched_yield();
	for (int i = 0; i < ncalls; i++) {
		struct seccomp_notif req;
		struct seccomp_notif_resp resp;

		memset(&req, 0, sizeof(req));
		if (ioctl(*listener, SECCOMP_IOCTL_NOTIF_RECV, &req))
			return 1;
		poke(calls[i].out, calls[i].nout);
		memset(&resp, 0, sizeof(resp));
		resp.id = req.id;
		if (calls[i].ret < 0 && calls[i].ret >= -4095)
			resp.error = calls[i].ret;
		else
			resp.val = calls[i].ret;
		if (ioctl(*listener, SECCOMP_IOCTL_NOTIF_SEND, &resp))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(unsigned long)fake64_after, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(unsigned long)fake32_after, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(filter) / sizeof(*filter), filter };
	char *stack;

	if (argc != 2)
		return 2;
	parse(argv[1]);
	if (mmap((void *)ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("mmap");
	listener = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	stack = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*listener = -1;
	if (clone(answer, stack + (1 << 16), CLONE_FILES | SIGCHLD, NULL) < 0)
		die("clone");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	if (fd < 0)
		die("seccomp");
	*listener = fd;
	if (write(-1, "BEGIN", 5) > 0)
		return 1;
	for (int i = 0; i < ncalls; i++) {
		struct call *c = &calls[i];

		memset((void *)ARENA, 0, 0x20000);
		poke(c->in, c->nin);
		if (c->bits == 32)
			fake32(c->nr, c->a);
		else
			fake64(c->nr, c->a);
	}
	_exit(write(-1, "END", 3) > 0);
}
