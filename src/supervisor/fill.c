/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes of a VM: copied in before its workload runs, at its first start and at later ones,
 * and back when it is stopped by nobody who does that himself.
 *
 * A copy waits for the guest and for this host's disk, which the supervisor never may, so a child
 * of it does that, as a client like any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/volume.h"
#include "supervisor/supervise.h"

/* In the child; the supervisor's own descriptors of these numbers are not its. */
#define CHILD_FD_WORDS	 SUPERVISOR_FD_FIRST
#define CHILD_FD_CONTROL (SUPERVISOR_FD_FIRST + 1)

struct fill {
	int fd; /* what the child says: why it failed, or nothing */
	bool over;
	char why[sizeof(((struct mvm_error *)0)->text)];
	size_t len;
};

typedef int (*copy_fn)(struct control *c, const struct record *r, struct mvm_error *err);

static int copy_all_in(struct control *c, const struct record *r, struct mvm_error *err)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < r->n_volumes; i++)
		result = volume_copy_in(c, &r->volumes[i], err);
	return result;
}

static int copy_all_back(struct control *c, const struct record *r, struct mvm_error *err)
{
	return volumes_copy_back(c, r, DEADLINE_NONE, -1, err);
}

static _Noreturn void run_child(const struct supervisor *s, copy_fn copy, int to, int control,
				pid_t parent)
{
	struct control c;
	struct mvm_error err = { 0 };
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before that */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL); /* the set is valid */
	/* the channels of the VMM and of clients are not ours: they must hang up when they do */
	if (dup2(to, CHILD_FD_WORDS) < 0 || dup2(control, CHILD_FD_CONTROL) < 0 ||
	    syscall(SYS_close_range, CHILD_FD_CONTROL + 1, ~0u, 0) < 0)
		_exit(1);
	(void)umask(s->umask);
	int result = control_init(&c, CHILD_FD_CONTROL);
	if (result == 0)
		result = copy(&c, s->fill_from, &err);
	if (result < 0) /* else the exit status has to do */
		(void)file_write_all(CHILD_FD_WORDS, err.text, strlen(err.text));
	_exit(result < 0);
}

static void on_words(void *arg, uint32_t events)
{
	struct fill *f = arg;
	ssize_t n = read(f->fd, f->why + f->len, sizeof(f->why) - 1 - f->len);
	(void)events;
	if (n > 0)
		f->len += (size_t)n;
	else if (n == 0 || errno != EINTR)
		f->over = true;
}

/* Serve everybody, the child too, until it has done its work or there is no use in it any more. */
static int wait_for_child(struct supervisor *s, struct fill *f)
{
	bool was_stopping = s->stopping;
	struct loop_source *source;
	int r = loop_add_fd(s->loop, f->fd, EPOLLIN, on_words, f, &source);
	if (r < 0)
		return r;
	while (r == 0 && !f->over && s->stopping == was_stopping && !s->machine.ended)
		r = loop_run_once(s->loop, DEADLINE_NONE);
	loop_source_free(source);
	return r;
}

/* The child's connection, whose other end is a client's. */
static int connect_child(struct supervisor *s, int *ret, struct mvm_error *err)
{
	int pair[2];
	int r = sock_pair(pair);
	if (r == 0) {
		*ret = pair[1];
		r = clients_add_own(&s->clients, pair[0]);
		if (r < 0)
			(void)close(pair[0]);
	}
	return r < 0 ? mvm_error_set(err, r, "cannot copy volumes: %s", strerror(-r)) : 0;
}

/* A named volume is written to by one VM at a time, from its start until its copy is back. */
static int lock_volumes(struct supervisor *s, struct mvm_error *err)
{
	for (size_t i = 0; i < s->fill_from->n_volumes; i++) {
		const struct record_volume *v = &s->fill_from->volumes[i];
		if (!v->name || !v->write_back || s->volume_fds[i])
			continue;
		int fd = volume_lock(v->host);
		if (fd < 0)
			return volume_lock_failed(v->name, fd, err);
		s->volume_fds[i] = fd;
	}
	return 0;
}

static int run_copies(struct supervisor *s, copy_fn copy, struct mvm_error *err)
{
	struct fill f = { 0 };
	AUTO_CLOSE int control = -1;
	int fds[2], status = 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return mvm_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	int r = connect_child(s, &control, err);
	if (r < 0)
		return r;
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		return mvm_error_set(err, -errno, "cannot copy volumes: %s", strerror(errno));
	if (child == 0)
		run_child(s, copy, to, control, parent);
	(void)close(TAKE_FD(to)); /* so that its end is seen */
	(void)close(TAKE_FD(control));
	f.fd = from;
	r = wait_for_child(s, &f);
	if (!f.over)
		(void)kill(child, SIGKILL); /* ours, and not reaped yet */
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && f.over && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return mvm_error_set(err, r < 0 ? r : -EIO, "%s",
			     f.len ? f.why : "the volumes could not be copied");
}

static int fill_volumes(void *arg, struct mvm_error *err)
{
	struct supervisor *s = arg;
	int r = lock_volumes(s, err);
	if (r < 0)
		return r;
	clients_guest_back(&s->clients);
	r = run_copies(s, copy_all_in, err);
	return r < 0 && s->stopping ? mvm_error_set(err, -ECANCELED, "the start was cancelled") : r;
}

int return_volumes(struct supervisor *s, struct mvm_error *err)
{
	bool wanted = false;
	for (size_t i = 0; i < s->record.n_volumes; i++)
		wanted |= s->record.volumes[i].write_back;
	if (!wanted || s->machine.ended)
		return 0;
	/* a paused guest answers nothing, and what it has would be lost */
	int r = s->clients.guest_paused ? resume_guest(s, err) : 0;
	if (r < 0)
		return mvm_error_context(err, r, "the volumes did not come back");
	s->fill_from = &s->record;
	return run_copies(s, copy_all_back, err);
}

void fill_volumes_first(struct supervisor *s, const struct record *record)
{
	s->fill_from = record;
	s->machine.before_workload = record->n_volumes ? fill_volumes : NULL;
	s->machine.before_arg = s;
}
