/* SPDX-License-Identifier: Apache-2.0 */
/* What attack.c tries: processes, and system calls that are refused with any arguments. */
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "attack.h"

#define X32	0x40000000L /* the bit of the x32 system calls */
#define THREADS 1000

#pragma GCC diagnostic ignored "-Wconversion"

/* A supervisor has no environment any more when it is attacked. */
static struct target {
	const char *name;
	char *value;
} targets[] = {
	{ "ATTACK_HOME", NULL },     { "ATTACK_MEMORY", NULL }, { "ATTACK_SOCKET", NULL },
	{ "ATTACK_ABSTRACT", NULL }, { "ATTACK_PORT", NULL },	{ "ATTACK_PID", NULL },
	{ "ATTACK_ANSWER", NULL },
};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))

void attack_prepare(void)
{
	for (size_t i = 0; i < TARGETS; i++) {
		const char *value = getenv(targets[i].name);
		targets[i].value = value ? strdup(value) : NULL;
	}
}

const char *attack_target(const char *name)
{
	for (size_t i = 0; i < TARGETS; i++) {
		if (strcmp(targets[i].name, name) == 0 && targets[i].value)
			return targets[i].value;
	}
	return "/nowhere";
}

static pid_t victim(void)
{
	return atoi(attack_target("ATTACK_PID"));
}

/* ---- processes ---- */

static void *sleep_on(void *arg)
{
	sleep(1000);
	return arg;
}

static bool thread_bomb(void)
{
	int n = 0;
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	while (n < THREADS && pthread_create(&thread, &attr, sleep_on, NULL) == 0)
		n++;
	return n == THREADS;
}

static bool forks(long pid)
{
	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool fork_it(void)
{
	return forks(syscall(SYS_fork));
}
static bool clone_it(void)
{
	return forks(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}
static bool clone_into_user(void)
{
	return forks(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0));
}

static bool signal_by_descriptor(void)
{
	const struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = victim() };
	int fds[2];
	return pipe2(fds, O_CLOEXEC) == 0 && fcntl(fds[0], F_SETOWN_EX, &owner) == 0;
}

static bool read_victim(void)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)0x400000, 1 };
	return process_vm_readv(victim(), &to, 1, &from, 1, 0) == 1 || errno == EFAULT;
}

/* ---- system calls that are refused with any arguments ---- */

#define CALL(name, ...)                                                                            \
	{                                                                                          \
#name, NULL, SYS_##name,                                                           \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

const struct attempt attack_calls[] = {
	{ "fork", fork_it, 0, { 0 } },
	{ "clone", clone_it, 0, { 0 } },
	{ "clone into a user namespace", clone_into_user, 0, { 0 } },
	{ "signal by a descriptor", signal_by_descriptor, 0, { 0 } },
	{ "read another process", read_victim, 0, { 0 } },
	{ "socket of netlink", NULL, SYS_socket, { AF_NETLINK, SOCK_RAW } },
	{ "socket of packets", NULL, SYS_socket, { AF_PACKET, SOCK_DGRAM } },
	{ "raw socket", NULL, SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP } },
	{ "socket of vsock", NULL, SYS_socket, { AF_VSOCK, SOCK_STREAM } },
	{ "socket of the kernel's ciphers", NULL, SYS_socket, { AF_ALG, SOCK_SEQPACKET } },
	{ "outlive its parent", NULL, SYS_prctl, { PR_SET_PDEATHSIG, 0 } },
	{ "name a tracer", NULL, SYS_prctl, { PR_SET_PTRACER, -1 } },
	{ "push into a terminal", NULL, SYS_ioctl, { 0, TIOCSTI } },
	{ "own a descriptor's signals", NULL, SYS_ioctl, { 3, FIOSETOWN } },
	{ "be dumpable", NULL, SYS_prctl, { PR_SET_DUMPABLE, 1 } },
	{ "keep capabilities", NULL, SYS_prctl, { PR_SET_KEEPCAPS, 1 } },
	{ "raise a capability",
	  NULL,
	  SYS_prctl,
	  { PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN } },
	{ "call as x32", NULL, X32 | SYS_getpid, { 0 } },
	{ "signal all", NULL, SYS_kill, { -1, 0 } },
	{ "clone3", NULL, SYS_clone3, { 0, 0 } },
	CALL(kill, 0), /* its group */
	CALL(tkill, 1),
	CALL(rt_sigqueueinfo, 1),
	CALL(pidfd_open, 1),
	CALL(pidfd_send_signal, 0),
	CALL(pidfd_getfd, 0),
	CALL(rt_tgsigqueueinfo, 1, 1),
	CALL(process_mrelease, 0),
	CALL(move_pages, 1),
	CALL(migrate_pages, 1),
	CALL(sched_setattr, 0),
	CALL(prlimit64, 1, RLIMIT_NOFILE),
	CALL(ptrace, PTRACE_SEIZE, -1),
	CALL(process_vm_writev, 1),
	CALL(process_madvise, 0),
	CALL(kcmp, 1, 1),
	CALL(sched_setaffinity, 0),
	CALL(sched_setscheduler, 0),
	CALL(setpriority, 0),
	CALL(ioprio_set, 1),
	CALL(setrlimit, RLIMIT_NOFILE),
	CALL(unshare, CLONE_NEWUSER),
	CALL(unshare, CLONE_NEWNET),
	CALL(setns, 0),
	CALL(mount, 0),
	CALL(umount2, 0),
	CALL(pivot_root, 0),
	CALL(chroot, 0),
	CALL(open_tree, 0),
	CALL(fsopen, 0),
	CALL(mount_setattr, 0),
	CALL(name_to_handle_at, 0),
	CALL(fchdir, 0),
	CALL(unlinkat, 0),
	CALL(mknodat, 0),
	CALL(open_by_handle_at, 0),
	CALL(setuid, 0),
	CALL(setresuid, 0),
	CALL(setgroups, 0),
	CALL(capset, 0),
	CALL(setsid, 0),
	CALL(personality, 0),
	CALL(io_uring_setup, 1),
	CALL(io_setup, 1),
	CALL(userfaultfd, 1),
	CALL(keyctl, 0),
	CALL(add_key, 0),
	CALL(request_key, 0),
	CALL(bpf, 0),
	CALL(perf_event_open, 0),
	CALL(memfd_create, 0),
	CALL(memfd_secret, 0),
	CALL(munlockall),
	CALL(shmget, 0, 4096, 0600),
	CALL(msgget, 0, 0600),
	CALL(semget, 0, 1, 0600),
	CALL(mq_open, 0),
	CALL(inotify_init1, 0),
	CALL(fanotify_init, 0),
	CALL(quotactl, 0),
	CALL(syslog, 0),
	CALL(swapon, 0),
	CALL(reboot, 0),
	CALL(kexec_load, 0),
	CALL(init_module, 0),
	CALL(finit_module, -1),
	CALL(clock_settime, 0),
	CALL(settimeofday, 0),
	CALL(adjtimex, 0),
	CALL(sethostname, 0),
	CALL(iopl, 0),
	CALL(ioperm, 0),
	CALL(modify_ldt, 0),
	CALL(acct, 0),
	CALL(vhangup, 0),
	CALL(setxattr, 0),
	CALL(execveat, -1),
	CALL(vmsplice, -1),
	CALL(splice, -1),
	{ "start a thousand threads", thread_bomb, 0, { 0 } },
};

const size_t n_attack_calls = sizeof(attack_calls) / sizeof(attack_calls[0]);
