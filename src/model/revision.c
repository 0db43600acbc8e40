/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/read.h"

static void artifact_paths_done(struct mvm_artifact_paths *p)
{
	free(p->vmlinux);
	free(p->rootfs);
	free(p->fc_base_config);
	free(p->initrd);
	json_decref(p->sizes.other);
	json_decref(p->other);
}

static void build_info_done(struct mvm_build_info *b)
{
	free(b->builder);
	free(b->source_fingerprint);
	free(b->attribute);
	free(b->mvm_version);
	json_decref(b->other);
}

void mvm_template_revision_done(struct mvm_template_revision *revision)
{
	free(revision->revision_hash);
	free(revision->flake_ref);
	free(revision->flake_lock_hash);
	artifact_paths_done(&revision->artifact_paths);
	free(revision->profile);
	free(revision->role);
	mvm_snapshot_info_done(&revision->snapshot);
	mvm_run_done(&revision->run);
	build_info_done(&revision->build);
	json_decref(revision->other);
	*revision = (struct mvm_template_revision){ 0 };
}

static int sizes_read(const struct json_at *at, struct mvm_artifact_sizes *ret,
		      struct mvm_error *err)
{
	static const char *const known[] = { "vmlinux_bytes", "rootfs_bytes", "initrd_bytes",
					     "nix_closure_bytes" };
	int r;

	if ((r = read_size(at, "vmlinux_bytes", JSON_NULLABLE, &ret->vmlinux_bytes, err)) < 0 ||
	    (r = read_size(at, "rootfs_bytes", JSON_NULLABLE, &ret->rootfs_bytes, err)) < 0 ||
	    (r = read_size(at, "initrd_bytes", JSON_NULLABLE, &ret->initrd_bytes, err)) < 0 ||
	    (r = read_size(at, "nix_closure_bytes", JSON_NULLABLE, &ret->nix_closure_bytes, err)) <
		    0)
		return r;
	ret->present = true;
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
}

static int artifact_paths_read(const struct json_at *at, struct mvm_artifact_paths *ret,
			       struct mvm_error *err)
{
	static const char *const known[] = { "vmlinux", "rootfs", "fc_base_config", "initrd",
					     "sizes" };
	struct json_at sizes;
	int r;

	if ((r = json_get_string(at, "vmlinux", JSON_REQUIRED, &ret->vmlinux, err)) < 0 ||
	    (r = json_get_string(at, "rootfs", JSON_REQUIRED, &ret->rootfs, err)) < 0 ||
	    (r = json_get_string(at, "fc_base_config", JSON_REQUIRED, &ret->fc_base_config, err)) <
		    0 ||
	    (r = json_get_string(at, "initrd", JSON_NULLABLE, &ret->initrd, err)) < 0)
		return r;
	r = json_get_object(at, "sizes", JSON_NULLABLE, &sizes, err);
	if (r > 0)
		r = sizes_read(&sizes, &ret->sizes, err);
	if (r < 0)
		return r;
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
}

static int build_info_read(const struct json_at *at, struct mvm_build_info *ret,
			   struct mvm_error *err)
{
	static const char *const known[] = { "builder", "source_fingerprint", "attribute",
					     "mvm_version" };
	int r;

	if ((r = json_get_string(at, "builder", JSON_NULLABLE, &ret->builder, err)) < 0 ||
	    (r = json_get_string(at, "source_fingerprint", JSON_NULLABLE, &ret->source_fingerprint,
				 err)) < 0 ||
	    (r = json_get_string(at, "attribute", JSON_NULLABLE, &ret->attribute, err)) < 0 ||
	    (r = json_get_string(at, "mvm_version", JSON_NULLABLE, &ret->mvm_version, err)) < 0)
		return r;
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &ret->other, err);
}

/* The objects within a revision, of which only the first must be there. */
static int parts_read(const struct json_at *at, struct mvm_template_revision *rev,
		      struct mvm_error *err)
{
	struct json_at part;

	int r = json_get_object(at, "artifact_paths", JSON_REQUIRED, &part, err);
	if (r > 0)
		r = artifact_paths_read(&part, &rev->artifact_paths, err);
	if (r < 0)
		return r;

	r = json_get_object(at, "snapshot", JSON_NULLABLE, &part, err);
	rev->has_snapshot = r > 0;
	if (r > 0)
		r = snapshot_info_read(&part, &rev->snapshot, err);
	if (r < 0)
		return r;

	r = json_get_object(at, "run", JSON_NULLABLE, &part, err);
	if (r > 0)
		r = run_read(&part, &rev->run, err);
	if (r < 0)
		return r;

	r = json_get_object(at, "build", JSON_NULLABLE, &part, err);
	return r > 0 ? build_info_read(&part, &rev->build, err) : r;
}

static int revision_read(const struct json_at *at, struct mvm_template_revision *rev,
			 struct mvm_error *err)
{
	static const char *const known[] = {
		"schema_version", "revision_hash", "flake_ref", "flake_lock_hash", "artifact_paths",
		"built_at",	  "profile",	   "role",	"vcpus",	   "mem_mib",
		"data_disk_mib",  "snapshot",	   "run",	"build",
	};
	int r;

	if ((r = read_schema_version(at, &rev->schema_version, err)) < 0 ||
	    (r = read_name(at, "revision_hash", NAME_REVISION, &rev->revision_hash, err)) < 0 ||
	    (r = json_get_string(at, "flake_ref", JSON_REQUIRED, &rev->flake_ref, err)) < 0 ||
	    (r = json_get_string(at, "flake_lock_hash", JSON_REQUIRED, &rev->flake_lock_hash,
				 err)) < 0 ||
	    (r = json_get_time(at, "built_at", JSON_REQUIRED, &rev->built_at, err)) < 0 ||
	    (r = read_name(at, "profile", NAME_PROFILE, &rev->profile, err)) < 0 ||
	    (r = read_name(at, "role", NAME_ROLE, &rev->role, err)) < 0 ||
	    (r = read_u8(at, "vcpus", &rev->vcpus, err)) < 0 ||
	    (r = read_u32(at, "mem_mib", &rev->mem_mib, err)) < 0 ||
	    (r = read_u32(at, "data_disk_mib", &rev->data_disk_mib, err)) < 0 ||
	    (r = parts_read(at, rev, err)) < 0)
		return r;
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &rev->other, err);
}

int mvm_template_revision_parse(const char *text, size_t len, const char *name,
				struct mvm_template_revision *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	r = revision_read(&root, &rev, err);
	if (r < 0)
		return r;
	*ret = rev;
	rev = (struct mvm_template_revision){ 0 };
	return 0;
}

static json_t *sizes_json(struct json_out *out, const struct mvm_artifact_sizes *sizes)
{
	json_t *o = json_new(out);
	json_put_u64(out, o, "vmlinux_bytes", sizes->vmlinux_bytes);
	json_put_u64(out, o, "rootfs_bytes", sizes->rootfs_bytes);
	if (sizes->initrd_bytes)
		json_put_u64(out, o, "initrd_bytes", sizes->initrd_bytes);
	if (sizes->nix_closure_bytes)
		json_put_u64(out, o, "nix_closure_bytes", sizes->nix_closure_bytes);
	json_put_others(out, o, sizes->other);
	return o;
}

static json_t *artifact_paths_json(struct json_out *out, const struct mvm_artifact_paths *paths)
{
	json_t *o = json_new(out);
	json_put_string(out, o, "vmlinux", paths->vmlinux);
	json_put_string(out, o, "rootfs", paths->rootfs);
	json_put_string(out, o, "fc_base_config", paths->fc_base_config);
	if (paths->initrd)
		json_put_string(out, o, "initrd", paths->initrd);
	if (paths->sizes.present)
		json_put(out, o, "sizes", sizes_json(out, &paths->sizes));
	json_put_others(out, o, paths->other);
	return o;
}

/* NULL when nothing is known of the build. */
static json_t *build_info_json(struct json_out *out, const struct mvm_build_info *build)
{
	const struct {
		const char *key, *value;
	} members[] = {
		{ "builder", build->builder },
		{ "source_fingerprint", build->source_fingerprint },
		{ "attribute", build->attribute },
		{ "mvm_version", build->mvm_version },
	};
	json_t *o = json_new(out);

	for (size_t i = 0; i < MVM_ARRAY_SIZE(members); i++) {
		if (members[i].value)
			json_put_string(out, o, members[i].key, members[i].value);
	}
	json_put_others(out, o, build->other);
	if (json_object_size(o) == 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

json_t *template_revision_json(struct json_out *out, const struct mvm_template_revision *rev)
{
	json_t *o = json_new(out);
	json_put_u64(out, o, "schema_version", rev->schema_version);
	json_put_string(out, o, "revision_hash", rev->revision_hash);
	json_put_string(out, o, "flake_ref", rev->flake_ref);
	json_put_string(out, o, "flake_lock_hash", rev->flake_lock_hash);
	json_put(out, o, "artifact_paths", artifact_paths_json(out, &rev->artifact_paths));
	json_put_time(out, o, "built_at", rev->built_at);
	json_put_string(out, o, "profile", rev->profile);
	json_put_string(out, o, "role", rev->role);
	json_put_u64(out, o, "vcpus", rev->vcpus);
	json_put_u64(out, o, "mem_mib", rev->mem_mib);
	json_put_u64(out, o, "data_disk_mib", rev->data_disk_mib);
	json_put(out, o, "snapshot",
		 rev->has_snapshot ? snapshot_info_json(out, &rev->snapshot) : json_null());
	if (!mvm_run_empty(&rev->run))
		json_put(out, o, "run", run_json(out, &rev->run));
	json_t *build = build_info_json(out, &rev->build);
	if (build)
		json_put(out, o, "build", build);
	json_put_others(out, o, rev->other);
	return o;
}

int mvm_template_revision_format(const struct mvm_template_revision *revision, char **ret,
				 struct mvm_error *err)
{
	struct json_out out = { 0 };
	return json_out_text(&out, template_revision_json(&out, revision), JSON_TEXT_PRETTY, ret,
			     err);
}
