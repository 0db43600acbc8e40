/* SPDX-License-Identifier: Apache-2.0 */
/* A template.toml as anybody might write it: read, and if it is one, made into specs. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/model_json.h"
#include "model/strings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(mvm_template_config) config = { 0 };
	AUTO_DONE(mvm_strings) warnings = { 0 };
	struct mvm_error err = { 0 };

	int r = config_parse((const char *)data, size, "template.toml", "/base", 0, &config,
			     &warnings, &err);
	assert(r == err.code && r <= 0);
	assert(r < 0 || config.n_variants > 0);
	for (size_t i = 0; i < config.n_variants; i++) {
		AUTO_DONE(mvm_template_spec) spec = { 0 }, back = { 0 };
		AUTO_FREE char *text = NULL;
		r = mvm_template_spec_from_variant(&config, &config.variants[i], 0, &spec, NULL);
		assert(r == 0);
		/* a config that can be read can be written and read again */
		r = mvm_template_spec_format(&spec, &text, NULL);
		assert(r == 0);
		r = mvm_template_spec_parse(text, strlen(text), "template.json", &back, NULL);
		assert(r == 0);
	}
	return 0;
}
