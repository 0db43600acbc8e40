/* SPDX-License-Identifier: Apache-2.0 */
/* Suspend an instance, continue it, and end one that is suspended. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <mvm/suspend.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/progress.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "net/agent.h"
#include "start/again.h"
#include "start/start.h"
#include "start/suspend.h"

#define SUSPEND_DEADLINE_MS INT64_C(3600000) /* for a slow disk, or one of a terabyte */
#define RELEASE_MS	    INT64_C(60000)

static bool is_suspended(const struct mvm *mvm, const char *name)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	return instance_load(store_dir(mvm->store, STORE_INSTANCES), name, &rec, &dir_fd, NULL) ==
		       0 &&
	       saved_is_there(dir_fd);
}

int mvm_instance_suspend(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
			 struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	int fd = r < 0 ? r : store_dir_get(mvm->store, STORE_INSTANCES, err);
	r = fd < 0 ? fd : instance_connect(fd, name, progress, &i, err);
	if (r < 0)
		return r;
	/* the supervisor is busy writing files, so do not ask whether it lives */
	control_watch(&i->control, 0, 0);
	r = control_call(&i->control, CALL_SUSPEND, NULL, NULL,
			 clock_deadline_ns(SUSPEND_DEADLINE_MS), NULL, err);
	if (r == -EREMOTEIO && is_suspended(mvm, name)) { /* another call has just done it */
		r = mvm_error_set(err, -EBUSY, "it is suspended already");
		r = mvm_error_reason(err, r, "instance-suspended", name);
	}
	if (r < 0)
		return store_mend(mvm->store, mvm_error_context(err, r, "instance '%s'", name),
				  err);
	/* the supervisor's last act is to release its lock */
	AUTO_CLOSE int dir_fd = dir_open_at(fd, name);
	return dir_fd < 0 ? 0
			  : instance_folder_await(dir_fd, name, -1, clock_deadline_ns(RELEASE_MS),
						  progress, err);
}

static int resume(struct mvm *mvm, const char *name, struct again *a,
		  const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO(mvm_instance) vm = NULL;
	AUTO_FREE char *why = NULL;
	/* if its supervisor was killed, its record does not say so yet */
	int r = instance_settle(store_dir(mvm->store, STORE_INSTANCES), name,
				store_dir(mvm->store, STORE_LOGS), &why, err);
	if (r >= 0)
		r = again_options(a, err);
	if (r == 0)
		r = start_suspended(mvm, &a->record, &a->options, progress, &vm, err);
	if (r == -ENOENT && str_eq(err->reason, "no-instance"))
		return r;
	/* without that reason, since its hint tells how to end the VM */
	if (r == -EBUSY && str_eq(err->reason, "instance-runs"))
		return mvm_error_set(err, r,
				     "instance '%s' runs already, or another command resumes, "
				     "stops or removes it at this moment",
				     name);
	if (r == -EBADMSG)
		r = mvm_error_reason_unless(err, r, "saved-damaged", name);
	if (r == -ENOENT || r == -ESTALE || r == -EOPNOTSUPP)
		r = mvm_error_reason_unless(err, r, "suspended-unusable", name);
	if (r < 0)
		r = mvm_error_context(err, r, "instance '%s'%s", name,
				      is_suspended(mvm, name) ? " stays suspended" : "");
	return r;
}

int resume_suspended(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		     struct mvm_error *err)
{
	AUTO_DONE(again) a = { 0 };
	struct mvm_error local = { 0 };
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	if (fd < 0)
		return fd;
	if (instance_load(fd, name, &a.record, NULL, NULL) < 0 ||
	    a.record.state != RECORD_SUSPENDED)
		return 0;
	int r = resume(mvm, name, &a, progress, err ? err : &local);
	return r < 0 ? r : 1;
}

int stop_suspended(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	char now[RFC3339_SIZE];
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	if (fd < 0)
		return fd;
	if (instance_load(fd, name, &rec, &dir_fd, NULL) < 0 || rec.state != RECORD_SUSPENDED)
		return 0;
	AUTO_CLOSE int lock_fd = instance_folder_lock(fd, dir_fd, "stop");
	if (lock_fd < 0) /* it is being resumed or removed; the caller handles that */
		return 0;
	record_done(&rec);
	int r = record_load(dir_fd, &rec, err);
	if (r < 0)
		return r;
	saved_forget(dir_fd);
	clock_format(clock_wall_ns() / NS_PER_S, now);
	free(TAKE_PTR(rec.error));
	free(rec.ended_at);
	rec.ended_at = strdup(now);
	rec.state = RECORD_EXITED;
	rec.continues = RECORD_CONTINUES_NOTHING;
	rec.supervisor_pid = rec.vmm_pid = 0;
	r = record_save(dir_fd, &rec, err);
	if (r == 0)
		events_add(store_dir(mvm->store, STORE_LOGS), "stopped", &rec, "it was suspended");
	return r < 0 ? r : 1;
}
