/* SPDX-License-Identifier: Apache-2.0 */
#include "template/artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "image/oci_resolve.h"
#include "instance/own_disk.h"
#include "start/facts.h"
#include "template/chunk_lists.h"

#define ARCHITECTURE "architecture"

const char *const artifact_image_files[] = { "vmlinux", "initrd", "rootfs.ext4", NULL };
const char *const artifact_snapshot_files[] = {
	"snapshot/vmstate.bin",
	"snapshot/mem.bin",
	"snapshot/data.ext4",
	"snapshot/root.ext4",
	"snapshot/working-set.bin",
	(OWN_IMAGE_PATH),
	NULL,
};

bool artifact_lists(const char *const *names, const char *name)
{
	for (; *names; names++) {
		if (str_eq(*names, name))
			return true;
	}
	return false;
}

_Static_assert(MVM_ARTIFACT_DIGEST_SIZE == DIGEST_TEXT_SIZE, "room for a digest");

void artifact_result_give(struct mvm_artifact_result *ret, const struct mvm_artifact_result *result)
{
	if (ret)
		mvm_struct_give(ret, STRUCT_END(struct mvm_artifact_result, signed_by), result,
				sizeof(*result));
}

/* ---- the configuration ---- */

bool artifact_fact_is_local(const char *pair)
{
	static const char *const facts[] = { FACT_HOST "=", FACT_MEM_FILE "=", FACT_DATA_FILE "=",
					     FACT_ROOT_FILE "=" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(facts); i++) {
		if (str_starts(pair, facts[i]))
			return true;
	}
	return false;
}

/* All strings are borrowed. */
int artifact_config_format(const struct mvm_template_revision *rev, const struct checksums *sums,
			   bool snapshot, char **ret, struct mvm_error *err)
{
	const struct mvm_digest *rootfs = checksums_find(sums, rev->artifact_paths.rootfs);
	struct mvm_template_revision c = *rev;
	char lock[DIGEST_HEX_SIZE], flake_ref[] = "";
	AUTO_JSON json_t *other = json_pack("{s:s}", ARCHITECTURE, oci_platform_here(NULL).arch);

	AUTO_FREE char **compat = calloc(rev->snapshot.compat.n + 1, sizeof(*compat));
	if (!compat || !other || !rootfs)
		return mvm_error_oom(err);
	digest_hex(rootfs, lock);
	c.flake_ref = flake_ref;
	c.flake_lock_hash = lock;
	c.built_at = 0;
	c.artifact_paths.sizes.nix_closure_bytes = 0;
	c.artifact_paths.sizes.other = c.artifact_paths.other = NULL;
	c.build = (struct mvm_build_info){ 0 };
	c.other = other;
	c.has_snapshot = snapshot;
	c.snapshot.other = NULL;
	c.snapshot.origin = c.snapshot.signed_by = NULL;
	c.snapshot.compat = (struct mvm_strings){ .v = compat };
	for (size_t i = 0; i < rev->snapshot.compat.n; i++) {
		if (!artifact_fact_is_local(rev->snapshot.compat.v[i]))
			compat[c.snapshot.compat.n++] = rev->snapshot.compat.v[i];
	}
	return mvm_template_revision_format(&c, ret, err);
}

int artifact_config_check(const struct mvm_template_revision *rev, struct mvm_error *err)
{
	const struct mvm_artifact_paths *p = &rev->artifact_paths;
	const char *arch = json_string_value(json_object_get(rev->other, ARCHITECTURE));
	const char *here = oci_platform_here(NULL).arch;

	if (!str_eq(arch, here))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "its guests are for %s, and those of this "
				     "host are %s",
				     arch ? arch : "an unknown processor", here);
	if (!str_eq(p->vmlinux, "vmlinux") || !str_eq(p->rootfs, "rootfs.ext4") ||
	    !str_eq(p->initrd, "initrd"))
		return mvm_error_set(err, -EBADMSG,
				     "its configuration names files that no "
				     "revision of mvm's has");
	if (rev->has_snapshot && (rev->snapshot.origin || rev->snapshot.signed_by))
		return mvm_error_set(err, -EBADMSG,
				     "its configuration says where its snapshot is "
				     "from");
	return 0;
}

/* ---- packing ---- */

struct making {
	const struct revision *rev;
	const struct blob_sink *sink;
	struct chunk_index index;
	struct progress_step step;
};

static void making_done(struct making *m)
{
	chunk_index_done(&m->index);
	progress_failed(&m->step);
}
DEFINE_AUTO_DONE(making, making_done)

/* Other programs' revisions may have other files, and names by another rule. */
static int check_revision(const struct revision *r, struct mvm_error *err)
{
	const struct mvm_artifact_paths *p = &r->rev.artifact_paths;
	char hash[MVM_REVISION_HASH_SIZE] = "";
	struct mvm_artifact files[] = { { "vmlinux", { { 0 } } },
					{ "rootfs", { { 0 } } },
					{ "initrd", { { 0 } } } };
	const char *const names[] = { "vmlinux", "rootfs.ext4", "initrd" };
	bool ours = str_eq(p->vmlinux, names[0]) && str_eq(p->rootfs, names[1]) &&
		    str_eq(p->initrd, names[2]);

	for (size_t i = 0; ours && i < MVM_ARRAY_SIZE(files); i++) {
		const struct mvm_digest *digest = checksums_find(&r->sums, names[i]);
		ours = digest != NULL;
		if (digest)
			files[i].digest = *digest;
	}
	const struct mvm_revision_inputs inputs = {
		.artifacts = files,
		.n_artifacts = MVM_ARRAY_SIZE(files),
		.profile = r->rev.profile,
		.role = r->rev.role,
		.vcpus = r->rev.vcpus,
		.mem_mib = r->rev.mem_mib,
		.data_disk_mib = r->rev.data_disk_mib,
		.root_disk_mib = r->rev.root_disk_mib,
		.run = &r->rev.run,
	};
	int ret = ours ? mvm_revision_hash(&inputs, hash, err) : 0;
	if (ret < 0)
		return ret;
	return ours && str_eq(hash, r->hash)
		       ? 0
		       : mvm_error_set(err, -EOPNOTSUPP,
				       "revision %.12s was not made by this version of mvm, so "
				       "its name cannot be checked elsewhere",
				       r->hash);
}

static int pack_one(struct making *m, const char *name, struct mvm_error *err)
{
	const struct mvm_digest *want = checksums_find(&m->rev->sums, name);
	AUTO_CLOSE int fd = want ? openat(m->rev->dir_fd, name,
					  O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
				 : -1;
	if (!want)
		return 0; /* a snapshot need not have this file */
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
	int r = pack_file(name, fd, m->sink, &m->index, &m->step, err);
	if (r < 0)
		return r;
	if (!digest_equal(&m->index.files[m->index.n_files - 1].digest, want)) {
		r = mvm_error_set(err, -EBADMSG, "'%s' is damaged: it does not have its checksum",
				  name);
		return mvm_error_reason(err, r, "revision-damaged", m->rev->id);
	}
	return 0;
}

static int pack_files(struct making *m, const char *const *names, struct mvm_error *err)
{
	int r = 0;
	for (; r == 0 && *names; names++)
		r = pack_one(m, *names, err);
	return r;
}

static uint64_t count(const struct revision *rev, const char *const *names)
{
	uint64_t bytes = 0;
	struct stat st;

	for (; *names; names++) {
		if (checksums_find(&rev->sums, *names) &&
		    fstatat(rev->dir_fd, *names, &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_size;
	}
	return bytes;
}

static int put_document(const struct making *m, const void *text, size_t len,
			struct index_part *ret, struct mvm_error *err)
{
	ret->bytes = len;
	return blob_write(m->sink, text, len, &ret->digest, err);
}

static int put_documents(struct making *m, bool snapshot, struct index_part *ret_manifest,
			 struct mvm_error *err)
{
	AUTO_FREE char *config = NULL, *manifest = NULL;
	AUTO_FREE uint8_t *index = NULL;
	struct index_part config_blob, index_blob;
	size_t index_len;

	int r = artifact_config_format(&m->rev->rev, &m->rev->sums, snapshot, &config, err);
	if (r >= 0)
		r = put_document(m, config, strlen(config), &config_blob, err);
	if (r >= 0)
		r = chunk_index_format(&m->index, &index, &index_len, err);
	if (r >= 0)
		r = put_document(m, index, index_len, &index_blob, err);
	if (r >= 0)
		r = artifact_manifest_format(&config_blob, &index_blob, &m->index, &manifest, err);
	return r < 0 ? r : put_document(m, manifest, strlen(manifest), ret_manifest, err);
}

int artifact_make(struct store *s, const struct revision *rev, bool image_only,
		  const struct blob_sink *sink, const struct mvm_progress *progress,
		  struct index_part *ret_manifest, struct mvm_artifact_result *result,
		  struct mvm_error *err)
{
	AUTO_DONE(making) m = { .rev = rev, .sink = sink };
	bool snapshot = rev->rev.has_snapshot && !image_only;
	char size[24];

	int r = check_revision(rev, err);
	if (r < 0)
		return r;
	result->file_bytes = count(rev, artifact_image_files) +
			     (snapshot ? count(rev, artifact_snapshot_files) : 0);
	progress_begin(&m.step, progress, "packing %s@%.12s", rev->id, rev->hash);
	m.step.total_bytes = result->file_bytes;
	r = pack_files(&m, artifact_image_files, err);
	if (r == 0 && snapshot)
		r = pack_files(&m, artifact_snapshot_files, err);
	if (r == 0)
		r = put_documents(&m, snapshot, ret_manifest, err);
	if (r < 0)
		return r;
	chunk_lists_keep(s, &m.index, NULL);
	str_bytes(result->file_bytes, size, sizeof(size));
	progress_end(&m.step, "%s", size);
	result->has_snapshot = snapshot;
	snprintf(result->revision, sizeof(result->revision), "%s", rev->hash);
	digest_text(&ret_manifest->digest, result->digest);
	return 0;
}
