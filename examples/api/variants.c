/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a template.toml defines, by the library: its variants, and under which key the build cache
 * would have them.  As C11 or, unchanged, as C++17:
 *
 *	cc -o variants variants.c $(pkg-config --cflags --libs mvm)
 *	./variants template.toml [LOCK]
 */
#include <inttypes.h>
#include <mvm/mvm.h>
#include <mvm/template.h>
#include <stdio.h>

/* The lock pins the source's content; builds take it from the source, here it is an argument. */
static void print_variant(const struct mvm_template_variant *variant, const char *lock)
{
	const char *role = mvm_template_variant_role(variant);
	const char *profile = mvm_template_variant_profile(variant);
	char key[MVM_CACHE_KEY_SIZE];

	mvm_template_cache_key(lock, profile, role, key);
	printf("%s: role %s, profile %s, %u vCPUs, %" PRIu32 " MiB\n  cache key %s\n",
	       mvm_template_variant_name(variant), role, profile,
	       mvm_template_variant_vcpus(variant), mvm_template_variant_mem_mib(variant), key);
}

int main(int argc, char **argv)
{
	struct mvm_template_config *config = NULL;
	struct mvm_strings warnings = { NULL, 0 };
	struct mvm_error err;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: %s TEMPLATE.toml [LOCK]\n", argv[0]);
		return 2;
	}
	int r = mvm_template_config_load(argv[1], 0, &config, &warnings, &err);
	for (size_t i = 0; i < warnings.n; i++)
		fprintf(stderr, "warning: %s\n", warnings.v[i]);
	mvm_strings_done(&warnings);
	if (r < 0) {
		fprintf(stderr, "%s\n", err.text);
		return mvm_error_exit_status(err.code);
	}
	printf("mvm %s, source %s\n", mvm_version(), mvm_template_config_flake_ref(config));
	for (size_t i = 0; i < mvm_template_config_variant_count(config); i++)
		print_variant(mvm_template_config_variant(config, i),
			      argc == 3 ? argv[2] : "lock1");
	mvm_template_config_free(config);
	return 0;
}
