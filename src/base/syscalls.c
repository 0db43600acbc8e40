/* SPDX-License-Identifier: Apache-2.0 */
#include "base/syscalls.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* ---- calls that depend on their arguments ---- */

#define ANY_BIT	  0xffffffffu
#define LOW(n)	  (2 * (n)) /* an argument's two halves, as numbers of 32-bit words */
#define HIGH(n)	  (2 * (n) + 1)
#define KVM_TYPE  0xae00u /* the type in an ioctl's number: <linux/kvm.h>, KVMIO */
#define TYPE	  0xff00u
#define SOCK_TYPE 0xfu

#define PR_SET_VMA_NUMBER 0x53564d41u /* names of memory areas; newer than our headers */

/* the flags of all namespaces, and others that no thread needs */
#define CLONE_CHECKED                                                                              \
	(CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |              \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE)

/* One word of the arguments, masked, must be one of these values. */
struct check {
	uint8_t word;
	uint32_t mask;
	const uint32_t *values;
	uint8_t n;
};

/* A call that is allowed if all its checks hold. */
struct rule {
	uint16_t nr, refusal;
	struct check checks[3];
	uint8_t n;
};

#define VALUES(...) (const uint32_t[]){ __VA_ARGS__ }, MVM_ARRAY_SIZE(((uint32_t[]){ __VA_ARGS__ }))

static const struct rule rules[] = {
	{ SYS_clone, EPERM, { { LOW(0), CLONE_CHECKED, VALUES(CLONE_THREAD) } }, 1 },
	/* not F_SETOWN, F_SETSIG and F_SETLEASE, which send signals; no locks, which others heed */
	{ SYS_fcntl,
	  EPERM,
	  { { LOW(1), ANY_BIT,
	      VALUES(F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK,
		     F_OFD_GETLK) } },
	  1 },
	{ SYS_ioctl,
	  ENOTTY,
	  { { LOW(1), ANY_BIT,
	      VALUES(TCGETS, TIOCGWINSZ, FIONBIO, FIONREAD, FIGETBSZ, BLKGETSIZE64, BLKSSZGET,
		     BLKPBSZGET, BLKROGET, BLKIOMIN, BLKIOOPT, BLKDISCARD, BLKZEROOUT) } },
	  1 },
	/* not PR_SET_PDEATHSIG and PR_SET_PTRACER */
	{ SYS_prctl,
	  EPERM,
	  { { LOW(0), ANY_BIT,
	      VALUES(PR_SET_NAME, PR_GET_NAME, PR_SET_SECCOMP, PR_GET_SECCOMP, PR_SET_NO_NEW_PRIVS,
		     PR_GET_NO_NEW_PRIVS, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_CAPBSET_READ,
		     PR_GET_DUMPABLE, PR_MCE_KILL, PR_SET_VMA_NUMBER) } },
	  1 },
	/* only the process's own limits, and only to read them */
	{ SYS_prlimit64,
	  EPERM,
	  { { LOW(0), ANY_BIT, VALUES(0) },
	    { LOW(2), ANY_BIT, VALUES(0) },
	    { HIGH(2), ANY_BIT, VALUES(0) } },
	  3 },
};

static const struct rule kvm_rule = {
	SYS_ioctl, ENOTTY, { { LOW(1), TYPE, VALUES(KVM_TYPE) } }, 1
};

static const struct rule socket_rule = {
	SYS_socket,
	EAFNOSUPPORT,
	{ { LOW(0), ANY_BIT, VALUES(AF_INET, AF_INET6) },
	  { LOW(1), SOCK_TYPE, VALUES(SOCK_STREAM, SOCK_DGRAM) },
	  /* the kernel has many more, and loads modules for them */
	  { LOW(2), ANY_BIT, VALUES(0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6) } },
	3,
};

/* O_TMPFILE makes a file only together with a mode that writes. */
static const struct rule read_rule = {
	SYS_openat, EACCES, { { LOW(2), O_ACCMODE | O_CREAT | O_TRUNC, VALUES(O_RDONLY) } }, 1
};

static const uint16_t network_calls[] = { SYS_socket, SYS_bind,	  SYS_connect,
					  SYS_listen, SYS_accept, SYS_accept4 };

/* ---- the filter ---- */

#define FIELD(f)    offsetof(struct seccomp_data, f)
#define LOAD(at)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(at))
#define IS(v, y, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), (uint8_t)(y), (uint8_t)(n))
#define RETURN(v)   BPF_STMT(BPF_RET | BPF_K, (v))
#define REFUSE(e)   RETURN(SECCOMP_RET_ERRNO | (e))

struct code {
	struct sock_filter *at;
	size_t n;
};

static void put(struct code *c, struct sock_filter f)
{
	assert(c->n < SYSCALLS_FILTER_MAX);
	c->at[c->n++] = f;
}

/* Refuse the call unless the check holds. */
static void put_check(struct code *c, const struct check *check, struct sock_filter refusal)
{
	put(c, (struct sock_filter)LOAD(FIELD(args) + 4ul * check->word));
	if (check->mask != ANY_BIT)
		put(c, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, check->mask));
	for (uint8_t i = 0; i < check->n; i++)
		put(c, (struct sock_filter)IS(check->values[i], check->n - i, 0));
	put(c, refusal);
}

/* Needs the call's number loaded, and leaves it loaded for the next rule. */
static void put_rule(struct code *c, const struct rule *rule)
{
	size_t start = c->n;
	put(c, (struct sock_filter)IS(rule->nr, 0, 0));
	for (uint8_t i = 0; i < rule->n; i++)
		put_check(c, &rule->checks[i], (struct sock_filter)REFUSE(rule->refusal));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
	c->at[start].jf = (uint8_t)(c->n - start - 1);
}

/* Allow all of KVM's ioctls, which are very many.  The ordinary rule checks the others. */
static void put_kvm(struct code *c)
{
	const struct check *check = &kvm_rule.checks[0];
	put(c, (struct sock_filter)IS(kvm_rule.nr, 0, 5));
	put(c, (struct sock_filter)LOAD(FIELD(args) + 4ul * check->word));
	put(c, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, check->mask));
	put(c, (struct sock_filter)IS(check->values[0], 0, 1));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
	put(c, (struct sock_filter)LOAD(FIELD(nr)));
}

/* Refuse options that give the kernel a program to run or a socket another protocol, and all of
 * UDP's, which nothing here needs: UDP_ENCAP puts tunnels behind a socket, IPsec's for one.  All
 * others are allowed: they are many, and their numbers mean something else on each level. */
static void put_options(struct code *c)
{
	static const uint32_t programs[] = { SO_ATTACH_FILTER, SO_ATTACH_BPF,
					     SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF };
	const size_t n = MVM_ARRAY_SIZE(programs);
	put(c, (struct sock_filter)IS(SYS_setsockopt, 0, n + 11));
	put(c, (struct sock_filter)LOAD(FIELD(args[1])));
	put(c, (struct sock_filter)IS(SOL_SOCKET, 3, 0));
	put(c, (struct sock_filter)IS(IPPROTO_UDP, n + 6, 0));
	put(c, (struct sock_filter)IS(IPPROTO_TCP, n + 3, 0));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
	put(c, (struct sock_filter)LOAD(FIELD(args[2])));
	for (size_t i = 0; i < n; i++)
		put(c, (struct sock_filter)IS(programs[i], n + 2 - i, 0));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
	put(c, (struct sock_filter)LOAD(FIELD(args[2])));
	put(c, (struct sock_filter)IS(TCP_ULP, 0, 1));
	put(c, (struct sock_filter)REFUSE(ENOPROTOOPT));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
}

static bool is_among(uint16_t nr, const uint16_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i] == nr)
			return true;
	}
	return false;
}

static bool has_rule(uint16_t nr)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(rules); i++) {
		if (rules[i].nr == nr)
			return true;
	}
	return nr == SYS_socket || nr == SYS_tgkill;
}

/* Allow these calls with any arguments.  The jumps are filled in once all calls are counted. */
static void put_list(struct code *c, const uint16_t *allowed, size_t n, unsigned flags)
{
	size_t start = c->n;
	assert(n <= SYSCALLS_LIST_MAX);
	for (size_t i = 0; i < n; i++) {
		bool network = is_among(allowed[i], network_calls, MVM_ARRAY_SIZE(network_calls));
		bool accepts = allowed[i] == SYS_accept4 && (flags & SYSCALLS_ACCEPT);
		if (!has_rule(allowed[i]) && (!network || accepts || (flags & SYSCALLS_NETWORK)))
			put(c, (struct sock_filter)IS(allowed[i], 0, 0));
	}
	for (size_t i = start; i < c->n; i++)
		c->at[i].jt = (uint8_t)(c->n - i);
	put(c, (struct sock_filter)REFUSE(ENOSYS));
	put(c, (struct sock_filter)RETURN(SECCOMP_RET_ALLOW));
}

size_t syscalls_filter(const uint16_t *allowed, size_t n, unsigned flags, uint32_t self,
		       struct sock_filter ret[SYSCALLS_FILTER_MAX])
{
	struct code c = { .at = ret };
	const struct rule to_itself = { SYS_tgkill, EPERM, { { LOW(0), ANY_BIT, &self, 1 } }, 1 };
	put(&c, (struct sock_filter)LOAD(FIELD(arch)));
	put(&c, (struct sock_filter)IS(AUDIT_ARCH_X86_64, 1, 0));
	put(&c, (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS));
	put(&c, (struct sock_filter)LOAD(FIELD(nr)));
	if (flags & SYSCALLS_KVM)
		put_kvm(&c);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(rules); i++) {
		if (is_among(rules[i].nr, allowed, n))
			put_rule(&c, &rules[i]);
	}
	if (flags & SYSCALLS_NETWORK)
		put_rule(&c, &socket_rule);
	if (flags & SYSCALLS_READ_ONLY)
		put_rule(&c, &read_rule);
	if (is_among(SYS_setsockopt, allowed, n))
		put_options(&c);
	put_rule(&c, &to_itself);
	put_list(&c, allowed, n, flags);
	return c.n;
}

int syscalls_enter(const uint16_t *allowed, size_t n, unsigned flags)
{
	struct sock_filter code[SYSCALLS_FILTER_MAX];
	struct sock_fprog program = { .filter = code };
	program.len = (unsigned short)syscalls_filter(allowed, n, flags, (uint32_t)getpid(), code);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}
