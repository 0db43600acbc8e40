/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/wait.h"

extern char **environ;

/* The child's data, allocated before fork so that the child only makes system calls. */
struct child_plan {
	const struct process_spec *spec;
	char *path;
	int report_fd;
	pid_t parent;
	int *moved; /* scratch for the descriptors, n_fds + 3 */
};

static void reset_signals(void)
{
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* EINVAL for SIGKILL, SIGSTOP and libc's own */
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Put the descriptors at 0, 1, 2, 3, ... : first move all out of the way, then each into place. */
static int place_fds(struct child_plan *plan)
{
	const struct process_spec *spec = plan->spec;
	int n = (int)spec->n_fds + 3, above = n;
	int std[3] = { spec->stdin_fd, spec->stdout_fd, spec->stderr_fd };

	plan->report_fd = fcntl(plan->report_fd, F_DUPFD_CLOEXEC, above + n);
	if (plan->report_fd < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		int from = i < 3 ? std[i] : spec->fds[i - 3];
		if (i < 3 && from < 0)
			from = open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
		plan->moved[i] = -1;
		if (from < 0 && i < 3)
			return -errno;
		if (from < 0)
			continue;
		plan->moved[i] = fcntl(from, F_DUPFD_CLOEXEC, above);
		if (plan->moved[i] < 0)
			return -errno;
	}
	for (int i = 0; i < n; i++) {
		if (plan->moved[i] < 0)
			close(i); /* an inherited descriptor, if any */
		else if (dup2(plan->moved[i], i) < 0)
			return -errno;
	}
	/* the rest closes at exec; the report pipe must stay until then */
	if (syscall(SYS_close_range, (unsigned)n, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) < 0)
		return -errno;
	return 0;
}

/* Has the parent died?  In a PID namespace of its own the child cannot see the parent's pid.  But
 * only the parent reads reports. */
static bool is_orphan(const struct child_plan *plan)
{
	struct pollfd pfd = { .fd = plan->report_fd };
	pid_t parent = getppid();
	if (parent != 0)
		return parent != plan->parent;
	return poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLERR);
}

static int become_child(struct child_plan *plan)
{
	const struct process_spec *spec = plan->spec;
	int r = spec->in_child ? spec->in_child(spec->in_child_arg) : 0;
	if (r < 0)
		return r;
	if (spec->flags & PROCESS_DIE_WITH_PARENT) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			return -errno;
		if (is_orphan(plan))
			return -ESRCH; /* the parent died before the prctl() */
	}
	if (spec->flags & PROCESS_DETACH) {
		if (setsid() < 0)
			return -errno;
		pid_t pid = fork(); /* the program's parent ends at once, so init reaps it */
		if (pid != 0)
			return pid < 0 ? -errno : 0;
	}
	if (spec->flags & PROCESS_NO_HUGE_PAGES)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* fails on a kernel without them */
	reset_signals();
	if (spec->cwd_fd != AT_FDCWD && fchdir(spec->cwd_fd) < 0)
		return -errno;
	r = place_fds(plan);
	if (r == 0 && spec->before_exec)
		r = spec->before_exec(spec->in_child_arg);
	if (r < 0)
		return r;
	execve(plan->path, spec->argv, spec->env ? spec->env : environ);
	return -errno;
}

/* A folder may be "executable" too. */
static bool is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int process_find(const char *name, char **ret_path)
{
	if (strchr(name, '/')) {
		if (access(name, X_OK) < 0)
			return -errno;
		char *copy = strdup(name);
		if (!copy)
			return -ENOMEM;
		*ret_path = copy;
		return 0;
	}
	const char *path = getenv("PATH");
	if (!path)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path) {
		size_t len = strcspn(path, ":");
		AUTO_FREE char *candidate = str_printf("%.*s/%s", (int)len, path, name);
		if (!candidate)
			return -ENOMEM;
		if (len && is_program(candidate)) {
			*ret_path = TAKE_PTR(candidate);
			return 0;
		}
		path += len + (path[len] == ':');
	}
	return -ENOENT;
}

/* The child reports only failure; exec closes the pipe. */
static int read_report(int fd)
{
	int code = 0;
	ssize_t n;
	do
		n = read(fd, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(code) ? code : 0;
}

int process_spawn(const struct process_spec *spec, struct process *ret)
{
	AUTO_FREE char *path = NULL;
	int r = process_find(spec->argv[0], &path);
	if (r < 0)
		return r;
	assert(path);

	AUTO_FREE int *moved = calloc(spec->n_fds + 3, sizeof(*moved));
	int pipe_fds[2];
	if (!moved)
		return -ENOMEM;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int report_read = pipe_fds[0];
	AUTO_CLOSE int report_write = pipe_fds[1];

	struct child_plan plan = {
		.spec = spec,
		.path = path,
		.report_fd = report_write,
		.parent = getpid(),
		.moved = moved,
	};
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(report_read); /* an open copy would hide the end of the parent */
		int code = become_child(&plan);
		if (code < 0)
			(void)!write(plan.report_fd, &code, sizeof(code));
		_exit(code < 0 ? 127 : 0);
	}
	close(TAKE_FD(report_write));

	struct process p = { .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0) };
	r = p.pidfd < 0 ? -errno : read_report(report_read);
	if (r < 0) {
		process_kill(&p);
		return r;
	}
	if (spec->flags & PROCESS_DETACH)
		process_kill(&p); /* the process in between, which has ended already */
	*ret = p;
	return 0;
}

int process_fork(struct process *ret)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		*ret = (struct process){ 0 };
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		return 0;
	}
	if (pid < 0)
		return -errno;
	struct process p = { .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0) };
	if (p.pidfd < 0) {
		int r = -errno;
		process_kill(&p);
		return r;
	}
	*ret = p;
	return 0;
}

int process_wait(struct process *p, int64_t deadline_ns, int *ret_status)
{
	int status = 0;
	int r = wait_readable(p->pidfd, -1, deadline_ns);
	if (r < 0)
		return r;
	while (waitpid(p->pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	close(p->pidfd);
	*p = (struct process){ 0 };
	if (ret_status)
		*ret_status = status;
	return 0;
}

void process_kill(struct process *p)
{
	if (p->pid <= 0)
		return;
	kill(p->pid, SIGKILL); /* our child, not reaped: nobody else can have its pid */
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (p->pidfd >= 0)
		close(p->pidfd);
	*p = (struct process){ 0 };
}
