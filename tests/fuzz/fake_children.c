/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "child.h"
#include "pipes.h"
#include "user.h"

#define FIRST_PID (1 << 22) /* no process has this pid or a higher one */

struct fake {
	struct fake *next;
	struct children *children;
	struct child *child;
	pid_t pid;
	int in, out;
	int status; /* as in wait(2), once the timer is armed */
	struct loop_source *input, *end;
};

static struct loop *loop;
static struct fake *list;
static pid_t next_pid = FIRST_PID;

int __wrap_child_spawn(struct children *c, const struct spawn_spec *spec, child_exit_fn fn,
		       void *arg, struct child *ret, struct mvm_error *err);
int __wrap_kill(pid_t pid, int sig);
int __wrap_user_find(const char *spec, struct user *ret, struct mvm_error *err);
int __wrap_stdio_terminal(uint16_t rows, uint16_t columns, struct stdio *ret);
int __wrap_stdio_pipes(bool with_stdin, struct stdio *ret);

static void release(struct fake *f)
{
	loop_source_free(f->input);
	loop_source_free(f->end);
	close(f->in);
	close(f->out);
	free(f);
}

/* Report the child's end, as children_reap() does. */
static void on_end(void *arg)
{
	struct fake *f = arg;
	struct fake **here = &list;
	struct child **at = &f->children->list;
	struct child *child = f->child;
	int status = f->status;
	pid_t pid = f->pid;

	while (*here != f)
		here = &(*here)->next;
	*here = f->next;
	while (*at && *at != child)
		at = &(*at)->next;
	release(f);
	if (!*at || child->pid != pid)
		return; /* the agent has forgotten the child */
	*at = child->next;
	child->pid = 0;
	child->on_exit(child->arg, status);
}

static void end_soon(struct fake *f, int status)
{
	f->status = status;
	loop_source_arm(f->end, 0);
}

static void on_input(void *arg, uint32_t events)
{
	struct fake *f = arg;
	char chunk[4096];
	ssize_t n = read(f->in, chunk, sizeof(chunk));
	(void)events;
	if (n > 0) {
		(void)!write(f->out, chunk, (size_t)n); /* bytes that do not fit are lost */
	} else if (n == 0 || errno != EAGAIN) {
		loop_source_free(f->input);
		f->input = NULL;
		end_soon(f, 0);
	}
}

int __wrap_child_spawn(struct children *c, const struct spawn_spec *spec, child_exit_fn fn,
		       void *arg, struct child *ret, struct mvm_error *err)
{
	struct fake *f = calloc(1, sizeof(*f));
	(void)err;
	if (!f)
		abort();
	*f = (struct fake){
		.next = list,
		.children = c,
		.child = ret,
		.pid = next_pid++,
		.in = fcntl(spec->fds[0], F_DUPFD_CLOEXEC, 0),
		.out = fcntl(spec->fds[1], F_DUPFD_CLOEXEC, 0),
	};
	if (f->in < 0 || f->out < 0 || loop_add_timer(loop, DEADLINE_NONE, on_end, f, &f->end) < 0)
		abort();
	list = f;
	*ret = (struct child){ .next = c->list, .pid = f->pid, .on_exit = fn, .arg = arg };
	c->list = ret;
	/* epoll refuses /dev/null, and cat would end at once anyway */
	if (strcmp(spec->argv[0], "cat") != 0 ||
	    loop_add_fd(loop, f->in, EPOLLIN, on_input, f, &f->input) < 0)
		end_soon(f, 1 << 8);
	return 0;
}

int __wrap_kill(pid_t pid, int sig)
{
	for (struct fake *f = list; f; f = f->next) {
		if (f->pid != pid && f->pid != -pid)
			continue;
		if (sig != 0 && sig != SIGCHLD && sig != SIGCONT && sig != SIGURG &&
		    sig != SIGWINCH && sig != SIGSTOP && sig != SIGTSTP && sig != SIGTTIN &&
		    sig != SIGTTOU)
			end_soon(f, sig);
		return 0;
	}
	errno = ESRCH; /* a fuzz target must not signal real processes */
	return -1;
}

/* Pipes that do not block, of the usual size: a larger one takes a system call more. */
int __wrap_stdio_pipes(bool with_stdin, struct stdio *ret)
{
	for (int i = 0; i < (with_stdin ? 3 : 2); i++) {
		int fds[2];
		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
			return -errno;
		*(i < 2 ? &ret->out[i] : &ret->in) = fds[i == 2];
		ret->theirs[i < 2 ? i + 1 : 0] = fds[i != 2];
	}
	return 0;
}

/* A socket pair: each read of a terminal waits for a thread of the kernel. */
int __wrap_stdio_terminal(uint16_t rows, uint16_t columns, struct stdio *ret)
{
	int pair[2];
	(void)rows;
	(void)columns;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	ret->out[0] = pair[0];
	ret->in = fcntl(pair[0], F_DUPFD_CLOEXEC, 3);
	ret->theirs[0] = pair[1];
	ret->theirs[1] = fcntl(pair[1], F_DUPFD_CLOEXEC, 3);
	ret->theirs[2] = fcntl(pair[1], F_DUPFD_CLOEXEC, 3);
	return ret->in < 0 || ret->theirs[1] < 0 || ret->theirs[2] < 0 ? -errno : 0;
}

/* The same user, whoever is named.  This system's files are no part of the input. */
int __wrap_user_find(const char *spec, struct user *ret, struct mvm_error *err)
{
	(void)spec;
	(void)err;
	*ret = (struct user){ .uid = getuid(), .gid = getgid(), .home = "/", .name = "user" };
	return 0;
}

void fake_children_begin(struct loop *l)
{
	loop = l;
	next_pid = FIRST_PID;
}

void fake_children_end(void)
{
	while (list) {
		struct fake *f = list;
		list = f->next;
		release(f);
	}
}
