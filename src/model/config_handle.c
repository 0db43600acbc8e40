/* SPDX-License-Identifier: Apache-2.0 */
/* Config files as handles (mvm/template.h), for callers that do not know the structs. */
#include <stdlib.h>

#include "base/error.h"
#include "model/model_json.h"

DEFINE_AUTO(mvm_template_config, mvm_template_config_free)

void mvm_template_config_free(struct mvm_template_config *config)
{
	if (config)
		config_done(config);
	free(config);
}

int mvm_template_config_load(const char *path, unsigned flags, struct mvm_template_config **ret,
			     struct mvm_strings *ret_warnings, struct mvm_error *err)
{
	AUTO(mvm_template_config) config = calloc(1, sizeof(*config));
	int r = config ? config_load(path, flags, config, ret_warnings, err) : mvm_error_oom(err);
	if (r == 0)
		*ret = TAKE_PTR(config);
	return r;
}

int mvm_template_config_parse(const char *text, size_t len, const char *name, const char *base_dir,
			      unsigned flags, struct mvm_template_config **ret,
			      struct mvm_strings *ret_warnings, struct mvm_error *err)
{
	AUTO(mvm_template_config) config = calloc(1, sizeof(*config));
	int r = config ? config_parse(text, len, name, base_dir, flags, config, ret_warnings, err)
		       : mvm_error_oom(err);
	if (r == 0)
		*ret = TAKE_PTR(config);
	return r;
}

const char *mvm_template_config_template_id(const struct mvm_template_config *config)
{
	return config->template_id;
}

const char *mvm_template_config_flake_ref(const struct mvm_template_config *config)
{
	return config->flake_ref;
}

const char *mvm_template_config_profile(const struct mvm_template_config *config)
{
	return config->profile;
}

size_t mvm_template_config_variant_count(const struct mvm_template_config *config)
{
	return config->n_variants;
}

const struct mvm_template_variant *mvm_template_config_variant(
	const struct mvm_template_config *config, size_t index)
{
	return index < config->n_variants ? &config->variants[index] : NULL;
}

const char *mvm_template_variant_name(const struct mvm_template_variant *variant)
{
	return variant->name;
}

const char *mvm_template_variant_role(const struct mvm_template_variant *variant)
{
	return variant->role;
}

const char *mvm_template_variant_profile(const struct mvm_template_variant *variant)
{
	return variant->profile;
}

unsigned mvm_template_variant_vcpus(const struct mvm_template_variant *variant)
{
	return variant->vcpus;
}

uint32_t mvm_template_variant_mem_mib(const struct mvm_template_variant *variant)
{
	return variant->mem_mib;
}

uint32_t mvm_template_variant_data_disk_mib(const struct mvm_template_variant *variant)
{
	return variant->data_disk_mib;
}

uint32_t mvm_template_variant_root_disk_mib(const struct mvm_template_variant *variant)
{
	return variant->root_disk_mib;
}
