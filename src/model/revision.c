/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"
#include "model/model_json.h"

static const struct field sizes[] = {
	FIELD_SIZE(mvm_artifact_sizes, vmlinux_bytes, FIELD_KEPT),
	FIELD_SIZE(mvm_artifact_sizes, rootfs_bytes, FIELD_KEPT),
	FIELD_SIZE(mvm_artifact_sizes, initrd_bytes, FIELD_SPARSE),
	FIELD_SIZE(mvm_artifact_sizes, nix_closure_bytes, FIELD_SPARSE),
};
static const struct fields sizes_fields = FIELDS(mvm_artifact_sizes, sizes);

static const struct field paths[] = {
	FIELD_STRING(mvm_artifact_paths, vmlinux, FIELD_REQUIRED),
	FIELD_STRING(mvm_artifact_paths, rootfs, FIELD_REQUIRED),
	FIELD_STRING(mvm_artifact_paths, fc_base_config, FIELD_REQUIRED),
	FIELD_STRING(mvm_artifact_paths, initrd, FIELD_SPARSE),
	FIELD_OBJECT_IF(mvm_artifact_paths, sizes, mvm_artifact_sizes, FIELD_SPARSE, &sizes_fields,
			sizes.present),
};
static const struct fields paths_fields = FIELDS(mvm_artifact_paths, paths);

static const struct field build[] = {
	FIELD_STRING(mvm_build_info, builder, FIELD_SPARSE),
	FIELD_STRING(mvm_build_info, source_fingerprint, FIELD_SPARSE),
	FIELD_STRING(mvm_build_info, attribute, FIELD_SPARSE),
	FIELD_STRING(mvm_build_info, mvm_version, FIELD_SPARSE),
	FIELD_STRING(mvm_build_info, instance, FIELD_SPARSE),
	FIELD_STRING(mvm_build_info, base, FIELD_SPARSE),
};
static const struct fields build_fields = FIELDS(mvm_build_info, build);

static const struct field revision[] = {
	FIELD_SCHEMA_VERSION(mvm_template_revision, schema_version),
	FIELD_NAME(mvm_template_revision, revision_hash, NAME_REVISION),
	FIELD_STRING(mvm_template_revision, flake_ref, FIELD_REQUIRED),
	FIELD_STRING(mvm_template_revision, flake_lock_hash, FIELD_REQUIRED),
	FIELD_OBJECT(mvm_template_revision, artifact_paths, mvm_artifact_paths, FIELD_REQUIRED,
		     &paths_fields),
	FIELD_TIME(mvm_template_revision, built_at),
	FIELD_NAME(mvm_template_revision, profile, NAME_PROFILE),
	FIELD_NAME(mvm_template_revision, role, NAME_ROLE),
	FIELD_U8(mvm_template_revision, vcpus),
	FIELD_U32(mvm_template_revision, mem_mib),
	FIELD_U32(mvm_template_revision, data_disk_mib),
	FIELD_NUMBER(mvm_template_revision, root_disk_mib, uint32_t, FIELD_SPARSE, 0, UINT32_MAX),
	FIELD_OBJECT_IF(mvm_template_revision, snapshot, mvm_snapshot_info, FIELD_KEPT,
			&snapshot_info_fields, has_snapshot),
	FIELD_RUN(mvm_template_revision, run),
	FIELD_OBJECT(mvm_template_revision, build, mvm_build_info, FIELD_SPARSE, &build_fields),
};
static const struct fields revision_fields = FIELDS(mvm_template_revision, revision);

void mvm_template_revision_done(struct mvm_template_revision *rev)
{
	fields_done(&revision_fields, rev);
}

int mvm_template_revision_parse(const char *text, size_t len, const char *name,
				struct mvm_template_revision *ret, struct mvm_error *err)
{
	return fields_parse(&revision_fields, text, len, name, ret, err);
}

json_t *template_revision_json(struct json_out *out, const struct mvm_template_revision *rev)
{
	return fields_json(&revision_fields, out, rev);
}

int mvm_template_revision_format(const struct mvm_template_revision *rev, char **ret,
				 struct mvm_error *err)
{
	return fields_format(&revision_fields, rev, ret, err);
}
