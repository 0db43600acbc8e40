/* SPDX-License-Identifier: Apache-2.0 */
/* Copy a running instance's volumes back to this host.  The process that stops the instance does
 * it; if the instance's end has begun, its supervisor does. */
#include <errno.h>
#include <mvm/instance.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "instance/volume.h"
#include "start/context.h"
#include "start/start.h"
#include "start/volumes.h"

#define END_MS INT64_C(10000) /* for a supervisor to note the end of its VM */

/* Has the instance's end begun?  Then its supervisor alone copies back. */
static bool is_ending(int instances_fd, const char *name)
{
	AUTO_DONE(record) rec = { 0 };
	int r = instance_load(instances_fd, name, &rec, NULL, NULL);
	return r == -ENOENT || (r == 0 && (rec.stopping || record_is_over(&rec)));
}

static int copy_back(struct mvm *mvm, const char *name, const struct record *rec,
		     const struct copy_options *o, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	AUTO_DONE(strbuf) note = { 0 };
	int64_t deadline_ns = o->timeout_ms >= 0 ? clock_deadline_ns(o->timeout_ms)
						 : volumes_deadline_ns(rec);
	int r = mvm_instance_open(mvm, name, &i, err);
	if (r < 0)
		return r;
	AUTO_DONE(volume_places) places;
	volume_places_open(rec, true, &places);
	r = volumes_copy_back(&i->control, rec, &places, deadline_ns, o->progress, &note, err);
	if (note.len)
		events_add(store_dir(mvm->store, STORE_LOGS), "volumes", rec, note.data);
	return r;
}

int volumes_bring_back(struct mvm *mvm, const char *name, const struct copy_options *o,
		       bool *ret_left, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_load(fd, name, &rec, NULL, err);
	*ret_left = false;
	if (r < 0 || !volumes_come_back(&rec) || rec.state == RECORD_STARTING)
		return r < 0 ? r : 0; /* a guest that has not started has changed no volume */
	*ret_left = rec.stopping && !record_is_over(&rec);
	if (*ret_left)
		return 0;
	r = copy_back(mvm, name, &rec, o, err);
	*ret_left = r < 0 && r != -ECANCELED && r != -ETIMEDOUT && !record_is_over(&rec) &&
		    is_ending(fd, name);
	return *ret_left ? 0 : r;
}

int volumes_check_returned(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	/* without a record: the instance was removed with its end, and its starter got the error */
	if (fd < 0 || instance_load(fd, name, &rec, NULL, NULL) < 0 || !rec.error)
		return 0;
	return mvm_error_set(err, -EIO, "instance '%s' has ended: %s", name, rec.error);
}

int volumes_check_ended(struct mvm *mvm, const char *name, const struct mvm_error *why,
			struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	if (!str_eq(why->reason, "instance-ended"))
		return 0;
	/* its supervisor has yet to write that down */
	if (mvm_instance_open(mvm, name, &i, NULL) == 0 && instance_wait(i, END_MS, NULL, NULL) < 0)
		return 0;
	int r = volumes_check_returned(mvm, name, err);
	return r < 0 ? r : mvm_error_set(err, -EIO, "instance '%s' has ended: %s", name, why->text);
}

/* The supervisor copies the volumes back before the VM ends, so wait for that end. */
static int await_supervisor(struct mvm *mvm, const char *name, const struct copy_options *o,
			    struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	int r = 0;
	if (mvm_instance_open(mvm, name, &i, NULL) == 0) { /* else it has ended by now */
		i->control.progress = o->progress;
		r = instance_wait(i, o->timeout_ms, NULL, err);
	}
	return r < 0 ? r : volumes_check_returned(mvm, name, err);
}

int mvm_instance_copy_back(struct mvm *mvm, const char *name,
			   const struct mvm_copy_options *options,
			   const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	struct copy_options o;
	bool left = false;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = copy_options_take(options, progress, &o, err);
	if (r == 0)
		r = volumes_bring_back(mvm, name, &o, &left, err);
	if (r == 0 && left)
		r = await_supervisor(mvm, name, &o, err);
	return r < 0 ? mvm_error_reason_unless(err, r, "volumes-not-back", name) : r;
}
