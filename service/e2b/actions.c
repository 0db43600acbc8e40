/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of sandboxes, on workers: by a request, and when a lease is over. */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/suspend.h>
#include <time.h>

#include "base/error.h"
#include "e2b/e2b.h"

#define BUSY_TRIES 50 /* of 200 ms: what used the guest lets go of it */

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

int sandbox_pause(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err)
{
	const char *id = sandbox_text(doc, "id");
	int r = -EBUSY;

	if (is_suspended(mvm, id))
		return mvm_error_set(err, -EALREADY, "sandbox '%s' is paused already", id);
	for (unsigned i = 0; r == -EBUSY && i < BUSY_TRIES; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		r = mvm_instance_suspend(mvm, id, NULL, err);
	}
	if (r < 0)
		return r;
	json_t *paused = json_deep_copy(doc);
	json_object_set_new(paused, SANDBOX_END, json_integer(0));
	r = paused ? sandbox_save(e, paused, err) : mvm_error_oom(err);
	sandbox_post(e, id, paused);
	return r;
}
