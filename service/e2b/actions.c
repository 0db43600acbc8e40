/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of sandboxes, on workers: by a request, and when a lease is over. */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/suspend.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "codec/json.h"
#include "e2b/e2b.h"

#define BUSY_TRIES 50	 /* of 200 ms: what used the guest lets go of it */
#define STOP_MS	   30000 /* for a guest to shut down */

int sandbox_kill(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	int r = mvm_instance_remove(mvm, id, true, &e->ends, err);
	if (r < 0 && r != -ENOENT)
		return r;
	sandbox_forget(e, id);
	sandbox_post(e, id, NULL);
	return 0;
}

static bool is_suspended(struct mvm *mvm, const char *id)
{
	struct mvm_instance_info *info = NULL;
	bool is = mvm_instance_inspect(mvm, id, &info, NULL) == 0 &&
		  info->state == MVM_INSTANCE_SUSPENDED;
	mvm_instance_info_free(info);
	return is;
}

static int paused_already(const char *id, struct mvm_error *err)
{
	return mvm_error_set(err, -EALREADY, "sandbox '%s' is paused already", id);
}

static int suspend(struct e2b *e, struct mvm *mvm, const char *id, struct mvm_error *err)
{
	int r = -EBUSY;
	for (unsigned i = 0; r == -EBUSY && i < BUSY_TRIES; i++) {
		if (i > 0 && atomic_load(&e->gives_up))
			break;
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		r = mvm_instance_suspend(mvm, id, &e->ends, err);
		if (r < 0 && is_suspended(mvm, id)) /* by somebody else */
			return paused_already(id, err);
	}
	return r;
}

uint64_t sandbox_root_disk_bytes(const struct mvm_instance_info *info)
{
	AUTO_JSON json_t *record = json_loads(info->json, 0, NULL);
	json_t *disk = json_object_get(record, "root_disk");
	return (uint64_t)json_integer_value(json_object_get(disk, "size_mib")) << 20;
}

uint64_t sandbox_files_bytes(const struct mvm_instance_info *info)
{
	uint64_t disk = sandbox_root_disk_bytes(info);
	return disk > 0 ? disk : (uint64_t)info->mem_mib << 20;
}

int sandbox_check_disk(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, id, &info, err);
	if (r < 0)
		return r;
	uint64_t disk = sandbox_root_disk_bytes(info);
	mvm_instance_info_free(info);
	if (disk > 0)
		return 0;
	mvm_error_set(err, -EOPNOTSUPP, "a pause without memory needs a root disk");
	return mvm_error_hint(err, -EOPNOTSUPP, "root_disk_mib in the template");
}

/* The VM ends, and its root disk stays.  The file says so first: without it, an end of the VM is
 * the sandbox's.  Only while the VM is there, and stays, the file may lose the mark again. */
static int stop(struct e2b *e, struct mvm *mvm, const char *id, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	struct mvm_error why = { 0 };
	int r = sandbox_check_disk(mvm, id, err);
	if (r == 0)
		r = sandbox_mark_on_disk(e, id, true, err);
	if (r < 0)
		return r;
	r = mvm_instance_stop(mvm, id, STOP_MS, &e->ends, err);
	if (r == 0 || r == -ECANCELED || /* the shutdown goes on, and the next mvmd looks */
	    mvm_instance_inspect(mvm, id, &info, NULL) < 0)
		return r;
	const bool over = sandbox_is_over(info);
	mvm_instance_info_free(info);
	if (over) {
		if (r != -EBUSY) /* such as volumes that did not come back */
			fprintf(stderr, "mvmd: sandbox %s: %s\n", id, err->text);
		return 0;
	}
	if (sandbox_mark_on_disk(e, id, false, &why) < 0) /* its lease stops it then */
		fprintf(stderr, "mvmd: sandbox %s counts as stopped: %s\n", id, why.text);
	return r;
}

/* Save and post that it is paused. */
static int note_pause(struct e2b *e, const json_t *doc, bool memory, struct mvm_error *err)
{
	json_t *paused = json_deep_copy(doc);
	if (!paused)
		return mvm_error_oom(err);
	if (!memory)
		json_object_set_new(paused, SANDBOX_ON_DISK, json_true());
	json_object_set_new(paused, SANDBOX_END, json_integer(0));
	int r = sandbox_save(e, paused, err);
	sandbox_post(e, sandbox_text(doc, "id"), paused);
	return r;
}

int sandbox_stop(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err)
{
	int r = stop(e, mvm, sandbox_text(doc, "id"), err);
	return r < 0 ? r : note_pause(e, doc, false, err);
}

/* Its lease is written first: no VM runs without one. */
static int resume(struct e2b *e, struct mvm *mvm, json_t *doc, bool suspended,
		  struct mvm_error *err)
{
	double lease_s = json_number_value(json_object_get(doc, SANDBOX_AUTO_RESUME_S));
	if (lease_s < SANDBOX_WAKE_MIN_S)
		lease_s = SANDBOX_WAKE_MIN_S;
	json_object_set_new(doc, SANDBOX_END, json_real((double)clock_wall_ns() / 1e9 + lease_s));
	int r = sandbox_save(e, doc, err);
	if (r < 0 || !suspended)
		return r;
	r = mvm_instance_resume(mvm, sandbox_text(doc, "id"), &e->ends, err);
	if (r < 0) {
		json_object_set_new(doc, SANDBOX_END, json_integer(0));
		sandbox_save(e, doc, NULL); /* else the next mvmd sees that it is suspended */
	}
	return r;
}

int sandbox_wake(struct e2b *e, struct mvm *mvm, json_t *doc, struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	struct mvm_instance_info *info = NULL;

	int r = control_look(e, mvm, doc, &info, err);
	if (r < 0)
		return r;
	bool over = sandbox_is_over(info), suspended = info->state == MVM_INSTANCE_SUSPENDED;
	mvm_instance_info_free(info);
	if (over) /* a boot would lose what ran in it: that is for who asks for it */
		return mvm_error_set(err, -EHOSTDOWN, "sandbox '%s' is paused on its disk", id);
	r = resume(e, mvm, doc, suspended, err);
	if (r == 0)
		sandbox_post(e, id, json_deep_copy(doc));
	return r;
}

int sandbox_pause(struct e2b *e, struct mvm *mvm, const json_t *doc, bool memory,
		  struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	if (json_object_get(doc, SANDBOX_ON_DISK))
		return paused_already(id, err);
	if (is_suspended(mvm, id)) {
		/* by `mvm suspend`, or for an mvmd that ended amid it: its lease is over, too */
		if (json_number_value(json_object_get(doc, SANDBOX_END)) > 0)
			note_pause(e, doc, true, err);
		return paused_already(id, err);
	}
	if (!memory)
		return sandbox_stop(e, mvm, doc, err);
	int r = suspend(e, mvm, id, err);
	return r < 0 ? r : note_pause(e, doc, true, err);
}
