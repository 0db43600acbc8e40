/* SPDX-License-Identifier: Apache-2.0 */
#include "follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest_command.h"
#include "options.h"

/* A pipe without a reader shows it by an error that poll(2) and epoll(7) report unasked.  A quiet
 * guest writes nothing, so no write would tell. */
static bool output_has_gone(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

void follow_begin(struct follow *f)
{
	struct epoll_event signals = { .events = EPOLLIN }, output = { .events = 0 };

	f->signals = guest_signals_block(false);
	f->cancel_fd = epoll_create1(EPOLL_CLOEXEC);
	if (f->cancel_fd < 0) {
		guest_signals_unblock(); /* they act as usual */
		return;
	}
	epoll_ctl(f->cancel_fd, EPOLL_CTL_ADD, f->signals, &signals);	/* -1 if it has none */
	epoll_ctl(f->cancel_fd, EPOLL_CTL_ADD, STDOUT_FILENO, &output); /* files refuse */
}

void follow_done(struct follow *f)
{
	if (f->signals >= 0)
		close(f->signals);
	if (f->cancel_fd >= 0)
		close(f->cancel_fd);
	*f = (struct follow)FOLLOW_NONE;
}

int follow_open(struct cli_context *c, const struct args *a, struct mvm **ret,
		struct follow *ret_follow)
{
	int r = mvm_open(c->data_dir, ret, &c->err);
	if (r == 0 && args_flag(a, "follow"))
		follow_begin(ret_follow);
	return r;
}

int follow_ended_by(struct follow *f)
{
	int number = guest_signals_take(f->signals);
	if (number == 0 && f->cancel_fd >= 0 && output_has_gone())
		number = SIGPIPE;
	return number;
}

static void mask_sigpipe(int how)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(how, &set, NULL); /* the set is valid */
}

void output_guard(void)
{
	mask_sigpipe(SIG_BLOCK);
}

int output_gone(struct cli_context *c)
{
	raise(SIGPIPE); /* a guard holds it back */
	mask_sigpipe(SIG_UNBLOCK);
	return cli_error(c, -EPIPE, "cannot write the result: %s", strerror(EPIPE));
}

int follow_result(struct cli_context *c, int r, struct follow *f)
{
	int ended_by = follow_ended_by(f);

	if (r == -EINVAL)
		c->usage = true;
	if (r < 0 && ferror(stdout))
		return cli_error(c, r, "cannot write the result: %s", strerror(-r));
	return r == 0 && ended_by == SIGPIPE ? output_gone(c) : r;
}
