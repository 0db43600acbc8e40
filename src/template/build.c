/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <mvm/build.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "build/build.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "instance/data_disk.h"
#include "model/run.h"
#include "start/context.h"
#include "start/data_disk.h"
#include "start/start.h"
#include "store/blob.h"
#include "store/revision.h"
#include "template/image_secrets.h"
#include "template/kernel_needs.h"
#include "template/snapshot.h"
#include "template/spec_rules.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)
DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

#define NAME_VMLINUX   "vmlinux"
#define NAME_ROOTFS    "rootfs.ext4"
#define NAME_INITRD    "initrd"
#define NAME_FC_CONFIG "fc-base.json"

/*
 * fc-base.json: a valid Firecracker configuration file with names relative to the revision.
 * Source: Firecracker's api_server/swagger/firecracker.yaml (BootSource, Drive,
 * MachineConfiguration).
 */
static int write_fc_config(int dir_fd, const struct mvm_template_spec *spec, struct mvm_error *err)
{
	AUTO_FREE char *args = str_printf("console=ttyS0 reboot=k panic=-1 pci=off%s%s",
					  spec->run.boot_args ? " " : "",
					  spec->run.boot_args ? spec->run.boot_args : "");
	if (!args)
		return mvm_error_oom(err);
	struct json_out out = { 0 };
	AUTO_FREE char *text = NULL;
	json_t *config = json_pack(
		"{s:{s:s, s:s, s:s}, s:[{s:s, s:s, s:b, s:b}], s:{s:i, s:I, s:b}}", "boot-source",
		"kernel_image_path", NAME_VMLINUX, "initrd_path", NAME_INITRD, "boot_args", args,
		"drives", "drive_id", "rootfs", "path_on_host", NAME_ROOTFS, "is_root_device", 0,
		"is_read_only", 1, "machine-config", "vcpu_count", (int)spec->vcpus, "mem_size_mib",
		(json_int_t)spec->mem_mib, "smt", 0);
	int r = json_out_text(&out, config, JSON_TEXT_PRETTY, &text, err);
	if (r == 0)
		r = file_create_at(dir_fd, NAME_FC_CONFIG, text, strlen(text), 0444);
	return r < 0 && r != -ENOMEM
		       ? mvm_error_set(err, r, "cannot write %s: %s", NAME_FC_CONFIG, strerror(-r))
		       : r;
}

static int fill_revision(const struct mvm_template_spec *spec, const struct build_artifacts *a,
			 const char *hash, struct mvm_template_revision *ret, struct mvm_error *err)
{
	bool failed = false;
	ret->schema_version = MVM_SCHEMA_VERSION;
	ret->revision_hash = str_dup(hash, &failed);
	ret->flake_ref = str_dup(spec->flake_ref, &failed);
	ret->flake_lock_hash = str_dup(a->lock, &failed);
	ret->artifact_paths.vmlinux = str_dup(NAME_VMLINUX, &failed);
	ret->artifact_paths.rootfs = str_dup(NAME_ROOTFS, &failed);
	ret->artifact_paths.initrd = str_dup(NAME_INITRD, &failed);
	ret->artifact_paths.fc_base_config = str_dup(NAME_FC_CONFIG, &failed);
	ret->artifact_paths.sizes = (struct mvm_artifact_sizes){
		.present = true,
		.vmlinux_bytes = a->vmlinux_bytes,
		.rootfs_bytes = a->rootfs_bytes,
		.initrd_bytes = a->initrd_bytes,
		.nix_closure_bytes = a->nix_closure_bytes,
	};
	ret->built_at = clock_wall_ns() / NS_PER_S;
	ret->profile = str_dup(spec->profile, &failed);
	ret->role = str_dup(spec->role, &failed);
	ret->vcpus = spec->vcpus;
	ret->mem_mib = spec->mem_mib;
	ret->data_disk_mib = spec->data_disk_mib;
	ret->build.builder = str_dup(a->info.builder, &failed);
	ret->build.source_fingerprint = str_dup(a->info.source_fingerprint, &failed);
	ret->build.attribute = str_dup(a->info.attribute, &failed);
	ret->build.mvm_version = str_dup(a->info.mvm_version, &failed);
	return failed ? mvm_error_oom(err) : mvm_run_copy(&spec->run, &ret->run, err);
}

static int stage_revision(struct store *s, const struct mvm_template_spec *spec,
			  const struct build_artifacts *a, const char *hash, struct staging *st,
			  struct mvm_error *err)
{
	struct mvm_artifact known[] = {
		{ NAME_VMLINUX, a->vmlinux },
		{ NAME_ROOTFS, a->rootfs },
		{ NAME_INITRD, a->initrd },
		{ DATA_DISK_NAME, { { 0 } } },
	};
	size_t n_known = spec->data_disk_mib ? 4 : 3;
	AUTO_DONE(mvm_template_revision) rev = { 0 };

	int r = store_stage(s, st, err);
	if (r == 0 && spec->data_disk_mib)
		r = data_disk_blob(s, spec->data_disk_mib, &known[3].digest, err);
	for (size_t i = 0; r == 0 && i < n_known; i++)
		r = store_blob_link(s, &known[i].digest, st->fd, known[i].name, err);
	if (r == 0)
		r = write_fc_config(st->fd, spec, err);
	if (r == 0)
		r = store_checksums_write(st->fd, spec->template_id, hash, known, n_known, NULL,
					  err);
	if (r == 0)
		r = fill_revision(spec, a, hash, &rev, err);
	return r < 0 ? r : store_revision_save(st->fd, &rev, err);
}

static int hash_revision(const struct mvm_template_spec *spec, const struct build_artifacts *a,
			 char ret[MVM_REVISION_HASH_SIZE], struct mvm_error *err)
{
	const struct mvm_artifact artifacts[] = {
		{ "vmlinux", a->vmlinux },
		{ "rootfs", a->rootfs },
		{ "initrd", a->initrd },
	};
	const struct mvm_revision_inputs inputs = {
		.artifacts = artifacts,
		.n_artifacts = MVM_ARRAY_SIZE(artifacts),
		.profile = spec->profile,
		.role = spec->role,
		.vcpus = spec->vcpus,
		.mem_mib = spec->mem_mib,
		.data_disk_mib = spec->data_disk_mib,
		.run = &spec->run,
	};
	return mvm_revision_hash(&inputs, ret, err);
}

/* Can this revision be run?  Otherwise the build publishes it again. */
static bool have_revision(struct mvm *mvm, const char *id, const char *hash)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	return revision_look(mvm, id, hash, &revision, NULL) == 0;
}

/* Is every file of the revision sound?  --force mends damage that `verify` would find. */
static bool is_sound(struct store *s, const char *id, const char *hash)
{
	AUTO_CLOSE int dir_fd = store_revision_open(s, id, hash, NULL);
	return dir_fd >= 0 && store_revision_verify(dir_fd, NULL, NULL) == 0;
}

/* Only a new revision gets the notes, so a later build does not repeat them. */
static void note_secrets(const struct staging *st, const struct mvm_template_spec *spec,
			 const struct mvm_progress *progress)
{
	AUTO_CLOSE int fd = openat(st->fd, NAME_ROOTFS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		image_secrets_note(fd, spec->template_id, progress);
}

static int publish(struct mvm *mvm, const struct mvm_template_spec *spec,
		   const struct build_artifacts *a, const struct mvm_build_options *options,
		   const struct mvm_progress *progress, struct mvm_build_result *result,
		   struct mvm_error *err)
{
	char current[MVM_REVISION_SIZE] = "";
	struct store *s = mvm->store;
	int r = 0;

	if (!have_revision(mvm, spec->template_id, result->revision) ||
	    (options->force && !is_sound(s, spec->template_id, result->revision))) {
		AUTO_DONE(staging) st = STAGING_NONE;
		AUTO_DONE(progress_step) step = { 0 };
		progress_begin(&step, progress, "publishing %s@%.12s", spec->template_id,
			       result->revision);
		r = stage_revision(s, spec, a, result->revision, &st, err);
		if (r == 0)
			r = store_revision_publish(s, &st, spec->template_id, result->revision,
						   err);
		if (r < 0)
			return r;
		progress_end(&step, NULL);
		result->new_revision = true;
		note_secrets(&st, spec, progress);
		if (store_blobs_copied(s))
			progress_note(progress, "this file system cannot link files, so artifacts "
						"were copied");
	}
	/* set `current` also when it is missing or damaged */
	r = store_current_get(s, spec->template_id, current, NULL);
	if (r < 0 || strcmp(current, result->revision) != 0)
		return store_current_set(s, spec->template_id, result->revision, err);
	return 0;
}

static int check_spec(const struct mvm_template_spec *spec, const struct mvm_build_options *options,
		      struct mvm_error *err)
{
	int r = mvm_machine_check(spec->vcpus, spec->mem_mib, err);
	if (r == 0 && options->snapshot)
		r = need_agent(&spec->run, err);
	return r < 0 ? r : data_disk_check(spec->data_disk_mib, err);
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
	return r < 0 ? r : hash_revision(spec, a, result->revision, err);
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
			r = publish(mvm, spec, &a, options, progress, result, err);
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
	result->new_revision = !a.cached ||
			       !have_revision(mvm, spec->template_id, result->revision);
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
