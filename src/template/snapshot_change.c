/* SPDX-License-Identifier: Apache-2.0 */
/* Add a snapshot to an existing revision, or remove it. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/progress.h"
#include "model/model_json.h"
#include "store/trust.h"
#include "template/capture.h"
#include "template/failed_snapshot.h"
#include "template/holder.h"
#include "template/snapshot.h"
#include "template/spec_rules.h"

/* Publish the revision again, without its snapshot. */
static int remove_snapshot(struct mvm *mvm, struct revision *revision,
			   const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(staging) staging = STAGING_NONE;
	AUTO_DONE(progress_step) step = { 0 };
	struct mvm_template_revision rev = revision->rev; /* borrowed, except the snapshot */

	progress_begin(&step, progress, "removing the snapshot of %s@%.12s", revision->id,
		       revision->hash);
	rev.has_snapshot = false;
	rev.snapshot = (struct mvm_snapshot_info){ 0 };
	int r = store_stage_revision(mvm->store, revision->id, revision->hash, &staging, err);
	if (r == 0)
		r = store_revision_save(staging.fd, &rev, err);
	if (r == 0)
		r = capture_checksums(revision->dir_fd, false, staging.fd, revision, &step, err);
	if (r == 0) {
		store_trust_stage(revision->dir_fd, staging.fd, NULL);
		r = holder_publish(mvm, &staging, revision->id, revision->hash, err);
	}
	revision_done(revision); /* so that the replaced folder can go */
	if (r < 0)
		return store_mend(mvm->store, r, err);
	progress_end(&step, NULL);
	return 0;
}

static int make(struct mvm *mvm, struct revision *revision,
		const struct mvm_snapshot_options *options, const struct mvm_progress *progress,
		struct mvm_build_result *result, struct mvm_error *err)
{
	AUTO_DONE(vmm_probe) probe = { 0 };
	const struct vmm_ops *ops;
	int r = context_backend(mvm, options->backend, &revision->rev, progress, &ops, &probe, err);
	return r < 0 ? r : snapshot_make(mvm, revision, ops, &probe, NULL, progress, result, err);
}

static int change(struct mvm *mvm, const char *id, const char *hash,
		  const struct mvm_snapshot_options *options, const struct mvm_progress *progress,
		  struct mvm_build_result *result, struct mvm_error *err)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_FREE char *ref = str_printf("%s@%s", id, hash);
	int r = ref ? revision_open(mvm, ref, &revision, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	result->rootfs_bytes = revision.rev.artifact_paths.sizes.rootfs_bytes;
	mvm_template_cache_key(revision.rev.flake_lock_hash, revision.rev.profile,
			       revision.rev.role, result->cache_key);
	if (!options->remove)
		r = make(mvm, &revision, options, progress, result, err);
	else if (!revision.rev.has_snapshot)
		return 0;
	else
		r = remove_snapshot(mvm, &revision, progress, err);
	return r < 0 ? r : 1;
}

static int snapshot(struct mvm *mvm, const char *ref, const struct mvm_snapshot_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err)
{
	char id[MVM_TEMPLATE_ID_SIZE], hash[MVM_REVISION_SIZE];

	/* before locking: a template that does not exist gets no lock file */
	int r = store_template_resolve(mvm->store, ref, id, hash, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template snapshot", options->no_wait,
					       progress, err);
	if (lock_fd < 0)
		return lock_fd;
	/* again: another revision may have become current while we waited */
	r = store_template_resolve(mvm->store, ref, id, hash, err);
	if (r < 0)
		return r;
	snprintf(result->template_id, sizeof(result->template_id), "%s", id);
	snprintf(result->revision, sizeof(result->revision), "%s", hash);
	failed_snapshot_forget(mvm->store, id);
	r = change(mvm, id, hash, options, progress, result, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s', revision %.12s", id, hash);
	return r;
}

#define SNAPSHOT_OPTIONS_FIRST STRUCT_END(struct mvm_snapshot_options, backend)

int mvm_template_snapshot(struct mvm *mvm, const char *ref,
			  const struct mvm_snapshot_options *options,
			  const struct mvm_progress *progress, struct mvm_build_result *ret,
			  struct mvm_error *err)
{
	struct mvm_build_result result = { .cached = true };
	struct mvm_snapshot_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), SNAPSHOT_OPTIONS_FIRST, options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = snapshot(mvm, ref, &taken, progress, &result, err);
	if (r >= 0 && ret)
		mvm_struct_give(ret, BUILD_RESULT_FIRST, &result, sizeof(result));
	return r;
}
