/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving and loading device state.  With x-ignore-shared the stream holds no memory: a captured
 * machine's memory is the shared file itself, and a clone maps that file privately.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/qemu/qemu.h"

#define STATE_FILE "vmstate.bin"
#define STATE_FD   "s" /* the descriptor's name in QEMU */

int qemu_batch_send(struct qemu *q, struct qemu_batch *b, const char *command, json_t *args,
		    int pass_fd, struct mvm_error *err)
{
	int r = qmp_send(q->qmp, command, args, pass_fd, &b->ids[b->n], err);
	b->n += r == 0;
	return r;
}

static int send_capabilities(struct qemu *q, struct qemu_batch *b, bool events,
			     struct mvm_error *err)
{
	json_t *list = json_pack("[{s:s, s:b}]", "capability", "x-ignore-shared", "state", 1);
	if (list && events)
		json_array_append_new(list,
				      json_pack("{s:s, s:b}", "capability", "events", "state", 1));
	json_t *args = json_pack("{s:o}", "capabilities", list);
	if (!args)
		return mvm_error_oom(err);
	return qemu_batch_send(q, b, "migrate-set-capabilities", args, -1, err);
}

static int send_with_text(struct qemu *q, struct qemu_batch *b, const char *command,
			  const char *key, const char *value, int pass_fd, struct mvm_error *err)
{
	json_t *args = json_pack("{s:s}", key, value);
	if (!args)
		return mvm_error_oom(err);
	return qemu_batch_send(q, b, command, args, pass_fd, err);
}

int qemu_batch_wait(struct qemu *q, const struct qemu_batch *b, int64_t deadline_ns,
		    struct mvm_error *err)
{
	int first = 0;
	for (size_t i = 0; i < b->n; i++) {
		int r = qmp_wait(q->qmp, b->ids[i], deadline_ns, NULL, first ? NULL : err);
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
	struct qemu_batch b = { .n = 0 };
	q->migration = MIGRATION_NONE;
	int r = send_capabilities(q, &b, true, err);
	if (r == 0)
		r = send_with_text(q, &b, "getfd", "fdname", STATE_FD, fd, err);
	if (r == 0)
		r = send_with_text(q, &b, "migrate", "uri", "fd:" STATE_FD, -1, err);
	if (r == 0)
		r = qemu_batch_wait(q, &b, deadline_ns, err);
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
 * load.  QEMU exits when the load fails, so RESUME is all that there is to wait for.  An option in
 * args.c keeps "paused" out of the stream.
 */
static int load_state(struct qemu *q, struct qemu_batch *b, const char *from, int64_t deadline_ns,
		      struct mvm_error *err)
{
	int r = send_with_text(q, b, "migrate-incoming", "uri", from, -1, err);
	if (r == 0)
		r = qemu_batch_send(q, b, "cont", NULL, -1, err);
	if (r == 0)
		r = qemu_batch_wait(q, b, deadline_ns, err);
	while (r == 0 && q->vmm.resumed_ns == 0)
		r = turn(q, "loading the device state", deadline_ns, err);
	return qemu_explain(q, r, deadline_ns, err);
}

int qemu_prepare_load(struct qemu *q, struct mvm_error *err)
{
	return send_capabilities(q, &q->early, false, err);
}

/* In QEMU's process the state is open already. */
static int load_inherited(struct qemu *q, int64_t deadline_ns, struct mvm_error *err)
{
	char from[16];
	snprintf(from, sizeof(from), "fd:%d", QEMU_FD_STATE);
	return load_state(q, &q->early, from, deadline_ns, err);
}

int qemu_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct qemu *q = (struct qemu *)v;
	struct qemu_batch b = { .n = 0 };
	if (q->early.n)
		return load_inherited(q, deadline_ns, err);
	AUTO_CLOSE int fd = open_state(q, dir_fd, false);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot open '" STATE_FILE "': %s", strerror(-fd));
	int r = send_capabilities(q, &b, false, err);
	if (r == 0)
		r = send_with_text(q, &b, "getfd", "fdname", STATE_FD, fd, err);
	return r < 0 ? r : load_state(q, &b, "fd:" STATE_FD, deadline_ns, err);
}
