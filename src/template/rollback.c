/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/revisions.h>
#include <string.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/model_json.h"
#include "store/verify.h"
#include "template/history.h"
#include "template/spec_rules.h"

/* Find the revision that was built before the current one. */
static int previous(struct mvm *mvm, const char *id, char ret[MVM_REVISION_SIZE],
		    struct mvm_error *err)
{
	AUTO_DONE(history) h = { 0 };
	size_t i = 0;

	int r = history_load(mvm, id, &h, err);
	if (r < 0)
		return r;
	while (i < h.n && strcmp(h.v[i].name, h.current) != 0)
		i++;
	bool found = i < h.n;
	while (found && ++i < h.n) {
		if (h.v[i].foreign)
			continue;
		memcpy(ret, h.v[i].name, MVM_REVISION_SIZE);
		return 0;
	}
	if (found)
		r = mvm_error_set(err, -ENOENT, "there is no revision before the current one");
	else
		r = mvm_error_set(err, -ENOENT, "no revision is current");
	return mvm_error_reason(err, r, "rollback-where", id);
}

static int named(struct mvm *mvm, const char *id, const char *revision, char ret[MVM_REVISION_SIZE],
		 struct mvm_error *err)
{
	char same_id[MVM_TEMPLATE_ID_SIZE];
	AUTO_FREE char *ref = str_printf("%s@%s", id, revision);
	return ref ? store_template_resolve(mvm->store, ref, same_id, ret, err)
		   : mvm_error_oom(err);
}

/* Refuse a damaged revision. */
static int check(struct mvm *mvm, const char *id, const char *revision,
		 const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_CLOSE int dir_fd = -1;

	progress_begin(&step, progress, "checking %s@%.12s", id, revision);
	int r = store_revision_load(mvm->store, id, revision, &rev, &dir_fd, err);
	if (r == 0)
		r = store_revision_verify(dir_fd, &step, err);
	if (r == -ECANCELED)
		return r;
	if (r < 0) {
		r = mvm_error_context(err, r, "revision %.12s stays unused", revision);
		return mvm_error_reason(err, r, "rollback-damaged", id);
	}
	progress_end(&step, NULL);
	return progress_check(progress, err); /* the receiver may have asked to stop at the end */
}

int mvm_template_rollback(struct mvm *mvm, const char *id, const char *revision,
			  const struct mvm_progress *progress, char ret_from[MVM_REVISION_SIZE],
			  char ret_to[MVM_REVISION_SIZE], struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	char from[MVM_REVISION_SIZE] = "", to[MVM_REVISION_SIZE];
	struct progress_watch watch;

	/* before locking: a template that does not exist gets no lock file */
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = store_spec_load(mvm->store, id, &spec, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template rollback", false, progress, err);
	if (lock_fd < 0)
		return lock_fd;
	if (store_current_get(mvm->store, id, from, NULL) < 0)
		from[0] = '\0'; /* this command mends a broken link */
	r = revision ? named(mvm, id, revision, to, err) : previous(mvm, id, to, err);
	bool moves = r == 0 && strcmp(from, to) != 0;
	if (moves) {
		r = check(mvm, id, to, progress, err);
		if (r == 0)
			r = store_current_set(mvm->store, id, to, err);
	}
	if (r < 0)
		return mvm_error_context(err, r, "template '%s'", id);
	memcpy(ret_from, from, sizeof(from));
	memcpy(ret_to, to, sizeof(to));
	return moves;
}
