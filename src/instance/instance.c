/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/sock.h"
#include "instance/folder.h"
#include "instance/handover.h"
#include "instance/saved.h"
#include "instance/watch.h"
#include "model/name.h"
#include "net/agent.h"
#include "net/wire.h"

#define KEEP_MS INT64_C(10000) /* for the supervisor to write the record */
/* beyond the guest's own time: for the VMM to die and the supervisor to answer */
#define KILL_GRACE_MS INT64_C(60000)

void instance_close(struct mvm_instance *i)
{
	if (!i)
		return;
	control_done(&i->control);
	free(i->name);
	free(i->start_json);
	free(i);
}

void instance_keep_start(struct mvm_instance *i, const struct strbuf *reply)
{
	struct wire_field json;
	if (wire_find(reply->data, reply->len, FIELD_JSON, &json) > 0)
		wire_get_str(&json, &i->start_json); /* out of memory: only this text is missing */
}

static int no_instance(const char *name, const char *but, struct mvm_error *err)
{
	int r = mvm_error_set(err, -ENOENT, "there is no instance '%s'%s", name, but);
	return mvm_error_reason(err, r, "no-instance", name);
}

static int only_a_folder(const char *name, struct mvm_error *err)
{
	return no_instance(name, ", only a folder of that name", err);
}

static int only_a_copy(const char *name, const struct record *r, struct mvm_error *err)
{
	int code = mvm_error_set(err, -ENOENT,
				 "there is no instance '%s': its folder is one of '%s' that was "
				 "copied or renamed",
				 name, r->name);
	return mvm_error_reason(err, code, "instance-copy", name);
}

static int open_instance(int instances_fd, const char *name, struct mvm_error *err)
{
	int r = name_check(NAME_INSTANCE, name, err);
	if (r < 0)
		return r;
	int fd = dir_open_at(instances_fd, name);
	if (fd == -ENOENT)
		return no_instance(name, "", err);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot open instance '%s': %s", name, strerror(-fd));
	return fd;
}

int instance_load(int instances_fd, const char *name, struct record *ret, int *ret_dir_fd,
		  struct mvm_error *err)
{
	AUTO_CLOSE int dir_fd = open_instance(instances_fd, name, err);
	if (dir_fd < 0)
		return dir_fd;

	/* check the lock first: a supervisor that ends in between has written its last record */
	bool alive = lock_is_held_at(dir_fd, INSTANCE_LOCK_NAME);
	AUTO_DONE(record) rec = { 0 };
	int r = record_load(dir_fd, &rec, err);
	if (r < 0 && r != -ENOMEM && !instance_folder_is_own(dir_fd))
		return only_a_folder(name, err);
	/* a missing record is of a folder that is coming or going; EOPNOTSUPP: of a newer mvm */
	if (r < 0 && r != -ENOENT && r != -ENOMEM && r != -EOPNOTSUPP && r != -EMFILE &&
	    r != -ENFILE)
		r = mvm_error_reason(err, r, "instance-damaged", name);
	if (r < 0)
		return mvm_error_context(err, r, "instance '%s'", name);
	if (!alive && !record_is_over(&rec)) {
		bool suspended = instance_was_suspended(dir_fd, &rec);
		if (suspended)
			free(TAKE_PTR(rec.error));
		else if (instance_note_lost(&rec) < 0)
			return mvm_error_oom(err);
		rec.state = suspended ? RECORD_SUSPENDED : RECORD_FAILED;
		rec.vmm_pid = rec.supervisor_pid = 0;
		rec.stopping = false;
		rec.health = RECORD_HEALTH_NONE;
	}
	if (instance_folder_is_copy(dir_fd, name, &rec))
		return only_a_copy(name, &rec, err);
	if (instance_folder_name_record(name, &rec) < 0)
		return mvm_error_oom(err);
	if (!str_eq(rec.name, name)) /* its supervisor is about to write the record */
		return mvm_error_set(err, -EBADMSG, "instance '%s': its record is about '%s'", name,
				     rec.name);
	*ret = rec;
	rec = (struct record){ 0 };
	if (ret_dir_fd)
		*ret_dir_fd = TAKE_FD(dir_fd);
	return 0;
}

/* Connect to an instance that runs.  -ECONNREFUSED: nobody listens, and whoever holds the lock is
 * at the last steps: a supervisor that ends, or somebody who settles or removes the instance. */
static int try_connect(int instances_fd, const char *name, int *ret_dir_fd, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int r = instance_load(instances_fd, name, &rec, ret_dir_fd, err);
	if (r < 0)
		return r;
	if (rec.state == RECORD_SUSPENDED) {
		r = mvm_error_set(err, -EBUSY, "instance '%s' is suspended", name);
		return mvm_error_reason(err, r, "instance-suspended", name);
	}
	if (record_is_over(&rec)) {
		r = mvm_error_set(err, -EBUSY, "instance '%s' does not run: it %s%s%s", name,
				  rec.state == RECORD_EXITED ? "has ended" : "failed",
				  rec.error ? ": " : "", rec.error ? rec.error : "");
		return mvm_error_reason(err, r, "instance-ended", name);
	}
	int fd = sock_try_connect_at(*ret_dir_fd, INSTANCE_SOCKET_NAME);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		return -ECONNREFUSED;
	if (fd == -EAGAIN)
		return mvm_error_set(err, fd, "the supervisor of '%s' does not keep up", name);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot reach the supervisor of '%s': %s", name,
				     strerror(-fd));
	return fd;
}

/* A wait for whoever holds an instance's lock. */
struct owner_wait {
	int64_t deadline_ns;
	const struct mvm_progress *progress;
	int watch_fd; /* inotify(7) on the folder; -1: not watched */
};

static void owner_wait_done(struct owner_wait *w)
{
	if (w->watch_fd >= 0)
		close(w->watch_fd);
}
DEFINE_AUTO_DONE(owner_wait, owner_wait_done)

static struct owner_wait owner_wait_begin(const struct mvm_progress *progress)
{
	return (struct owner_wait){ clock_deadline_ns(KILL_GRACE_MS), progress, -1 };
}

/*
 * Wait until the lock is free, or its folder changes: the next holder may be another start, which
 * signs the lock and writes a record.
 *
 * Every other call only begins to watch the folder, so that the caller looks again before it waits:
 * the change may have been earlier.  Without inotify(7) it waits for the lock alone.
 */
static int await_owner(struct owner_wait *w, int dir_fd, const char *name, struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	if (w->watch_fd < 0) {
		w->watch_fd = watch_folder(dir_fd, NULL);
		if (w->watch_fd >= 0)
			return 0;
	}
	int r = instance_folder_await(dir_fd, name, w->watch_fd, w->deadline_ns, w->progress, &why);
	auto_close(&w->watch_fd);
	w->watch_fd = -1;
	return r < 0 ? mvm_error_hand_on(err, &why) : 0;
}

int instance_connect(int instances_fd, const char *name, const struct mvm_progress *progress,
		     struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(owner_wait) wait = owner_wait_begin(progress);
	int fd, r;

	for (;;) {
		AUTO_CLOSE int dir_fd = -1;
		fd = try_connect(instances_fd, name, &dir_fd, err);
		if (fd != -ECONNREFUSED)
			break;
		r = await_owner(&wait, dir_fd, name, err);
		if (r < 0)
			return r; /* else the record says more */
	}
	if (fd < 0)
		return fd;

	AUTO(mvm_instance) i = calloc(1, sizeof(*i));
	if (!i) {
		close(fd);
		return mvm_error_oom(err);
	}
	r = control_init(&i->control, fd);
	i->name = strdup(name);
	if (r < 0 || !i->name)
		return mvm_error_oom(err);
	i->control.name = i->name;
	i->control.progress = progress;
	control_watch(&i->control, CONTROL_QUIET_MS, CONTROL_ANSWER_MS);
	*ret = TAKE_PTR(i);
	return 0;
}

/* Another process holds the lock.  Returns 0 when it is time to try it again, or -EBUSY when the
 * instance runs. */
static int wait_for_owner(struct owner_wait *w, int dir_fd, const char *name, bool force,
			  struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	if (force)
		return instance_folder_kill(dir_fd, name, INSTANCE_FOLDER_END_MS, w->progress, err);
	bool known = record_load(dir_fd, &rec, NULL) == 0;
	bool ended = known && record_is_over(&rec);
	AUTO_CLOSE int fd = ended ? -1 : sock_try_connect_at(dir_fd, INSTANCE_SOCKET_NAME);
	if (fd >= 0 || fd == -EAGAIN) {
		int r = mvm_error_set(err, -EBUSY, "instance '%s' is %s", name,
				      known && rec.state != RECORD_STARTING ? "running"
									    : "starting");
		return mvm_error_reason(err, r, "instance-runs", name);
	}
	/* no listener: the supervisor, or a process that removes the folder, is about to end */
	return await_owner(w, dir_fd, name, err);
}

/* May the folder be removed as this instance?  When nobody named it, its record must be whole. */
static int check_own(int dir_fd, const char *name, bool named, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int r = record_load(dir_fd, &rec, err);
	if (r == -ENOMEM)
		return r;
	if (r == 0)
		return instance_folder_is_copy(dir_fd, name, &rec) ? only_a_copy(name, &rec, err)
								   : 0;
	if (!instance_folder_is_own(dir_fd))
		return only_a_folder(name, err);
	if (r == -EOPNOTSUPP) /* of a newer mvm, which alone knows what it may lose */
		return mvm_error_context(err, r, "instance '%s' stays", name);
	if (named)
		return 0;
	r = mvm_error_reason(err, r, "instance-damaged", name);
	return mvm_error_context(err, r, "instance '%s' stays", name);
}

/* The lock is ours. */
static int remove_locked(int instances_fd, const char *name, int dir_fd, bool named,
			 struct mvm_error *err)
{
	AUTO_FREE char *foreign = NULL;
	int r = instance_folder_remove(instances_fd, name, dir_fd, named);
	if (r == -ENOTEMPTY && !named && instance_folder_is_pure(dir_fd, true, &foreign) == 0) {
		r = mvm_error_set(err, r,
				  "instance '%s' stays: mvm did not make '%s' in its folder", name,
				  foreign ? foreign : "?");
		return mvm_error_reason(err, r, "instance-not-alone", name);
	}
	return r < 0 ? mvm_error_set(err, r, "cannot remove instance '%s': %s", name, strerror(-r))
		     : 0;
}

int instance_remove(int instances_fd, const char *name, bool force, bool named,
		    const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(owner_wait) wait = owner_wait_begin(progress);
	for (;;) {
		AUTO_CLOSE int dir_fd = open_instance(instances_fd, name, err);
		if (dir_fd < 0)
			return dir_fd;
		int r = check_own(dir_fd, name, named, err);
		if (r < 0)
			return r;
		AUTO_CLOSE int lock_fd = instance_folder_lock(instances_fd, dir_fd, "rm");
		r = lock_fd;
		if (r >= 0)
			return remove_locked(instances_fd, name, dir_fd, named, err);
		if (r == -ENOENT)
			continue; /* removed since we opened it; the name may be in use again */
		if (r != -EBUSY)
			return mvm_error_set(err, r, "cannot lock instance '%s': %s", name,
					     lock_why(r));
		r = wait_for_owner(&wait, dir_fd, name, force, err);
		if (r < 0)
			return r;
	}
}

void instance_keep(struct mvm_instance *i)
{
	/* this fails when the instance has ended, and then there is nothing to keep */
	control_call(&i->control, CALL_KEEP, NULL, NULL, clock_deadline_ns(KEEP_MS), NULL, NULL);
}

void instance_cut_short(struct mvm_instance *i)
{
	AUTO_DONE(strbuf) args = { 0 };
	uint32_t stream;
	wire_put_u64(&args, FIELD_TIMEOUT_MS, 0);
	/* if the supervisor is gone, its VM is gone */
	control_send_call(&i->control, CALL_STOP, &args, &stream, NULL);
}

void instance_await_end(struct mvm_instance *i)
{
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_u64(&args, FIELD_TIMEOUT_MS, 0);
	control_call(&i->control, CALL_STOP, NULL, &args, clock_deadline_ns(KILL_GRACE_MS), NULL,
		     NULL);
}

/* Is the supervisor that held the lock before gone, and the instance started again? */
static bool has_started_again(int dir_fd, const char *before)
{
	char now[LOCK_HOLDER_SIZE];
	const char *what = strchr(before, ' ');
	lock_read_holder_at(dir_fd, INSTANCE_LOCK_NAME, now);
	return what && str_eq(what + 1, SUPERVISOR_PROGRAM) && !str_eq(now, before);
}

/* Wait until a supervisor that ends has released the lock, which is its last act. */
static int await_supervisor(int dir_fd, const char *name, const char *holder,
			    const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(owner_wait) wait = owner_wait_begin(progress);
	int r = 0;
	while (r == 0 && lock_is_held_at(dir_fd, INSTANCE_LOCK_NAME) &&
	       !has_started_again(dir_fd, holder))
		r = await_owner(&wait, dir_fd, name, err);
	return r;
}

int instance_stop(int instances_fd, const char *name, int64_t timeout_ms,
		  const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	AUTO_DONE(strbuf) args = { 0 };
	char holder[LOCK_HOLDER_SIZE];
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	lock_read_holder_at(dir_fd, INSTANCE_LOCK_NAME, holder);
	int r = instance_connect(instances_fd, name, progress, &i, err);
	if (r < 0)
		return r;
	wire_put_u64(&args, FIELD_TIMEOUT_MS, (uint64_t)timeout_ms);
	struct mvm_error why = { 0 };
	r = control_call(&i->control, CALL_STOP, NULL, &args,
			 clock_deadline_ns(timeout_ms + KILL_GRACE_MS), NULL, &why);
	if (r == -EREMOTEIO)
		r = 0; /* the VM has ended meanwhile */
	if (r < 0)
		r = mvm_error_hand_on(err, &why);
	if (r < 0)
		r = mvm_error_context(err, r, "stopping '%s'", name);
	if (r < 0 && r != -EIO) /* EIO: it has ended, but volumes did not come back */
		return r;

	int ended = await_supervisor(dir_fd, name, holder, progress, r < 0 ? NULL : err);
	return r < 0 ? r : ended;
}
