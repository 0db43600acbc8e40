/* SPDX-License-Identifier: Apache-2.0 */
/* The revision of an artifact in a registry, pulled when VMs are first started from it. */
#include <errno.h>
#include <mvm/artifact.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "build/committed.h"
#include "model/image_ref.h"
#include "model/model_json.h"
#include "model/name.h"
#include "pull/pull.h"
#include "start/start.h"
#include "store/revision.h"
#include "template/lazy.h"
#include "template/recall.h"

/* May a pull replace the template's current revision?  1: it came from a registry or a file; 0: it
 * does not exist; -EEXIST: somebody made it here. */
static int look_at(struct mvm *mvm, const char *id, const char *ref, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	int r = store_template_exists(mvm->store, id, err);
	if (r > 0 && store_spec_load(mvm->store, id, &spec, err) < 0)
		r = -EBADMSG;
	if (r <= 0)
		return r;
	if (str_starts(spec.flake_ref, RECEIVED_PREFIX))
		return 1;
	return mvm_error_set(err, -EEXIST,
			     "template '%s' has another source, '%s'; '%s' can be pulled under "
			     "another name",
			     id, spec.flake_ref, ref);
}

/* Find the revision that a pull would leave here.  1 or 0. */
static int find(struct mvm *mvm, const char *id, const struct pull_found *found,
		char ret[MVM_REVISION_SIZE], struct mvm_error *err)
{
	AUTO_DONE(strv) revisions = { 0 };

	int r = store_revision_list(mvm->store, id, &revisions, err);
	for (size_t i = 0; r == 0 && i < revisions.n; i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		const char *hash = revisions.v[i];
		if (store_revision_load(mvm->store, id, hash, &rev, NULL, NULL) < 0 ||
		    !recall_is(&rev, found))
			continue;
		snprintf(ret, MVM_REVISION_SIZE, "%s", hash);
		return 1;
	}
	return r;
}

/* Is the artifact here already?  1 with its revision, 0 or -errno. */
static int is_here(struct mvm *mvm, struct pull *p, const char *id, const char *ref,
		   const struct mvm_progress *progress, char ret[MVM_REVISION_SIZE],
		   struct mvm_error *err)
{
	struct variant_key keys[CONTEXT_KEYS_MAX];
	struct pull_found found;

	int r = name_check(NAME_TEMPLATE, id, err);
	if (r == 0)
		r = look_at(mvm, id, ref, err);
	if (r <= 0)
		return r;
	const int n_keys = context_keys(mvm, progress, keys, err);
	if (n_keys < 0)
		return n_keys;
	pull_choose(p, keys, (size_t)n_keys);
	r = pull_resolve(p, &found, err);
	/* its snapshot may not be for this host, and then stays there; a signature must be asked
	 * for */
	if (r == 0 && str_empty(found.revision) && !pull_must_be_signed(p))
		r = recall(p, &found.manifest, keys, (size_t)n_keys, &found);
	if (r == -ENOMEM)
		mvm_error_oom(err);
	return r < 0 ? r : find(mvm, id, &found, ret, err);
}

static int pull(struct mvm *mvm, const char *ref, const struct mvm_pull_options *options,
		const struct mvm_progress *progress, char ret[MVM_REVISION_SIZE],
		struct mvm_error *err)
{
	struct mvm_artifact_result result;
	int dir_fd = -1, source_fd = -1;

	int r = background_begin(mvm, ref, options, progress, &result, &dir_fd, &source_fd, err);
	if (r < 0)
		return r;
	snprintf(ret, MVM_REVISION_SIZE, "%s", result.revision);
	return dir_fd < 0 ? 0
			  : revision_arrives(mvm, options->id, result.revision, dir_fd, source_fd,
					     err);
}

int mvm_template_of_artifact(struct mvm *mvm, const char *ref,
			     const struct mvm_pull_options *options,
			     const struct mvm_progress *progress, char **ret_ref,
			     struct mvm_error *err)
{
	AUTO(pull) p = NULL;
	char hash[MVM_REVISION_SIZE];
	struct mvm_pull_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), STRUCT_END(struct mvm_pull_options, id),
				options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0 && mvm->arriving)
		r = mvm_error_set(err, -EBUSY, "this handle has a revision that is still coming");
	if (r == 0)
		r = pull_open(mvm->store, image_ref_bare(ref), 0, progress, &p, err);
	if (r < 0)
		return r;
	if (!taken.id)
		taken.id = pull_short_name(p);
	r = is_here(mvm, p, taken.id, ref, progress, hash, err);
	bool here = r > 0;
	if (r == 0)
		r = pull(mvm, ref, &taken, progress, hash, err);
	if (r < 0)
		return r;
	*ret_ref = str_printf("%s@%s", taken.id, hash);
	return *ret_ref ? !here : mvm_error_oom(err);
}
