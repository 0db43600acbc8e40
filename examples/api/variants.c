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
#include <string.h>

/* The lock pins the source's content; builds take it from the source, here it is an argument. */
static void print_variant(const struct mvm_template_variant *variant, const char *lock)
{
	char key[MVM_CACHE_KEY_SIZE];

	mvm_template_cache_key(lock, variant->profile, variant->role, key);
	printf("%s: role %s, profile %s, %u vCPUs, %" PRIu32 " MiB\n  cache key %s\n",
	       variant->name, variant->role, variant->profile, (unsigned)variant->vcpus,
	       variant->mem_mib, key);
}

int main(int argc, char **argv)
{
	struct mvm_template_config config;
	struct mvm_strings warnings;
	struct mvm_error err;

	memset(&config, 0, sizeof(config));
	memset(&warnings, 0, sizeof(warnings));
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
	printf("mvm %s, source %s\n", mvm_version(), config.flake_ref);
	for (size_t i = 0; i < config.n_variants; i++)
		print_variant(&config.variants[i], argc == 3 ? argv[2] : "lock1");
	mvm_template_config_done(&config);
	return 0;
}
