/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that copies a VM's volumes.
 *
 * A copy waits for the guest and for this host's disk.  The supervisor must never wait for a disk,
 * so the warden forks a child, which copies as an ordinary client of the supervisor.
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

#include "base/error.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/volume.h"
#include "net/wire.h"
#include "supervisor/copy_walls.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"
#include "vmm/walls.h"

/* Descriptors in the child.  The supervisor uses the same numbers for other descriptors. */
#define CHILD_FD_WORDS	 SUPERVISOR_FD_FIRST
#define CHILD_FD_CONTROL (SUPERVISOR_FD_FIRST + 1)

/* The record whose volumes are copied. */
static const struct record *record_of(const struct warden *w)
{
	return w->wanted.name ? &w->wanted : &w->record;
}

static _Noreturn void run_child(const struct warden *w, bool back, int to, int control,
				pid_t parent)
{
	const struct record *rec = record_of(w);
	struct control c;
	struct mvm_error err = { 0 };
	AUTO_DONE(strbuf) note = { 0 };
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* the supervisor died before the prctl() */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* the set is valid */
	/* close the channels of the VMM and of clients: a copy here would hide their end */
	if (dup2(to, CHILD_FD_WORDS) < 0 || dup2(control, CHILD_FD_CONTROL) < 0 ||
	    syscall(SYS_close_range, CHILD_FD_CONTROL + 1, ~0u, 0) < 0)
		_exit(1);
	umask(w->given->umask);
	AUTO_DONE(volume_places) places;
	volume_places_open(rec, back, &places);
	if (!walls_are_off() && copy_walls_enter(&places, back) < 0)
		_exit(1);
	int64_t deadline_ns = volumes_deadline_ns(rec);
	int result = control_init(&c, CHILD_FD_CONTROL);
	if (result == 0 && back)
		result = volumes_copy_back(&c, rec, &places, deadline_ns, NULL, &note, &err);
	else if (result == 0)
		result = volumes_copy_in(&c, rec, &places, deadline_ns, &note, &err);
	const char *words = note.len ? note.data : "";
	AUTO_FREE char *why = result < 0 ? str_printf("%s\n%s", err.reason, err.text) : NULL;
	if (result < 0)
		words = why ? why : "\nout of memory";
	file_write_all(CHILD_FD_WORDS, words, strlen(words)); /* else the exit status tells */
	_exit(result < 0);
}

/* Lock the named volumes.  One VM at a time may write to each: from its start until the copy is
 * back. */
static int lock_volumes(struct warden *w, struct mvm_error *err)
{
	const struct record *rec = record_of(w);
	for (size_t i = 0; i < rec->n_volumes; i++) {
		const struct record_volume *v = &rec->volumes[i];
		if (!v->name || !v->write_back || w->volume_fds[i])
			continue;
		int fd = volume_lock(v->host);
		if (fd < 0)
			return volume_lock_failed(v->name, fd, err);
		w->volume_fds[i] = fd;
	}
	return 0;
}

int copy_answer_start(struct warden *w, bool back, struct line_message *ret, struct mvm_error *err)
{
	int fds[2], pair[2];
	int r = w->copier ? mvm_error_set(err, -EBUSY, "a copy is under way") : 0;
	if (r == 0 && !back)
		r = lock_volumes(w, err);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return mvm_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	r = sock_pair(pair);
	if (r < 0)
		return mvm_error_set(err, r, "cannot copy volumes: %s", strerror(-r));
	AUTO_CLOSE int ours = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		return mvm_error_set(err, -errno, "cannot copy volumes: %s", strerror(errno));
	if (child == 0)
		run_child(w, back, to, theirs, parent);
	w->copier = child;
	line_add_fd(ret, TAKE_FD(from));
	line_add_fd(ret, TAKE_FD(ours));
	return 0;
}

int copy_answer_end(struct warden *w, bool end, struct line_message *ret)
{
	int status = 0;
	if (!w->copier)
		return -ESRCH;
	if (end)
		kill(w->copier, SIGKILL); /* not reaped yet, so the pid is still the child's */
	while (waitpid(w->copier, &status, 0) < 0 && errno == EINTR)
		;
	w->copier = 0;
	wire_put_u64(&ret->fields, TAG_NUMBER, (uint64_t)status);
	return 0;
}

void copy_release(struct warden *w)
{
	for (size_t i = 0; i < RECORD_VOLUMES_MAX; i++) {
		if (w->volume_fds[i])
			close(w->volume_fds[i]); /* never written to */
		w->volume_fds[i] = 0;
	}
}
