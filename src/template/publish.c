/* SPDX-License-Identifier: Apache-2.0 */
#include "template/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "codec/json.h"
#include "start/disks.h"
#include "start/start.h"
#include "store/blob.h"
#include "store/revision.h"
#include "template/holder.h"
#include "template/image_secrets.h"

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
	ret->flake_ref = str_dup(a->flake_ref ? a->flake_ref : spec->flake_ref, &failed);
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
	ret->root_disk_mib = spec->root_disk_mib;
	ret->build.builder = str_dup(a->info.builder, &failed);
	ret->build.source_fingerprint = str_dup(a->info.source_fingerprint, &failed);
	ret->build.attribute = str_dup(a->info.attribute, &failed);
	ret->build.mvm_version = str_dup(a->info.mvm_version, &failed);
	ret->build.instance = str_dup(a->info.instance, &failed);
	ret->build.base = str_dup(a->info.base, &failed);
	return failed ? mvm_error_oom(err) : mvm_run_copy(&spec->run, &ret->run, err);
}

/* The files of a revision whose digests are known before they are there. */
struct known {
	struct mvm_artifact v[4 + PUBLISH_SNAPSHOT_FILES];
	size_t n;
};

static int list_known(struct store *s, const struct mvm_template_spec *spec,
		      const struct build_artifacts *a, struct known *ret, struct mvm_error *err)
{
	*ret = (struct known){ .v = { { NAME_VMLINUX, a->vmlinux },
				      { NAME_ROOTFS, a->rootfs },
				      { NAME_INITRD, a->initrd },
				      { own_disks[OWN_DISK_DATA].file, { { 0 } } } },
			       .n = spec->data_disk_mib ? 4 : 3 };
	return spec->data_disk_mib ? data_disk_blob(s, spec->data_disk_mib, &ret->v[3].digest, err)
				   : 0;
}

/* Write the files that describe a staged revision. */
static int describe_revision(const struct mvm_template_spec *spec, const struct build_artifacts *a,
			     const struct publish_snapshot *snapshot, const char *hash,
			     struct known *known, int dir_fd, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };

	for (size_t i = 0; snapshot && i < snapshot->n_files; i++)
		known->v[known->n++] = snapshot->files[i];
	int r = write_fc_config(dir_fd, spec, err);
	if (r == 0 && snapshot)
		r = mvm_snapshot_info_copy(snapshot->info, &rev.snapshot, err);
	rev.has_snapshot = snapshot != NULL;
	if (r == 0)
		r = fill_revision(spec, a, hash, &rev, err);
	if (r == 0)
		r = store_revision_save(dir_fd, &rev, err);
	return r < 0 ? r
		     : store_checksums_write(dir_fd, spec->template_id, hash, known->v, known->n,
					     NULL, err);
}

static int stage_revision(struct store *s, const struct mvm_template_spec *spec,
			  const struct build_artifacts *a, const struct publish_snapshot *snapshot,
			  const char *hash, struct staging *st, struct mvm_error *err)
{
	struct known known;

	int r = store_stage(s, st, err);
	if (r >= 0)
		r = list_known(s, spec, a, &known, err);
	for (size_t i = 0; r == 0 && i < known.n; i++)
		r = store_blob_link(s, &known.v[i].digest, st->fd, known.v[i].name, err);
	if (r == 0 && snapshot && renameat(snapshot->dir_fd, "snapshot", st->fd, "snapshot") < 0)
		r = mvm_error_set(err, -errno, "cannot move the snapshot: %s", strerror(errno));
	if (r == 0)
		r = describe_revision(spec, a, snapshot, hash, &known, st->fd, err);
	return store_mend(s, r, err);
}

int publish_view(struct mvm *mvm, const struct mvm_template_spec *spec,
		 const struct build_artifacts *a, const struct publish_snapshot *snapshot,
		 const char *hash, int dir_fd, struct mvm_error *err)
{
	const char *data_disk = own_disks[OWN_DISK_DATA].file;
	struct known known;

	AUTO_CLOSE int dir = dir_make_at(dir_fd, "snapshot");
	int r = dir < 0 ? dir : list_known(mvm->store, spec, a, &known, err);
	for (size_t i = 0; r == 0 && i < known.n + snapshot->n_files; i++) {
		const struct mvm_artifact *file = i < known.n ? &known.v[i]
							      : &snapshot->files[i - known.n];
		if (str_eq(file->name, data_disk))
			r = store_blob_link(mvm->store, &file->digest, dir_fd, data_disk, err);
		else
			r = mknodat(dir_fd, file->name, S_IFREG | 0600, 0) < 0 ? -errno : 0;
	}
	if (r < 0)
		return err && err->code == r
			       ? r
			       : mvm_error_set(err, r, "cannot write to staging: %s", strerror(-r));
	return describe_revision(spec, a, snapshot, hash, &known, dir_fd, err);
}

int publish_hash(const struct mvm_template_spec *spec, const struct build_artifacts *a,
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
		.root_disk_mib = spec->root_disk_mib,
		.run = &spec->run,
	};
	return mvm_revision_hash(&inputs, ret, err);
}

bool publish_has(struct mvm *mvm, const char *id, const char *hash)
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

/* Make the template of a first revision, then the revision.  When the revision fails, the template
 * goes again. */
static int publish_first(struct store *s, const struct mvm_template_spec *spec, struct staging *st,
			 const char *hash, struct mvm_error *err)
{
	const char *id = spec->template_id;

	int r = store_spec_save(s, spec, err);
	if (r == 0)
		r = store_revision_publish(s, st, id, hash, err);
	AUTO_CLOSE int claim_fd = r < 0 ? store_claim_template(s, id) : -1;
	if (claim_fd >= 0)
		store_template_remove(s, id, NULL); /* if this fails, it has no revision */
	return r;
}

int publish_revision(struct mvm *mvm, const struct mvm_template_spec *spec,
		     const struct build_artifacts *a, const struct publish_snapshot *snapshot,
		     unsigned flags, const struct mvm_progress *progress,
		     struct mvm_build_result *result, struct mvm_error *err)
{
	const char *id = spec->template_id, *hash = result->revision;
	char current[MVM_REVISION_SIZE] = "";
	struct store *s = mvm->store;
	int r = 0;

	bool has = publish_has(mvm, id, hash);
	if (!has || snapshot || (flags & PUBLISH_MEND && !is_sound(s, id, hash))) {
		AUTO_DONE(staging) st = STAGING_NONE;
		AUTO_DONE(progress_step) step = { 0 };
		progress_begin(&step, progress, "publishing %s@%.12s", id, hash);
		r = stage_revision(s, spec, a, snapshot, hash, &st, err);
		if (r == 0 && flags & PUBLISH_TEMPLATE)
			r = publish_first(s, spec, &st, hash, err);
		else if (r == 0)
			r = has ? holder_publish(mvm, &st, id, hash, err)
				: store_revision_publish(s, &st, id, hash, err);
		if (r < 0)
			return r;
		progress_end(&step, NULL);
		result->new_revision = !has || !snapshot;
		note_secrets(&st, spec, progress);
		if (store_blobs_copied(s))
			progress_note(progress, "this file system cannot link files, so artifacts "
						"were copied");
	}
	/* set `current` also when it is missing or damaged */
	r = store_current_get(s, id, current, NULL);
	if (r < 0 || strcmp(current, hash) != 0)
		return store_current_set(s, id, hash, err);
	return 0;
}
