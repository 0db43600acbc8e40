/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renames an instance.  One that has ended has nobody who writes its record, so the command does
 * it. Of one that runs only its warden does.  It gets the name by the folder, as it gets the record
 * of a start that takes a VM of a pool: there no guest can have changed it.  A call to the
 * supervisor then says that it is there.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "net/agent.h"
#include "net/wire.h"

#define DEADLINE_MS INT64_C(30000)

/* The lock is ours.  The record is read once more: it may have ended since. */
static int rename_ended(int instances_fd, int dir_fd, const char *name, const char *to, int logs_fd,
			struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int r = record_load(dir_fd, &rec, err);
	if (r == 0 && instance_folder_name_record(name, &rec) < 0)
		r = mvm_error_oom(err);
	if (r == 0)
		r = instance_folder_rename(instances_fd, dir_fd, &rec, to, err);
	if (r == 0)
		events_renamed(logs_fd, &rec);
	return r;
}

static int call_rename(int instances_fd, const char *name, const char *to,
		       const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_str(&args, FIELD_NAME, to);
	int r = instance_connect(instances_fd, name, progress, &i, err);
	if (r == 0)
		r = control_call(&i->control, CALL_RENAME, NULL, &args,
				 clock_deadline_ns(DEADLINE_MS), NULL, err);
	if (r == -EEXIST) /* it is about the other instance, not the one that was called */
		r = mvm_error_reason(err, r, "instance-exists", to);
	return r == -EOPNOTSUPP
		       ? mvm_error_hint(err, r, "its supervisor is of an older mvm: stop it first")
		       : r;
}

static int rename_running(int instances_fd, int dir_fd, const char *name, const char *to,
			  const struct mvm_progress *progress, struct mvm_error *err)
{
	int r = instance_folder_put(instances_fd, name, dir_fd, INSTANCE_RENAME_NAME, to);
	if (r == -ENOENT) {
		r = mvm_error_set(err, r, "instance '%s' was removed or renamed meanwhile", name);
		return mvm_error_reason(err, r, "no-instance", name);
	}
	if (r < 0)
		return mvm_error_set(err, r, "cannot rename instance '%s': %s", name, strerror(-r));
	r = call_rename(instances_fd, name, to, progress, err);
	if (r < 0)
		unlinkat(dir_fd, INSTANCE_RENAME_NAME, 0); /* what stays is replaced by the next */
	/* a supervisor that a guest has broken into may say anything */
	if (r == 0 && !file_is_at(dir_fd, instances_fd, to))
		r = mvm_error_set(err, -EREMOTEIO, "the supervisor of '%s' did not rename it",
				  name);
	return r;
}

static int try_rename(int instances_fd, const char *name, const char *to, int logs_fd,
		      const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	AUTO_FREE char *why = NULL;
	instance_settle(instances_fd, name, logs_fd, &why, NULL); /* as at a start */
	int r = instance_load(instances_fd, name, &rec, &dir_fd, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = instance_folder_lock(instances_fd, dir_fd, "rename");
	if (lock_fd >= 0)
		return rename_ended(instances_fd, dir_fd, name, to, logs_fd, err);
	if (lock_fd != -EBUSY)
		return mvm_error_set(err, lock_fd, "cannot lock instance '%s': %s", name,
				     lock_why(lock_fd));
	return rename_running(instances_fd, dir_fd, name, to, progress, err);
}

int instance_rename(int instances_fd, const char *name, const char *to, int logs_fd,
		    const struct mvm_progress *progress, struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	if (str_eq(name, to)) /* the hint of a taken name is to remove its instance */
		return mvm_error_set(err, -EEXIST, "instance '%s' has that name already", name);
	int r = try_rename(instances_fd, name, to, logs_fd, progress, &why);
	if (r == -EBUSY && str_eq(why.reason, "instance-ended")) /* just now: the lock is free */
		r = try_rename(instances_fd, name, to, logs_fd, progress, &why);
	return r < 0 ? mvm_error_hand_on(err, &why) : 0;
}
