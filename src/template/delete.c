/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/store.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "build/nix_flake.h"
#include "store/revision.h"
#include "template/failed_snapshot.h"
#include "template/holder.h"
#include "template/spec_rules.h"

/* The name of an instance that uses a revision, or NULL. */
static char *find_user(struct mvm *mvm, const char *id, const char *revision)
{
	struct mvm_instance_info **all = NULL;
	char *name = NULL;
	size_t n = 0;

	if (mvm_instance_list(mvm, &all, &n, NULL) < 0)
		return NULL; /* the error then names only the revision */
	for (size_t i = 0; i < n; i++) {
		if (!name && str_eq(all[i]->template_id, id) &&
		    str_eq(all[i]->revision, revision) && !all[i]->ended_at)
			name = strdup(all[i]->name);
	}
	mvm_instance_list_free(all, n);
	return name;
}

static int in_use(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_FREE char *user = find_user(mvm, id, revision);
	int r = user ? mvm_error_set(err, -EBUSY, "instance '%s' runs from %s@%.12s", user, id,
				     revision)
		     : mvm_error_set(err, -EBUSY, "%s@%.12s is in use", id, revision);
	if (user)
		return mvm_error_reason(err, r, "instance-in-the-way", user);
	return mvm_error_reason(err, r, "template-in-use", id);
}

/* Report which revision is in use. */
static int find_used(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	AUTO_DONE(strv) revisions = { 0 };

	int r = store_revision_list(mvm->store, id, &revisions, err);
	for (size_t i = 0; r == 0 && i < revisions.n; i++) {
		if (store_revision_in_use(mvm->store, id, revisions.v[i]))
			return in_use(mvm, id, revisions.v[i], err);
	}
	return r < 0 ? r : mvm_error_set(err, -EBUSY, "one of its revisions is in use");
}

static int remove_claimed(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	/* from here on no instance can start from the template */
	AUTO_CLOSE int claim = store_claim_template(mvm->store, id);
	if (claim == -EBUSY)
		return find_used(mvm, id, err);
	if (claim < 0) {
		mvm_error_set(err, claim, "cannot claim its revisions: %s", strerror(-claim));
		return store_mend(mvm->store, claim, err);
	}
	int r = holder_check(mvm, id, NULL, err);
	return r < 0 ? r : store_template_remove(mvm->store, id, err);
}

/* Remove the template's log, lock files and failed snapshot.  A file that stays does no harm. */
static void forget(struct mvm *mvm, const char *id)
{
	AUTO_FREE char *log = str_printf(NIX_LOG_NAME, id);
	int logs_fd = store_dir(mvm->store, STORE_LOGS);
	if (log && logs_fd >= 0)
		unlinkat(logs_fd, log, 0);
	failed_snapshot_forget(mvm->store, id);
	store_forget_locks(mvm->store, id);
}

int mvm_template_delete(struct mvm *mvm, const char *id, const struct mvm_progress *progress,
			struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	/* before locking: a template that does not exist gets no lock file */
	r = mvm_template_exists(mvm, id, err);
	if (r == 0) {
		r = mvm_error_set(err, -ENOENT, "no template '%s'", id);
		return mvm_error_reason(err, r, "no-template", id);
	}
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template delete", false, progress, err);
	if (lock_fd < 0)
		return lock_fd;
	r = remove_claimed(mvm, id, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s'", id);
	close(TAKE_FD(lock_fd));
	forget(mvm, id);
	return 0;
}
