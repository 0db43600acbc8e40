/* SPDX-License-Identifier: Apache-2.0 */
#include "run_volumes.h"

#include <errno.h>

#include "base/error.h"
#include "guest_command.h"
#include "handles.h"

#define GONE_MS 10000

void run_volumes_done(struct run_volumes *l)
{
	while (l->n > 0)
		mvm_volume_done(&l->v[--l->n]);
}

int run_volumes_parse(struct cli_context *c, const struct strv *list, uint32_t count,
		      struct run_volumes *to)
{
	if (list->n > MVM_VOLUMES_MAX)
		return cli_usage(c, "more than %d volumes", MVM_VOLUMES_MAX);
	for (size_t i = 0; i < list->n; i++, to->n++) {
		int r = mvm_volume_parse(list->v[i], &to->v[i], &c->err);
		if (r < 0)
			return cli_judged(c, r);
		if (count > 1 && to->v[i].write_back)
			return cli_usage(c,
					 "volume '%s' is for one VM at a time: with --count use "
					 ":ro, and each gets a copy",
					 list->v[i]);
	}
	int r = mvm_volumes_check(to->v, to->n, &c->err);
	return r < 0 ? cli_judged(c, r) : 0;
}

int run_volumes_copy_back(struct cli_context *c, struct mvm *mvm, const char *name, int cancel_fd)
{
	const struct mvm_progress cancel = { .size = sizeof(cancel), .cancel_fd = &cancel_fd };
	int r = mvm_instance_copy_back(mvm, name, NULL, &cancel, &c->err);
	if (r >= 0)
		return 0;
	if (r == -ECANCELED)
		c->failure_status = 128 + guest_signals_take(cancel_fd);
	r = mvm_error_more(&c->err, r, "; the VM is removed with the files that it wrote there");
	/* the reason's hint is for a VM that runs on */
	return mvm_error_hint(&c->err, r,
			      r == -ETIMEDOUT ? "give it more time with --volume-timeout, or use "
						"--detach: 'mvm stop' can be tried again"
					      : "use --detach: 'mvm stop' can be tried again");
}

/* Are the volumes lost with a command that ended so? */
static bool is_lost(int r)
{
	return r == -ECANCELED || r == -ETIMEDOUT || r == -EREMOTEIO || r == -ESRCH;
}

/* Add the fate of the volumes to the error of a command that was cut off.  A VM whose time was over
 * has copied them back itself. */
static void tell_lost(struct cli_context *c, struct mvm *mvm, struct mvm_instance *vm, int status)
{
	AUTO(mvm_instance_info) info = NULL;
	const struct mvm_wait_options a_while = { .size = sizeof(a_while), .timeout_ms = GONE_MS };
	bool gone = status == -EREMOTEIO || status == -ESRCH;
	if (status == -ECANCELED || status == -ETIMEDOUT)
		mvm_error_more(&c->err, status, "; nothing was copied back to volumes");
	else if (gone && mvm_instance_wait(vm, &a_while, NULL, NULL) == 0 &&
		 mvm_instance_inspect(mvm, mvm_instance_name(vm), &info, NULL) == 0 && info->error)
		mvm_error_more(&c->err, status, "; %s", info->error);
}

int run_volumes_end(struct cli_context *c, struct mvm *mvm, struct mvm_instance *vm, int status,
		    int cancel_fd)
{
	struct mvm_error why = c->err;

	if (is_lost(status)) {
		tell_lost(c, mvm, vm, status);
		return status;
	}
	int r = run_volumes_copy_back(c, mvm, mvm_instance_name(vm), cancel_fd);
	if (r == 0)
		c->err = why;
	else if (status < 0) {
		struct mvm_error lost = c->err;
		cli_error(c, r, "%s; %s", why.text, lost.text);
	}
	return r < 0 ? r : status;
}
