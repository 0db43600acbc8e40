/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sock.h"

/* ---- in QEMU ---- */

#define LOAD(at)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(at))
#define FIELD(f)    offsetof(struct seccomp_data, f)
#define ARG(n)	    (FIELD(args) + 8ul * (n)) /* the lower half: flags are an int */
#define IS(v, y, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), (y), (n))

/* Have the kernel ask us about every open for reading and writing that QEMU's file_ram_open() could
 * make, and about no other call.  Returns the listener or -errno. */
static int listen_to_opens(void)
{
	struct sock_filter code[] = {
		/* 0 */ LOAD(FIELD(arch)),
		/* 1 */ IS(AUDIT_ARCH_X86_64, 0, 9),
		/* 2 */ LOAD(FIELD(nr)),
		/* 3 */ IS(SYS_openat, 3, 0),
		/* 4 */ IS(SYS_open, 0, 6),
		/* 5 */ LOAD(ARG(1)),
		/* 6 */ BPF_STMT(BPF_JMP | BPF_JA, 1),
		/* 7 */ LOAD(ARG(2)),
		/* 8 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE | O_CREAT | O_CLOEXEC),
		/* 9 */ IS(O_RDWR, 0, 1),
		/* 10 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		/* 11 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = MVM_ARRAY_SIZE(code), .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &program);
	return fd < 0 ? -errno : (int)fd;
}

/* Does Yama forbid every look into another process?  Then we cannot read which file QEMU opens. */
static bool may_nobody_look(void)
{
	char level = '0';
	AUTO_CLOSE int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &level, 1) == 1 && level == '3';
}

bool lend_is_possible(void)
{
	if (may_nobody_look())
		return false;
	/* a NULL filter: the kernel checks the flags before it reads the filter */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, NULL) ==
		    0 ||
	    errno != EFAULT)
		return false;
	if (prctl(PR_GET_SECCOMP) == 0)
		return true; /* no filter yet, so no other listener */
	pid_t pid = fork();
	if (pid == 0)
		_exit(listen_to_opens() < 0);
	int status = -1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

int lend_in_child(int report_fd)
{
	AUTO_CLOSE int fd = listen_to_opens();
	if (fd < 0)
		return 0;
	int r = sock_send_fd(report_fd, "", 1, fd);
	return r < 0 ? r : 1;
}

/* ---- the answers ---- */

int lend_open(struct lend *l, int dir_fd, const char *name, const char *path)
{
	int pair[2];
	if (strlen(path) >= sizeof(l->path))
		return -ENAMETOOLONG;
	l->file_fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (l->file_fd < 0)
		return -errno;
	int r = sock_pair(pair);
	if (r < 0)
		return r;
	l->ours = pair[0];
	l->theirs = pair[1];
	snprintf(l->path, sizeof(l->path), "%s", path);
	return 0;
}

/* Does the call open our path?  A path that we cannot read, or a longer one, is not ours. */
static bool is_ours(const struct lend *l, const struct seccomp_notif *asked)
{
	char text[LEND_PATH_MAX] = "";
	size_t len = strlen(l->path) + 1;
	uint64_t at = asked->data.args[asked->data.nr == SYS_openat];
	struct iovec to = { .iov_base = text, .iov_len = len };
	struct iovec from = { .iov_base = (void *)(uintptr_t)at, .iov_len = len };
	return process_vm_readv((pid_t)asked->pid, &to, 1, &from, 1, 0) == (ssize_t)len &&
	       memcmp(text, l->path, len) == 0;
}

static void answer(struct lend *l)
{
	struct seccomp_notif asked = { 0 };
	if (ioctl(l->listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
		return; /* the caller is gone, or was interrupted and will ask again */
	/* is_ours() may read another process if the pid is used again.  Then the kernel no longer
	 * knows the id, and refuses the answer */
	struct seccomp_notif_addfd ours = {
		.id = asked.id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (unsigned)l->file_fd,
		.newfd_flags = O_CLOEXEC,
	};
	if (is_ours(l, &asked) && ioctl(l->listener_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &ours) >= 0)
		return;
	struct seccomp_notif_resp untouched = {
		.id = asked.id,
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
	};
	ioctl(l->listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &untouched); /* fails if it is gone */
}

static void on_listener(void *arg, uint32_t events)
{
	struct lend *l = arg;
	if (events & EPOLLIN)
		answer(l);
	else /* the last process with the filter has ended */
		loop_source_free(TAKE_PTR(l->source));
}

int lend_watch(struct lend *l, struct loop *loop)
{
	int fd = sock_receive_fd(l->ours); /* the child sends it, if at all, before it execs */
	close(TAKE_FD(l->ours));
	close(TAKE_FD(l->theirs));
	if (fd < 0)
		return fd == -EAGAIN ? 0 : fd;
	l->listener_fd = fd;
	int r = loop_add_fd(loop, fd, EPOLLIN, on_listener, l, &l->source);
	return r < 0 ? r : 1;
}

void lend_done(struct lend *l)
{
	loop_source_free(l->source);
	auto_close(&l->file_fd);
	auto_close(&l->ours);
	auto_close(&l->theirs);
	auto_close(&l->listener_fd);
	*l = (struct lend)LEND_NONE;
}
