/* SPDX-License-Identifier: Apache-2.0 */
/* A template's artifact comes from a registry. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "model/image_ref.h"
#include "model/name.h"
#include "start/start.h"
#include "store/keys.h"
#include "template/lazy.h"
#include "template/pull_files.h"
#include "template/recall.h"

static int find_signer(struct mvm *mvm, struct pull *p, struct artifact *a, int dir_fd,
		       char ret[DIGEST_HEX_SIZE], struct mvm_error *err)
{
	size_t n_keys;

	int r = keys_count_for(mvm->store, pull_name(p), &n_keys, err);
	if (r == 0 && n_keys) /* one of them may have signed it */
		r = pull_signatures(p, dir_fd, a, err);
	if (r == 0)
		r = artifact_signer(mvm->store, a, pull_name(p), ret, err);
	if (r != 0 || !pull_must_be_signed(p))
		return r;
	r = mvm_error_set(
		err, -EPERM,
		"no key that you trust has signed %s, and registries.toml refuses it then",
		pull_place(p));
	return mvm_error_reason(err, r, "artifact-unsigned", pull_place(p));
}

int template_pull(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		  struct lazy *lazy, const struct mvm_progress *progress,
		  struct mvm_artifact_result *result, struct mvm_error *err)
{
	AUTO_DONE(staging) staging = STAGING_NONE;
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	AUTO(pull) p = NULL;
	struct variant_key keys[CONTEXT_KEYS_MAX];
	struct pull_found found;
	char signer[DIGEST_HEX_SIZE];

	int r = pull_open(mvm->store, image_ref_bare(from), 0, progress, &p, err);
	if (r < 0)
		return r;
	const char *id = options->id ? options->id : pull_short_name(p);
	r = name_check(NAME_TEMPLATE, id, err);
	const int n_keys = r < 0 ? r : context_keys(mvm, progress, keys, err);
	if (n_keys < 0)
		return n_keys;
	pull_choose(p, keys, (size_t)n_keys);
	r = pull_resolve(p, &found, err);
	if (r == 0)
		r = store_stage(mvm->store, &staging, err);
	if (r == 0 && lazy)
		r = lazy_join(mvm, p, &found.manifest, staging.fd, id, lazy, progress, err);
	if (r > 0)
		return 0;
	if (r == 0)
		r = pull_artifact(p, &found.manifest, staging.fd, &a, err);
	if (r == 0)
		r = find_signer(mvm, p, &a, staging.fd, signer, err);
	if (r < 0)
		return store_mend(mvm->store, r, err);
	bool signed_here = r > 0;
	struct pull_files files = {
		.mvm = mvm, .pull = p, .id = id, .dir_fd = staging.fd, .progress = progress
	};
	const struct artifact_receive how = {
		.image_only = options->image_only,
		.no_wait = options->no_wait,
		.id = id,
		.signed_by = signed_here ? signer : NULL,
		/* on a host without a VMM nobody knows */
		.keys = n_keys ? keys : NULL,
		.n_keys = (size_t)n_keys,
		.revision = found.revision,
		.fill = lazy ? lazy_fill : pull_files,
		.staged = lazy ? lazy_staged : NULL,
		.arg = lazy ? (void *)lazy : &files,
	};
	if (lazy)
		/* cppcheck-suppress autoVariables ; only until it is received */
		lazy->files = &files;
	r = artifact_receive(mvm, &a, &how, progress, result, err);
	if (lazy)
		lazy->files = NULL;
	if (r == 0)
		pull_ranges_drop(p);
	return r < 0 ? mvm_error_context(err, r, "'%s'", from) : 0;
}

/* Is a revision what the digest of a reference names? */
static int is_of_digest(struct mvm *mvm, const char *from, const struct mvm_digest *digest,
			const struct mvm_template_revision *rev,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	struct pull_found found = { .manifest = *digest };
	struct variant_key keys[CONTEXT_KEYS_MAX];
	AUTO(pull) p = NULL;

	if (recall_is(rev, &found))
		return 1;
	int r = pull_open(mvm->store, image_ref_bare(from), 0, progress, &p, err);
	const int n_keys = r < 0 ? r : context_keys(mvm, progress, keys, err);
	if (n_keys < 0)
		return n_keys;
	if (pull_must_be_signed(p)) /* the registry has the signatures */
		return 0;
	pull_choose(p, keys, (size_t)n_keys);
	r = recall(p, digest, keys, (size_t)n_keys, &found);
	if (r < 0)
		return mvm_error_oom(err);
	return r > 0 && recall_is(rev, &found);
}

/* Is what the reference names here, as far as that can be said without the registry?  1, 0 or
 * -errno.  A revision that cannot be read is not. */
static int is_here(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		   const struct mvm_progress *progress, struct mvm_artifact_result *result,
		   struct mvm_error *err)
{
	AUTO_DONE(image_ref) ref = { 0 };
	AUTO_DONE(revision) here = REVISION_NONE;

	int r = image_ref_parse(image_ref_bare(from), &ref, err);
	if (r < 0)
		return r;
	const char *slash = strrchr(ref.path, '/');
	const char *name = slash ? slash + 1 : ref.path;
	const char *id = options->id ? options->id : name;
	r = name_check(NAME_TEMPLATE, id, err);
	if (r < 0)
		return r;
	if (store_current_get(mvm->store, id, result->revision, NULL) < 0 ||
	    revision_look(mvm, id, result->revision, &here, NULL) < 0)
		return 0;
	r = ref.has_digest ? is_of_digest(mvm, from, &ref.digest, &here.rev, progress, err) : 1;
	if (r <= 0)
		return r;
	snprintf(result->template_id, sizeof(result->template_id), "%s", id);
	result->has_snapshot = here.rev.has_snapshot;
	return 1;
}

int mvm_template_pull(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		      const struct mvm_progress *progress, struct mvm_artifact_result *ret,
		      struct mvm_error *err)
{
	struct mvm_artifact_result result = { 0 };
	struct mvm_pull_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), STRUCT_END(struct mvm_pull_options, id),
				options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	bool here = r == 0 && taken.if_missing;
	if (here) {
		r = is_here(mvm, from, &taken, progress, &result, err);
		here = r > 0;
	}
	if (r == 0)
		r = template_pull(mvm, from, &taken, NULL, progress, &result, err);
	if (r < 0)
		return r;
	artifact_result_give(ret, &result);
	return here;
}
