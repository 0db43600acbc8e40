/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/read.h"

void mvm_template_spec_done(struct mvm_template_spec *spec)
{
	free(spec->template_id);
	free(spec->flake_ref);
	free(spec->profile);
	free(spec->role);
	mvm_run_done(&spec->run);
	json_decref(spec->other);
	*spec = (struct mvm_template_spec){ 0 };
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

static int spec_read(const struct json_at *at, struct mvm_template_spec *spec,
		     struct mvm_error *err)
{
	static const char *const known[] = {
		"schema_version", "template_id",   "flake_ref",	 "profile",    "role", "vcpus",
		"mem_mib",	  "data_disk_mib", "created_at", "updated_at", "run",
	};
	struct json_at run;
	int r;

	if ((r = read_schema_version(at, &spec->schema_version, err)) < 0 ||
	    (r = read_name(at, "template_id", NAME_TEMPLATE, &spec->template_id, err)) < 0 ||
	    (r = json_get_string(at, "flake_ref", JSON_REQUIRED, &spec->flake_ref, err)) < 0 ||
	    (r = read_name(at, "profile", NAME_PROFILE, &spec->profile, err)) < 0 ||
	    (r = read_name(at, "role", NAME_ROLE, &spec->role, err)) < 0 ||
	    (r = read_u8(at, "vcpus", &spec->vcpus, err)) < 0 ||
	    (r = read_u32(at, "mem_mib", &spec->mem_mib, err)) < 0 ||
	    (r = read_u32(at, "data_disk_mib", &spec->data_disk_mib, err)) < 0 ||
	    (r = json_get_time(at, "created_at", JSON_REQUIRED, &spec->created_at, err)) < 0 ||
	    (r = json_get_time(at, "updated_at", JSON_REQUIRED, &spec->updated_at, err)) < 0)
		return r;
	r = json_get_object(at, "run", JSON_NULLABLE, &run, err);
	if (r > 0)
		r = run_read(&run, &spec->run, err);
	if (r < 0)
		return r;
	return json_unknown(at, known, MVM_ARRAY_SIZE(known), &spec->other, err);
}

int mvm_template_spec_parse(const char *text, size_t len, const char *name,
			    struct mvm_template_spec *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, name, doc);
	r = spec_read(&root, &spec, err);
	if (r < 0)
		return r;
	*ret = spec;
	spec = (struct mvm_template_spec){ 0 };
	return 0;
}

json_t *template_spec_json(struct json_out *out, const struct mvm_template_spec *spec)
{
	json_t *o = json_new(out);
	json_put_u64(out, o, "schema_version", spec->schema_version);
	json_put_string(out, o, "template_id", spec->template_id);
	json_put_string(out, o, "flake_ref", spec->flake_ref);
	json_put_string(out, o, "profile", spec->profile);
	json_put_string(out, o, "role", spec->role);
	json_put_u64(out, o, "vcpus", spec->vcpus);
	json_put_u64(out, o, "mem_mib", spec->mem_mib);
	json_put_u64(out, o, "data_disk_mib", spec->data_disk_mib);
	json_put_time(out, o, "created_at", spec->created_at);
	json_put_time(out, o, "updated_at", spec->updated_at);
	if (!mvm_run_empty(&spec->run))
		json_put(out, o, "run", run_json(out, &spec->run));
	json_put_others(out, o, spec->other);
	return o;
}

int mvm_template_spec_format(const struct mvm_template_spec *spec, char **ret,
			     struct mvm_error *err)
{
	struct json_out out = { 0 };
	return json_out_text(&out, template_spec_json(&out, spec), JSON_TEXT_PRETTY, ret, err);
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
