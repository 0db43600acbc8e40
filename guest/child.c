/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

void children_reap(struct children *c)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child **at = &c->list;
		while (*at && (*at)->pid != pid)
			at = &(*at)->next;
		struct child *child = *at;
		if (!child)
			continue; /* an orphan that PID 1 inherited, or a forgotten child */
		*at = child->next;
		child->pid = 0;
		child->on_exit(child->arg, status);
	}
}

static void on_signal(void *arg, uint32_t events)
{
	struct children *c = arg;
	struct signalfd_siginfo info;
	(void)events;
	while (read(c->signal_fd, &info, sizeof(info)) > 0)
		; /* SIGCHLDs merge, so waitpid() tells which children ended */
	children_reap(c);
}

int children_watch(struct children *c, struct loop *loop)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN); /* cannot fail with valid arguments */

	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	loop_source_free(c->source);
	c->source = NULL;
	if (c->signal_fd >= 0)
		close(c->signal_fd); /* after a fork, epoll watches it for the parent */
	c->signal_fd = fd;
	int r = loop_add_fd(loop, fd, EPOLLIN, on_signal, c, &c->source);
	if (r < 0)
		return r;
	children_reap(c); /* children that ended before we listened */
	return 0;
}

void children_done(struct children *c)
{
	loop_source_free(c->source);
	if (c->signal_fd >= 0)
		close(c->signal_fd); /* only read from */
	*c = (struct children){ .signal_fd = -1 };
}

void child_forget(struct children *c, struct child *child)
{
	for (struct child **at = &c->list; *at; at = &(*at)->next) {
		if (*at == child) {
			*at = child->next;
			break;
		}
	}
	child->pid = 0;
}

void child_describe(int status, char ret[CHILD_STATUS_SIZE])
{
	if (WIFSIGNALED(status))
		snprintf(ret, CHILD_STATUS_SIZE, "signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(ret, CHILD_STATUS_SIZE, "exit status %d", WEXITSTATUS(status));
}

void child_reset_signals(void)
{
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* EINVAL for SIGKILL, SIGSTOP and the signals of libc */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Why a child could not execute its program. */
struct failure {
	enum { FAILED_SETUP = 1, FAILED_WORKDIR, FAILED_USER, FAILED_EXEC } step; /* 0: it could */
	int code;
};

static const char *env_path(char *const *env)
{
	for (; *env; env++) {
		if (str_starts(*env, "PATH="))
			return *env + strlen("PATH=");
	}
	return "";
}

int child_exec(char *const *argv, char *const *env)
{
	char path[PATH_MAX];
	int code = ENOENT;

	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, env);
		return errno;
	}
	for (const char *dir = env_path(env); *dir && *argv[0];) {
		size_t len = strcspn(dir, ":");
		int n = snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, argv[0]);
		if (len > 0 && n > 0 && (size_t)n < sizeof(path)) {
			execve(path, argv, env);
			if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
				return errno;
			if (errno == EACCES)
				code = EACCES;
		}
		dir += len + (dir[len] == ':');
	}
	return code;
}

/* Move the three descriptors to 0, 1 and 2, whatever numbers they have now. */
static int place_fds(const int fds[3])
{
	int moved[3];
	for (int i = 0; i < 3; i++) {
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (moved[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(moved[i], i) < 0)
			return -errno;
	}
	return 0;
}

/*
 * Give the streams to the command's user.  Otherwise the command could not open them again by name,
 * as /dev/stdout or /proc/self/fd/1.  /dev/null and a console stay root's, since others use them.
 */
static void give_streams(const struct spawn_spec *spec)
{
	struct stat st;
	if (spec->user->uid == 0)
		return; /* they are root's already */
	for (int fd = 0; fd < 3; fd++) {
		if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || spec->tty))
			(void)!fchown(fd, spec->user->uid, (gid_t)-1); /* EPERM: a test, not root */
	}
}

int child_become_user(const struct user *u)
{
	if (u->uid == geteuid() && geteuid() != 0)
		return 0; /* tests run without privileges */
	if (setgroups(u->n_groups, u->groups) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0)
		return -errno;
	return 0;
}

static struct failure run_child(const struct spawn_spec *spec)
{
	struct failure f = { .step = FAILED_SETUP };

	child_reset_signals();
	if (setsid() < 0) {
		f.code = errno;
		return f;
	}
	f.code = -place_fds(spec->fds);
	if (f.code == 0 && spec->tty && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		f.code = errno;
	if (f.code)
		return f;

	f.step = FAILED_USER;
	give_streams(spec);
	f.code = -child_become_user(spec->user);
	if (f.code)
		return f;

	f.step = FAILED_WORKDIR;
	if (chdir(spec->workdir ? spec->workdir : "/") < 0) {
		f.code = errno;
		return f;
	}
	if (spec->main) {
		/* close all others; the report pipe's end tells the parent that all went well */
		syscall(SYS_close_range, 3, ~0U, 0); /* before Linux 5.9 the parent waits */
		_exit(spec->main(spec->main_arg));
	}
	f.step = FAILED_EXEC;
	f.code = child_exec(spec->argv, spec->env);
	return f;
}

static struct clone_args clone_into(int cgroup)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	if (cgroup >= 0) {
		/* moving the process there afterwards would cost an RCU grace period */
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	return args;
}

/* Start a child with a copy of our memory.  Returns its pid once it runs, or has failed. */
static pid_t fork_child(const struct spawn_spec *spec, struct failure *ret)
{
	struct clone_args args = clone_into(spec->cgroup);
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int report_read = pipe_fds[0];
	AUTO_CLOSE int report_write = pipe_fds[1];

	pid_t pid = args.flags ? (pid_t)syscall(SYS_clone3, &args, sizeof(args)) : fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* move it above 2, since place_fds() replaces 0, 1 and 2 */
		int report = fcntl(report_write, F_DUPFD_CLOEXEC, 3);
		struct failure f = run_child(spec);
		(void)!write(report, &f, sizeof(f)); /* if this fails, the exit status tells */
		_exit(127);
	}
	close(TAKE_FD(report_write)); /* the child's copy must be the only one */

	/* The pipe closes on exec.  Until then the child makes only system calls. */
	ssize_t n;
	do
		n = read(report_read, ret, sizeof(*ret));
	while (n < 0 && errno == EINTR);
	return pid;
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
/*
 * Start a child as vfork(2) does, but in its cgroup: the child runs on our memory and our stack,
 * and we wait until it has executed its program or has ended.  Copying our page tables for a child
 * that drops them at once was a tenth of a clone's first command.
 *
 * libc has no function for this.  The system call must not be in a function that the child returns
 * from, since the child would overwrite the frame that we return to.
 */
static __attribute__((noinline)) pid_t launch_child(const struct spawn_spec *spec,
						    struct failure *ret)
{
	struct clone_args args = clone_into(spec->cgroup);
	args.flags |= CLONE_VM | CLONE_VFORK;
	long pid;
	__asm__ volatile("syscall"
			 : "=a"(pid)
			 : "a"(SYS_clone3), "D"(&args), "S"(sizeof(args))
			 : "rcx", "r11", "memory");
	if (pid == 0) {
		*ret = run_child(spec);
		_exit(127);
	}
	return (pid_t)pid;
}
#else
static pid_t launch_child(const struct spawn_spec *spec, struct failure *ret)
{
	return fork_child(spec, ret);
}
#endif

static int describe_failure(const struct spawn_spec *spec, const struct failure *f,
			    struct mvm_error *err)
{
	const char *reason = strerror(f->code);
	switch (f->step) {
	case FAILED_WORKDIR:
		return mvm_error_set(err, -f->code, "cannot change to '%s': %s", spec->workdir,
				     reason);
	case FAILED_USER:
		return mvm_error_set(err, -EPERM, "cannot become uid %u: %s",
				     (unsigned)spec->user->uid, reason);
	case FAILED_EXEC:
		return mvm_error_set(err, -f->code, "cannot execute '%s': %s", spec->argv[0],
				     reason);
	default:
		return mvm_error_set(err, -EIO, "cannot start '%s': %s", spec->argv[0], reason);
	}
}

int child_spawn(struct children *c, const struct spawn_spec *spec, child_exit_fn fn, void *arg,
		struct child *ret, struct mvm_error *err)
{
	struct failure f = { 0 };
	pid_t pid = spec->main ? fork_child(spec, &f) : launch_child(spec, &f);
	if (pid < 0)
		return mvm_error_set(err, pid, "cannot start a process: %s", strerror(-pid));
	if (f.step) {
		waitpid(pid, NULL, 0); /* short: the child is in _exit() */
		return describe_failure(spec, &f, err);
	}
	*ret = (struct child){ .next = c->list, .pid = pid, .on_exit = fn, .arg = arg };
	c->list = ret;
	return 0;
}
