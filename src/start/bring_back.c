/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of a running instance, back to this host: by whoever stops it, or by its supervisor. */
#include <errno.h>
#include <mvm/instance.h>

#include "base/clock.h"
#include "base/error.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "instance/volume.h"
#include "start/context.h"
#include "start/start.h"
#include "start/volumes.h"

static bool is_over(const struct record *r)
{
	return r->state == RECORD_EXITED || r->state == RECORD_FAILED;
}

/* Is somebody else ending it?  Then its supervisor copies back, and nobody beside it. */
static bool is_ending(int instances_fd, const char *name)
{
	AUTO_DONE(record) rec = { 0 };
	struct mvm_error ignored;
	int r = instance_load(instances_fd, name, &rec, NULL, &ignored);
	return r == -ENOENT || (r == 0 && (rec.stopping || is_over(&rec)));
}

static int copy_back(struct mvm *mvm, const char *name, const struct record *rec,
		     const struct copy_options *o, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	AUTO_DONE(strbuf) note = { 0 };
	int64_t deadline_ns = o->timeout_ms >= 0 ? clock_deadline_ns(o->timeout_ms)
						 : volumes_deadline_ns(rec);
	int r = mvm_instance_open(mvm, name, &i, err);
	if (r == 0)
		r = volumes_copy_back(&i->control, rec, deadline_ns, o->cancel_fd, &note, err);
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
		return r < 0 ? r : 0; /* of a guest that is not up there is nothing to have back */
	*ret_left = rec.stopping && !is_over(&rec);
	if (*ret_left)
		return 0;
	r = copy_back(mvm, name, &rec, o, err);
	*ret_left = r < 0 && r != -ECANCELED && r != -ETIMEDOUT && !is_over(&rec) &&
		    is_ending(fd, name);
	return *ret_left ? 0 : r;
}

/* What the supervisor of a VM that has ended could not bring back. */
int volumes_check_returned(struct mvm *mvm, const char *name, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	struct mvm_error ignored; /* removed with its end: it has told whoever waited */
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	if (fd < 0 || instance_load(fd, name, &rec, NULL, &ignored) < 0 || !rec.error)
		return 0;
	return mvm_error_set(err, -EIO, "instance '%s' has ended: %s", name, rec.error);
}

/* Its supervisor is at it: when the VM has ended, so has that. */
static int await_supervisor(struct mvm *mvm, const char *name, const struct copy_options *o,
			    struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	struct mvm_error ignored;
	int r = mvm_instance_open(mvm, name, &i, &ignored);
	if (r == 0) {
		i->control.cancel_fd = o->cancel_fd;
		r = instance_wait(i, o->timeout_ms, NULL, err);
	} else {
		r = 0; /* it has ended by now */
	}
	return r < 0 ? r : volumes_check_returned(mvm, name, err);
}

int mvm_instance_copy_back(struct mvm *mvm, const char *name,
			   const struct mvm_copy_options *options,
			   const struct mvm_progress *progress, struct mvm_error *err)
{
	struct copy_options o;
	bool left = false;
	int r = copy_options_take(options, progress, &o, err);
	if (r == 0)
		r = volumes_bring_back(mvm, name, &o, &left, err);
	if (r == 0 && left)
		r = await_supervisor(mvm, name, &o, err);
	return r < 0 ? mvm_error_reason_unless(err, r, "volumes-not-back", name) : r;
}
