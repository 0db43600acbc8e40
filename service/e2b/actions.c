/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of sandboxes, on workers: by a request, and when a lease is over. */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/suspend.h>
#include <time.h>

#include "base/error.h"
#include "codec/json.h"
#include "e2b/e2b.h"

#define BUSY_TRIES 50	 /* of 200 ms: what used the guest lets go of it */
#define STOP_MS	   30000 /* for a guest to shut down */

int sandbox_kill(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	int r = mvm_instance_remove(mvm, id, true, NULL, err);
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

static int suspend(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	int r = -EBUSY;
	for (unsigned i = 0; r == -EBUSY && i < BUSY_TRIES; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		r = mvm_instance_suspend(mvm, id, NULL, err);
	}
	return r;
}

int sandbox_check_disk(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, id, &info, err);
	if (r < 0)
		return r;
	AUTO_JSON json_t *record = json_loads(info->json, 0, NULL);
	bool has = json_is_object(json_object_get(record, "root_disk"));
	mvm_instance_info_free(info);
	if (has)
		return 0;
	mvm_error_set(err, -EOPNOTSUPP, "a pause without memory needs a root disk");
	return mvm_error_hint(err, -EOPNOTSUPP, "root_disk_mib in the template");
}

/* The VM ends, and its root disk stays.  The document says so first: without it, an end of the VM
 * is the sandbox's. */
static int stop(struct e2b *e, struct mvm *mvm, json_t *doc, struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	int r = sandbox_check_disk(mvm, id, err);
	if (r < 0)
		return r;
	json_object_set_new(doc, SANDBOX_ON_DISK, json_true());
	r = sandbox_save(e, doc, err);
	if (r == 0)
		r = mvm_instance_stop(mvm, id, STOP_MS, NULL, err);
	if (r < 0) {
		json_object_del(doc, SANDBOX_ON_DISK);
		sandbox_save(e, doc, NULL); /* else it counts as paused after a restart of mvmd */
	}
	return r;
}

int sandbox_pause(struct e2b *e, struct mvm *mvm, const json_t *doc, bool memory,
		  struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");

	if (json_object_get(doc, SANDBOX_ON_DISK) || is_suspended(mvm, id))
		return mvm_error_set(err, -EALREADY, "sandbox '%s' is paused already", id);
	json_t *paused = json_deep_copy(doc);
	if (!paused)
		return mvm_error_oom(err);
	int r = memory ? suspend(mvm, id, err) : stop(e, mvm, paused, err);
	if (r < 0) {
		json_decref(paused);
		return r;
	}
	json_object_set_new(paused, SANDBOX_END, json_integer(0));
	r = sandbox_save(e, paused, err);
	sandbox_post(e, id, paused);
	return r;
}
