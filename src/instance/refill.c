/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes of a VM that was started again.
 *
 * At the first start the starter copies them in; by now it has gone.  A copy waits for the guest
 * and for this host's disk, which the supervisor never may, so a child of it does that, as a client
 * of control.sock like any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/copy.h"
#include "instance/instance.h"
#include "instance/supervise.h"

struct refill {
	int fd; /* what the child says: why it failed, or nothing */
	bool over;
	char why[sizeof(((struct mvm_error *)0)->text)];
	size_t len;
};

static int fill(const struct record *r, struct mvm_error *err)
{
	struct control c;
	int fd = sock_connect_at(SUPERVISOR_FD_INSTANCE, INSTANCE_SOCKET_NAME);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot copy volumes: %s", strerror(-fd));
	int result = control_init(&c, fd);
	for (size_t i = 0; result == 0 && i < r->n_volumes; i++)
		result = volume_copy_in(&c, &r->volumes[i], err);
	control_done(&c);
	return result;
}

static _Noreturn void run_child(const struct record *r, int to, pid_t parent)
{
	struct mvm_error err = { 0 };
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before that */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL); /* the set is valid */
	/* the channels of the VMM and of clients are not ours: they must hang up when they do */
	if (dup2(to, SUPERVISOR_FD_FIRST) < 0 ||
	    syscall(SYS_close_range, SUPERVISOR_FD_INSTANCE + 1, ~0u, 0) < 0)
		_exit(1);
	int result = fill(r, &err);
	if (result < 0) /* else the exit status has to do */
		(void)file_write_all(SUPERVISOR_FD_FIRST, err.text, strlen(err.text));
	_exit(result < 0);
}
_Static_assert(SUPERVISOR_FD_INSTANCE == SUPERVISOR_FD_FIRST + 1, "the child keeps these two");

static void on_words(void *arg, uint32_t events)
{
	struct refill *f = arg;
	ssize_t n = read(f->fd, f->why + f->len, sizeof(f->why) - 1 - f->len);
	(void)events;
	if (n > 0)
		f->len += (size_t)n;
	else if (n == 0 || errno != EINTR)
		f->over = true;
}

/* Serve everybody, the child too, until it has done its work or there is no use in it any more. */
static int wait_for_child(struct supervisor *s, struct refill *f)
{
	struct loop_source *source;
	int r = loop_add_fd(s->loop, f->fd, EPOLLIN, on_words, f, &source);
	if (r < 0)
		return r;
	while (r == 0 && !f->over && !s->stopping && !s->machine.ended)
		r = loop_run_once(s->loop, DEADLINE_NONE);
	loop_source_free(source);
	return r;
}

int refill_volumes(struct supervisor *s, struct mvm_error *err)
{
	struct refill f = { 0 };
	int fds[2], status = 0;

	if (s->record.n_volumes == 0)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return mvm_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		return mvm_error_set(err, -errno, "cannot copy volumes: %s", strerror(errno));
	if (child == 0)
		run_child(&s->record, to, parent);
	(void)close(TAKE_FD(to)); /* so that its end is seen */
	f.fd = from;
	int r = wait_for_child(s, &f);
	if (!f.over)
		(void)kill(child, SIGKILL); /* ours, and not reaped yet */
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && f.over && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return mvm_error_set(err, r < 0 ? r : -EIO, "%s",
			     f.len ? f.why : "the volumes could not be copied");
}
