/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mvm/build.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "build/build.h"
#include "model/run.h"
#include "start/context.h"
#include "start/disks.h"
#include "start/start.h"
#include "store/blob.h"
#include "store/revision.h"
#include "template/kernel_needs.h"
#include "template/publish.h"
#include "template/snapshot.h"
#include "template/spec_rules.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)

static int check_spec(const struct mvm_template_spec *spec, const struct mvm_build_options *options,
		      struct mvm_error *err)
{
	int r = mvm_machine_check(spec->vcpus, spec->mem_mib, err);
	if (r == 0 && options->snapshot)
		r = need_agent(&spec->run, err);
	return r < 0 ? r : disks_check(spec->data_disk_mib, spec->root_disk_mib, err);
}

/* Make the artifacts, and compute the revision's name from them. */
static int prepare(struct mvm *mvm, struct mvm_template_spec *spec,
		   const struct mvm_build_options *options, const struct mvm_progress *progress,
		   struct build_artifacts *a, struct mvm_build_result *result,
		   struct mvm_error *err)
{
	int r = build_artifacts(mvm->store, spec, options, progress, a, err);
	if (r < 0)
		return r;
	mvm_template_cache_key(a->lock, spec->profile, spec->role, result->cache_key);
	result->cached = a->cached;
	result->rootfs_bytes = a->rootfs_bytes;
	if (options->dry_run && !a->cached)
		return 0;
	/* a setting that the template leaves out comes from the image */
	r = run_over_image(&spec->run, &a->run, &spec->run, err);
	return r < 0 ? r : publish_hash(spec, a, result->revision, err);
}

/* Did a prune collect an artifact before the revision could link it? */
static bool was_collected(struct store *s, const struct build_artifacts *a)
{
	return !store_blob_has(s, &a->vmlinux, NULL) || !store_blob_has(s, &a->rootfs, NULL) ||
	       !store_blob_has(s, &a->initrd, NULL);
}

#define TRIES 5

static int build_locked(struct mvm *mvm, struct mvm_template_spec *spec,
			const struct mvm_build_options *options,
			const struct mvm_progress *progress, struct mvm_build_result *result,
			struct mvm_error *err)
{
	unsigned flags = options->force ? PUBLISH_MEND : 0;
	int64_t start_ns = clock_now_ns();
	bool again = true;

	int r = check_spec(spec, options, err);
	for (int i = 0; r == 0 && again && i < TRIES; i++) {
		AUTO_DONE(build_artifacts) a = { 0 };
		r = prepare(mvm, spec, options, progress, &a, result, err);
		if (r == 0 && i == 0)
			r = kernel_needs_check(spec, &a.kernel, options, progress, err);
		if (r == 0)
			r = progress_check(progress, err);
		bool made = r == 0;
		if (made)
			r = publish_revision(mvm, spec, &a, NULL, flags, progress, result, err);
		again = made && r == -ENOENT && i + 1 < TRIES && was_collected(mvm->store, &a);
		if (again)
			r = 0;
	}
	if (r < 0)
		return r;
	result->build_ns = clock_now_ns() - start_ns;
	r = progress_check(progress, err);
	return r < 0 ? r : snapshot_ensure(mvm, spec->template_id, options, progress, result, err);
}

/* Why the build cache does not have this source's artifacts. */
static const char *why_not_cached(struct mvm *mvm, const char *id, const struct build_artifacts *a)
{
	AUTO_DONE(revision) current = REVISION_NONE;

	if (revision_open(mvm, id, &current, NULL) < 0) /* missing or damaged */
		return "it has not been built, and the build cache has nothing for this source, "
		       "kernel and agent";
	const struct mvm_template_revision *rev = &current.rev;
	if (!str_eq(rev->flake_lock_hash, a->lock))
		return "the source has changed since the current revision was built";
	if (!str_eq(rev->build.source_fingerprint, a->info.source_fingerprint))
		return "the lock is the same, but the source, the kernel or mvm itself has changed";
	return "the build cache no longer has its artifacts";
}

/* Name the template, which the layers below do not know. */
static int about(const char *id, int r, struct mvm_error *err)
{
	r = mvm_error_subject(err, r, id);
	return mvm_error_context(err, r, "template '%s'", id);
}

static const char *why_build(struct mvm *mvm, const char *id,
			     const struct mvm_build_options *options,
			     const struct build_artifacts *a)
{
	if (a->cached)
		return "the build cache has its artifacts";
	if (options->force)
		return "a new build was asked for";
	if (a->impure)
		return "it runs a script, so it is never cached";
	return why_not_cached(mvm, id, a);
}

/* Find out what a build would do, without changing anything. */
static int plan(struct mvm *mvm, struct mvm_template_spec *spec,
		const struct mvm_build_options *options, const struct mvm_progress *progress,
		struct mvm_build_result *result, struct mvm_error *err)
{
	AUTO_DONE(build_artifacts) a = { 0 };

	snprintf(result->template_id, sizeof(result->template_id), "%s", spec->template_id);
	int r = check_spec(spec, options, err);
	if (r == 0)
		r = prepare(mvm, spec, options, progress, &a, result, err);
	if (r < 0)
		return about(spec->template_id, r, err);
	snprintf(result->why, sizeof(result->why), "%s",
		 why_build(mvm, spec->template_id, options, &a));
	result->new_revision = !a.cached || !publish_has(mvm, spec->template_id, result->revision);
	if (!result->new_revision)
		return snapshot_ensure(mvm, spec->template_id, options, progress, result, err);
	result->new_snapshot = options->snapshot;
	return 0;
}

#define BUILD_OPTIONS_FIRST STRUCT_END(struct mvm_build_options, update_hash)

int mvm_template_build_variant_plan(struct mvm *mvm, const struct mvm_template_config *config,
				    const struct mvm_template_variant *variant,
				    const struct mvm_build_options *options,
				    const struct mvm_progress *progress,
				    struct mvm_build_result *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	struct mvm_build_options dry;
	struct mvm_build_result result = { 0 };
	struct progress_watch watch;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = mvm_struct_take(&dry, sizeof(dry), BUILD_OPTIONS_FIRST, options, err);
	dry.dry_run = true;
	if (r == 0)
		r = mvm_template_spec_from_variant(config, variant, 0, &spec, err);
	if (r == 0)
		r = plan(mvm, &spec, &dry, progress, &result, err);
	if (r == 0)
		mvm_struct_give(ret, BUILD_RESULT_FIRST, &result, sizeof(result));
	return r;
}

static int build(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		 const struct mvm_progress *progress, struct mvm_build_result *result,
		 struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	/* before locking: a template that does not exist gets no lock file */
	int r = store_spec_load(mvm->store, id, &spec, err);
	if (r < 0)
		return r;
	if (options->dry_run)
		return plan(mvm, &spec, options, progress, result, err);
	AUTO_CLOSE int lock_fd = template_lock(mvm, id, "template build", options->no_wait,
					       progress, err);
	if (lock_fd < 0)
		return lock_fd;
	mvm_template_spec_done(&spec);
	r = store_spec_load(mvm->store, id, &spec, err); /* again: nobody edits it any more */
	if (r < 0)
		return r;
	snprintf(result->template_id, sizeof(result->template_id), "%s", id);
	r = build_locked(mvm, &spec, options, progress, result, err);
	return r < 0 ? about(id, r, err) : 0;
}

int mvm_template_build(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		       const struct mvm_progress *progress, struct mvm_build_result *ret,
		       struct mvm_error *err)
{
	struct mvm_build_result result = { 0 };
	struct mvm_build_options taken;
	struct progress_watch watch;

	int r = mvm_struct_take(&taken, sizeof(taken), BUILD_OPTIONS_FIRST, options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = build(mvm, id, &taken, progress, &result, err);
	if (r == 0 && ret)
		mvm_struct_give(ret, BUILD_RESULT_FIRST, &result, sizeof(result));
	return r;
}
