/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving and loading device state.  With x-ignore-shared the stream holds no memory: a captured
 * machine's memory is the shared file itself, and a clone maps that file privately.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/qemu/qemu.h"

#define STATE_FILE "vmstate.bin"
#define STATE_FD   "s" /* the descriptor's name in QEMU */

/* Several commands under way at once, to save the round trips between them. */
struct batch {
	struct qemu *q;
	int64_t ids[4];
	size_t n;
};

static int batch_send(struct batch *b, const char *command, json_t *args, int pass_fd,
		      struct mvm_error *err)
{
	int r = qmp_send(b->q->qmp, command, args, pass_fd, &b->ids[b->n], err);
	b->n += r == 0;
	return r;
}

static int send_capabilities(struct batch *b, struct mvm_error *err)
{
	json_t *args = json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability",
				 "x-ignore-shared", "state", 1, "capability", "events", "state", 1);
	if (!args)
		return mvm_error_oom(err);
	return batch_send(b, "migrate-set-capabilities", args, -1, err);
}

static int send_with_text(struct batch *b, const char *command, const char *key, const char *value,
			  int pass_fd, struct mvm_error *err)
{
	json_t *args = json_pack("{s:s}", key, value);
	if (!args)
		return mvm_error_oom(err);
	return batch_send(b, command, args, pass_fd, err);
}

/* Wait for all the replies, and report the first failure. */
static int batch_wait(struct batch *b, int64_t deadline_ns, struct mvm_error *err)
{
	int first = 0;
	for (size_t i = 0; i < b->n; i++) {
		int r = qmp_wait(b->q->qmp, b->ids[i], deadline_ns, NULL, first ? NULL : err);
		if (first == 0)
			first = r;
	}
	return first;
}

/* Run the loop once, while we wait for an event instead of a reply. */
static int turn(struct qemu *q, const char *what, int64_t deadline_ns, struct mvm_error *err)
{
	if (qmp_is_dead(q->qmp) || q->vmm.state == VMM_ENDED)
		return mvm_error_set(err, -EREMOTEIO, "QEMU went away while %s", what);
	int r = loop_run_once(q->loop, deadline_ns);
	if (r == -ETIMEDOUT)
		return mvm_error_set(err, r, "QEMU was not done in time with %s", what);
	return r < 0 ? mvm_error_set(err, r, "cannot wait for QEMU: %s", strerror(-r)) : 0;
}

static int report_failed(struct qemu *q, const char *what, int64_t deadline_ns,
			 struct mvm_error *err)
{
	json_t *info = NULL;
	int r = qmp_call(q->qmp, "query-migrate", NULL, -1, deadline_ns, &info, NULL);
	const char *why = r < 0 ? NULL : json_string_value(json_object_get(info, "error-desc"));
	r = mvm_error_set(err, -EREMOTEIO, "QEMU failed at %s: %s", what,
			  why ? why : "it gives no reason");
	json_decref(info);
	return r;
}

static int wait_saved(struct qemu *q, int64_t deadline_ns, struct mvm_error *err)
{
	while (q->migration == MIGRATION_NONE) {
		int r = turn(q, "saving the device state", deadline_ns, err);
		if (r < 0)
			return r;
	}
	if (q->migration == MIGRATION_FAILED)
		return report_failed(q, "saving the device state", deadline_ns, err);
	return 0;
}

static int save_state(struct qemu *q, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct batch b = { .q = q };
	q->migration = MIGRATION_NONE;
	int r = send_capabilities(&b, err);
	if (r == 0)
		r = send_with_text(&b, "getfd", "fdname", STATE_FD, fd, err);
	if (r == 0)
		r = send_with_text(&b, "migrate", "uri", "fd:" STATE_FD, -1, err);
	if (r == 0)
		r = batch_wait(&b, deadline_ns, err);
	if (r == 0)
		r = wait_saved(q, deadline_ns, err);
	if (r == -ETIMEDOUT) /* or QEMU would go on writing a file that nobody wants */
		qmp_call(q->qmp, "migrate_cancel", NULL, -1, clock_deadline_ns(1000), NULL, NULL);
	return qemu_explain(q, r, deadline_ns, err);
}

int qemu_open_state(int dir_fd, bool create)
{
	int flags = create ? O_WRONLY | O_CREAT | O_EXCL : O_RDONLY;
	int fd = openat(dir_fd, STATE_FILE, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* Open the state's file, by the keeper if this process may not open it itself. */
static int open_state(struct qemu *q, int dir_fd, bool create)
{
	if (!create && q->state_fd >= 0)
		return TAKE_FD(q->state_fd);
	return q->keeper.open_state ? q->keeper.open_state(q->keeper.arg, create)
				    : qemu_open_state(dir_fd, create);
}

int qemu_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct qemu *q = (struct qemu *)v;
	AUTO_CLOSE int fd = open_state(q, dir_fd, true);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot create '" STATE_FILE "': %s", strerror(-fd));
	int r = save_state(q, fd, deadline_ns, err);
	if (r == 0 && fsync(fd) < 0)
		r = mvm_error_set(err, -errno, "cannot write '" STATE_FILE "': %s",
				  strerror(errno));
	if (r < 0 && dir_fd >= 0)
		unlinkat(dir_fd, STATE_FILE, 0); /* the first failure is the one to report */
	/* now, because it changes the files' times, which the caller records */
	q->keeper.take_back(q->keeper.arg);
	return r;
}

/*
 * `cont` goes out with the rest.  During the load it makes QEMU start the guest right after the
 * load.  QEMU exits when the load fails.  An option in args.c keeps "paused" out of the stream.
 */
static int load_state(struct qemu *q, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct batch b = { .q = q };
	int r = send_capabilities(&b, err);
	if (r == 0)
		r = send_with_text(&b, "getfd", "fdname", STATE_FD, fd, err);
	if (r == 0)
		r = send_with_text(&b, "migrate-incoming", "uri", "fd:" STATE_FD, -1, err);
	if (r == 0)
		r = batch_send(&b, "cont", NULL, -1, err);
	if (r == 0)
		r = batch_wait(&b, deadline_ns, err);
	/* RESUME comes before "completed" when QEMU goes on by itself, and after it otherwise */
	while (r == 0 && q->vmm.resumed_ns == 0 && q->migration != MIGRATION_FAILED)
		r = turn(q, "loading the device state", deadline_ns, err);
	if (r == 0 && q->migration == MIGRATION_FAILED)
		r = report_failed(q, "loading the device state", deadline_ns, err);
	return qemu_explain(q, r, deadline_ns, err);
}

int qemu_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct qemu *q = (struct qemu *)v;
	AUTO_CLOSE int fd = open_state(q, dir_fd, false);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot open '" STATE_FILE "': %s", strerror(-fd));
	return load_state(q, fd, deadline_ns, err);
}
