/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "model/fields.h"
#include "model/model_json.h"

static const struct field fields[] = {
	FIELD_SCHEMA_VERSION(mvm_template_spec, schema_version),
	FIELD_NAME(mvm_template_spec, template_id, NAME_TEMPLATE),
	FIELD_STRING(mvm_template_spec, flake_ref, FIELD_REQUIRED),
	FIELD_NAME(mvm_template_spec, profile, NAME_PROFILE),
	FIELD_NAME(mvm_template_spec, role, NAME_ROLE),
	FIELD_U8(mvm_template_spec, vcpus),
	FIELD_U32(mvm_template_spec, mem_mib),
	FIELD_U32(mvm_template_spec, data_disk_mib),
	FIELD_NUMBER(mvm_template_spec, root_disk_mib, uint32_t, FIELD_SPARSE, 0, UINT32_MAX),
	FIELD_TIME(mvm_template_spec, created_at),
	FIELD_TIME(mvm_template_spec, updated_at),
	FIELD_RUN(mvm_template_spec, run),
};

static const struct fields spec_fields = FIELDS(mvm_template_spec, fields);

void mvm_template_spec_done(struct mvm_template_spec *spec)
{
	fields_done(&spec_fields, spec);
}

int mvm_template_spec_from_variant(const struct mvm_template_config *config,
				   const struct mvm_template_variant *variant, int64_t now,
				   struct mvm_template_spec *ret, struct mvm_error *err)
{
	bool failed = false;
	AUTO_DONE(mvm_template_spec) spec = {
		.schema_version = MVM_SCHEMA_VERSION,
		.vcpus = variant->vcpus,
		.mem_mib = variant->mem_mib,
		.data_disk_mib = variant->data_disk_mib,
		.root_disk_mib = variant->root_disk_mib,
		.created_at = now,
		.updated_at = now,
	};
	spec.template_id = str_dup(variant->name, &failed);
	spec.flake_ref = str_dup(config->flake_ref, &failed);
	spec.profile = str_dup(variant->profile, &failed);
	spec.role = str_dup(variant->role, &failed);
	if (failed || mvm_run_copy(&variant->run, &spec.run, NULL) < 0)
		return mvm_error_oom(err);
	*ret = spec;
	spec = (struct mvm_template_spec){ 0 };
	return 0;
}

int mvm_template_spec_parse(const char *text, size_t len, const char *name,
			    struct mvm_template_spec *ret, struct mvm_error *err)
{
	return fields_parse(&spec_fields, text, len, name, ret, err);
}

json_t *template_spec_json(struct json_out *out, const struct mvm_template_spec *spec)
{
	return fields_json(&spec_fields, out, spec);
}

int mvm_template_spec_format(const struct mvm_template_spec *spec, char **ret,
			     struct mvm_error *err)
{
	return fields_format(&spec_fields, spec, ret, err);
}

int mvm_machine_check(unsigned vcpus, uint32_t mem_mib, struct mvm_error *err)
{
	if (vcpus < MVM_VCPUS_MIN || vcpus > MVM_VCPUS_MAX)
		return mvm_error_set(err, -EINVAL, "%u vCPUs: a machine needs %u to %u", vcpus,
				     MVM_VCPUS_MIN, MVM_VCPUS_MAX);
	if (mem_mib < MVM_MEM_MIB_MIN)
		return mvm_error_set(err, -EINVAL, "%u MiB of memory: a machine needs at least %u",
				     mem_mib, MVM_MEM_MIB_MIN);
	return 0;
}
