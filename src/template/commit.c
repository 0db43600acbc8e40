/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a revision of a running instance's root file system. */
#include <errno.h>
#include <fcntl.h>
#include <mvm/build.h>
#include <mvm/suspend.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "build/build.h"
#include "build/committed.h"
#include "codec/sha256.h"
#include "image/image.h"
#include "instance/copy.h"
#include "model/run.h"
#include "start/fork.h"
#include "start/start.h"
#include "start/suspend.h"
#include "store/blob.h"
#include "store/revision.h"
#include "template/publish.h"
#include "template/snapshot.h"
#include "template/spec_rules.h"

/* How long a guest may be silent: freezing its processes takes at most ten seconds. */
#define IDLE_MS INT64_C(60000)

#define NAME_TAR    "root.tar"
#define NAME_ROOTFS "rootfs.ext4"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)

struct commit {
	struct mvm *mvm;
	const struct mvm_commit_options *options;
	const struct mvm_progress *progress;
	struct mvm_instance *instance;
	struct record record;
	struct revision base; /* that the instance runs */
	struct mvm_template_spec spec;
	bool is_new; /* the template */
	struct staging staging;
	struct build_artifacts artifacts;
	bool resumed;		/* the instance was suspended, and is to be again */
	struct fork_state kept; /* of the VM, for the snapshot; fd -1: its memory is not wanted */
};

static void commit_done(struct commit *c)
{
	mvm_instance_close(c->instance);
	fork_state_done(&c->kept);
	record_done(&c->record);
	revision_done(&c->base);
	mvm_template_spec_done(&c->spec);
	staging_done(&c->staging);
	build_artifacts_done(&c->artifacts);
}
DEFINE_AUTO_DONE(commit, commit_done)

/* The spec of a new template: the settings of the revision that the instance runs. */
static int make_spec(const struct commit *c, const char *id, struct mvm_template_spec *ret,
		     struct mvm_error *err)
{
	const struct mvm_template_revision *rev = &c->base.rev;
	bool failed = false;

	ret->schema_version = MVM_SCHEMA_VERSION;
	ret->template_id = str_dup(id, &failed);
	ret->flake_ref = str_dup(c->artifacts.flake_ref, &failed);
	ret->profile = str_dup(rev->profile, &failed);
	ret->role = str_dup(rev->role, &failed);
	ret->vcpus = rev->vcpus;
	ret->mem_mib = rev->mem_mib;
	ret->data_disk_mib = rev->data_disk_mib;
	ret->root_disk_mib = rev->root_disk_mib;
	ret->created_at = ret->updated_at = clock_wall_ns() / NS_PER_S;
	int r = failed ? mvm_error_oom(err) : mvm_run_copy(&rev->run, &ret->run, err);
	return r < 0 ? r : spec_check(ret, err);
}

static int find_spec(struct commit *c, const char *id, struct mvm_error *err)
{
	int r = store_template_exists(c->mvm->store, id, err);
	if (r < 0)
		return r;
	c->is_new = r == 0;
	if (c->is_new)
		return make_spec(c, id, &c->spec, err);
	r = store_spec_load(c->mvm->store, id, &c->spec, err);
	if (r == 0)
		/* its revision would have the initrd of the base */
		r = need_agent(&c->spec.run, err);
	return r < 0 ? r : run_over_image(&c->spec.run, &c->base.rev.run, &c->spec.run, err);
}

/* Open the revision that the instance runs, whose supervisor keeps it from being removed. */
static int find_base(struct commit *c, const char *instance, struct mvm_error *err)
{
	int fd = store_dir_get(c->mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : mvm_instance_open(c->mvm, instance, &c->instance, err);
	if (r == 0)
		r = instance_load(fd, instance, &c->record, NULL, err);
	if (r < 0)
		return r;
	AUTO_FREE char *ref = str_printf("%s@%s", c->record.template_id, c->record.revision);
	AUTO_FREE char *flake_ref = ref ? str_printf(COMMITTED_PREFIX "%s", ref) : NULL;
	if (!flake_ref)
		return mvm_error_oom(err);
	r = revision_open(c->mvm, ref, &c->base, err);
	c->artifacts.flake_ref = TAKE_PTR(flake_ref);
	c->artifacts.info.base = TAKE_PTR(ref);
	return r;
}

static int create_file(const struct commit *c, const char *name, struct mvm_error *err)
{
	int fd = openat(c->staging.fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? mvm_error_set(err, -errno, "cannot create %s: %s", name, strerror(errno))
		      : fd;
}

/* Get the guest's root as a tar. */
static int copy_files(struct commit *c, int tar_fd, uint64_t max_bytes, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_DONE(strbuf) note = { 0 };
	AUTO_DONE(strv) volumes = { 0 };
	const struct copy_options options = {
		.stream_fd = -1, .timeout_ms = -1, .idle_ms = IDLE_MS, .progress = c->progress
	};
	char size[24];
	off_t bytes;

	for (size_t i = 0; i < c->record.n_volumes; i++)
		strv_add(&volumes, c->record.volumes[i].guest);
	if (volumes.failed)
		return mvm_error_oom(err);
	progress_begin(&step, c->progress, "reading the files of %s", c->record.name);
	int r = copy_root(&c->instance->control, &volumes, tar_fd, max_bytes, &step, &options,
			  &note, err);
	if (r < 0)
		return mvm_error_context(err, r, "VM '%s'", c->record.name);
	bytes = lseek(tar_fd, 0, SEEK_CUR);
	str_bytes(bytes < 0 ? 0 : (uint64_t)bytes, size, sizeof(size));
	progress_end(&step, "%s", size);
	if (note.len)
		progress_note(c->progress, "%s: %s", c->record.name, note.data);
	return 0;
}

/* Turn the tar into an image, and the image into a blob. */
static int make_rootfs(struct commit *c, struct mvm_error *err)
{
	uint64_t max_bytes = c->options->max_bytes ? c->options->max_bytes : MVM_COPY_MAX_BYTES;
	struct build_artifacts *a = &c->artifacts;
	AUTO_DONE(progress_step) step = { 0 };
	char size[24];

	AUTO_CLOSE int tar_fd = create_file(c, NAME_TAR, err);
	if (tar_fd < 0)
		return tar_fd;
	unlinkat(c->staging.fd, NAME_TAR, 0); /* only this process needs it */
	int r = copy_files(c, tar_fd, max_bytes, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = create_file(c, NAME_ROOTFS, err);
	if (fd < 0)
		return fd;
	progress_begin(&step, c->progress, "root image from %s", c->record.name);
	const struct image_options options = { .whole = true,
					       .max_bytes = max_bytes,
					       .step = &step };
	r = image_from_tar(tar_fd, c->record.name, fd, &options, err);
	if (r == 0)
		r = store_blob_take(c->mvm->store, c->staging.fd, NAME_ROOTFS, &a->rootfs,
				    &a->rootfs_bytes, err);
	if (r < 0)
		return r;
	str_bytes(a->rootfs_bytes, size, sizeof(size));
	progress_end(&step, "%s", size);
	return 0;
}

/* Take the kernel or initrd of the base: mostly it is a blob already. */
static int take_from_base(struct commit *c, const char *name, struct mvm_digest *ret,
			  uint64_t *ret_bytes, struct mvm_error *err)
{
	struct store *s = c->mvm->store;
	const struct mvm_digest *known = name ? checksums_find(&c->base.sums, name) : NULL;

	if (known && store_blob_has(s, known, ret_bytes)) {
		*ret = *known;
		return 0;
	}
	if (!known || !mvm_artifact_name_valid(name))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "revision %s has no kernel or initrd of its own",
				     c->base.hash);
	int r = store_link_file(s, c->base.dir_fd, name, c->staging.fd, name);
	if (r < 0)
		return mvm_error_set(err, r, "cannot link '%s': %s", name, strerror(-r));
	r = store_blob_take(s, c->staging.fd, name, ret, ret_bytes, err);
	return r < 0 ? r : 0;
}

static int make_artifacts(struct commit *c, struct mvm_error *err)
{
	const struct mvm_artifact_paths *base = &c->base.rev.artifact_paths;
	struct build_artifacts *a = &c->artifacts;
	bool failed = false;

	int r = store_stage(c->mvm->store, &c->staging, err);
	if (r == 0)
		r = make_rootfs(c, err);
	if (r == -ENOSPC)
		return store_mend(c->mvm->store, r, err);
	if (r == 0)
		r = take_from_base(c, base->vmlinux, &a->vmlinux, &a->vmlinux_bytes, err);
	if (r == 0)
		r = take_from_base(c, base->initrd, &a->initrd, &a->initrd_bytes, err);
	digest_hex(&a->rootfs, a->lock);
	a->info.builder = str_dup("commit", &failed);
	a->info.instance = str_dup(c->record.name, &failed);
	a->info.mvm_version = str_dup(MVM_VERSION, &failed);
	return r == 0 && failed ? mvm_error_oom(err) : r;
}

/* Does the template describe the VM that runs?  Then the settings of both give the same revision.
 * Returns 1, 0 or -errno. */
static int describes_vm(const struct commit *c, const char *id, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) vm = { 0 };
	char ours[MVM_REVISION_HASH_SIZE], theirs[MVM_REVISION_HASH_SIZE];
	bool failed = false;
	int r = make_spec(c, id, &vm, err);
	free(vm.role);
	free(vm.profile); /* only names */
	vm.role = str_dup(c->spec.role, &failed);
	vm.profile = str_dup(c->spec.profile, &failed);
	if (r == 0 && failed)
		r = mvm_error_oom(err);
	if (r == 0)
		r = publish_hash(&vm, &c->artifacts, ours, err);
	if (r == 0)
		r = publish_hash(&c->spec, &c->artifacts, theirs, err);
	return r < 0 ? r : str_eq(ours, theirs);
}

/* Why a snapshot cannot be made of the running VM's memory, or NULL. */
static const char *why_not_memory(const struct commit *c, bool described)
{
	const struct record *rec = &c->record;
	if (!rec->restore)
		return "it has booted";
	if (rec->health == RECORD_HEALTH_UNHEALTHY)
		return "it is not healthy";
	if (rec->n_volumes)
		return "it has volumes, whose files would be in it";
	if (!c->is_new && c->spec.run.snapshot_point == MVM_POINT_BOOT)
		return "the template's snapshots are taken before the workload runs";
	if (c->options->backend && !str_eq(c->options->backend, rec->backend))
		return "it runs on another backend";
	return described ? NULL : "the template's settings are not those that the VM runs with";
}

/* Keep the VM's state for the snapshot, right after its files. */
static int keep_memory(struct commit *c, const char *id, struct mvm_error *err)
{
	int r = describes_vm(c, id, err);
	if (r < 0)
		return r;
	const char *why = why_not_memory(c, r > 0);
	r = -EOPNOTSUPP;
	if (!why) {
		r = fork_keep(c->mvm, c->record.name, c->progress, &c->kept, err);
		why = err->text;
	}
	if (r == 0 && c->is_new) /* its workload runs in the snapshot */
		c->spec.run.snapshot_point = MVM_POINT_UNSET;
	if (r != -EOPNOTSUPP && r != -ESTALE)
		return r < 0 ? mvm_error_context(err, r, "VM '%s'", c->record.name) : 0;
	progress_note(c->progress, "%s: the snapshot is of a new boot, not of its memory: %s",
		      c->record.name, why);
	*err = (struct mvm_error){ 0 };
	return 0;
}

/* A suspended VM runs for as long as its files and memory are read. */
static void suspend_again(struct commit *c)
{
	struct mvm_error err = { 0 };
	if (!c->resumed)
		return;
	c->resumed = false;
	mvm_instance_close(TAKE_PTR(c->instance));
	/* not stopped with the commit: it must not run on */
	if (mvm_instance_suspend(c->mvm, c->record.name, NULL, &err) < 0)
		progress_note(c->progress, "%s: it runs on and could not be suspended again: %s",
			      c->record.name, err.text);
}

static int make_snapshot(struct commit *c, const char *id, struct mvm_build_result *result,
			 struct mvm_error *err)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_DONE(vmm_probe) probe = { 0 };
	const struct vmm_ops *ops;
	const struct mvm_build_options build = {
		.snapshot = c->options->snapshot,
		.backend = c->options->backend,
	};
	if (c->kept.fd < 0)
		return snapshot_ensure(c->mvm, id, &build, c->progress, result, err);
	const struct capture_source from = { .saved_fd = c->kept.fd,
					     .base = &c->base,
					     .own_image = c->record.own_image };
	AUTO_FREE char *ref = str_printf("%s@%s", id, result->revision);
	if (!ref)
		return mvm_error_oom(err);
	int r = revision_open(c->mvm, ref, &revision, err);
	if (r >= 0)
		r = context_backend(c->mvm, c->record.backend, &revision.rev, c->progress, &ops,
				    &probe, err);
	return r < 0 ? r
		     : snapshot_make(c->mvm, &revision, ops, &probe, &from, c->progress, result,
				     err);
}

static int commit_locked(struct commit *c, const char *id, struct mvm_build_result *result,
			 struct mvm_error *err)
{
	int64_t start_ns = clock_now_ns();

	int r = find_spec(c, id, err);
	if (r == 0)
		r = make_artifacts(c, err);
	if (r == 0 && c->options->snapshot)
		r = keep_memory(c, id, err);
	if (r == 0 && !c->kept.origin) /* else its supervisor still has the state */
		suspend_again(c);
	if (r == 0)
		r = publish_hash(&c->spec, &c->artifacts, result->revision, err);
	if (r == 0)
		r = progress_check(c->progress, err);
	if (r < 0)
		return r;
	snprintf(result->template_id, sizeof(result->template_id), "%s", id);
	mvm_template_cache_key(c->artifacts.lock, c->spec.profile, c->spec.role, result->cache_key);
	result->rootfs_bytes = c->artifacts.rootfs_bytes;
	r = publish_revision(c->mvm, &c->spec, &c->artifacts, NULL,
			     c->is_new ? PUBLISH_TEMPLATE : 0, c->progress, result, err);
	if (r < 0)
		return r;
	result->build_ns = clock_now_ns() - start_ns;
	r = make_snapshot(c, id, result, err);
	return r < 0 ? mvm_error_context(err, r,
					 "revision %.12s is published, but not its snapshot",
					 result->revision)
		     : 0;
}

static int commit(struct commit *c, const char *instance, const char *id,
		  struct mvm_build_result *result, struct mvm_error *err)
{
	int r = resume_suspended(c->mvm, instance, c->progress, err);
	if (r < 0)
		return r;
	c->resumed = r > 0;
	/* before locking: a missing instance makes no lock file */
	r = find_base(c, instance, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = template_lock(c->mvm, id, "commit", c->options->no_wait,
					       c->progress, err);
	if (lock_fd < 0)
		return lock_fd;
	r = commit_locked(c, id, result, err);
	return r < 0 ? mvm_error_context(err, r, "template '%s'", id) : 0;
}

int mvm_template_commit(struct mvm *mvm, const char *instance, const char *id,
			const struct mvm_commit_options *options,
			const struct mvm_progress *progress, struct mvm_build_result *ret,
			struct mvm_error *err)
{
	struct mvm_build_result result = { 0 };
	struct mvm_error local = { 0 };
	struct mvm_commit_options taken;
	struct progress_watch watch;
	AUTO_DONE(commit) c = { .mvm = mvm,
				.options = &taken,
				.base = REVISION_NONE,
				.staging = STAGING_NONE,
				.kept = FORK_STATE_NONE };

	if (!err)
		err = &local;
	int r = mvm_struct_take(&taken, sizeof(taken),
				STRUCT_END(struct mvm_commit_options, max_bytes), options, err);
	if (r == 0)
		r = progress_take(&watch, &progress, err);
	c.progress = progress;
	if (r == 0)
		r = commit(&c, instance, id, &result, err);
	suspend_again(&c);
	if (r == 0 && ret)
		mvm_struct_give(ret, BUILD_RESULT_FIRST, &result, sizeof(result));
	return r;
}
