/* SPDX-License-Identifier: Apache-2.0 */
#include "spec_options.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void add(struct settings *s, const char *key, const char *const *values, size_t n)
{
	assert(s->n < SETTINGS_MAX);
	s->v[s->n++] = (struct mvm_template_setting){
		.key = key,
		.values = values,
		.n_values = n,
	};
}

void settings_add(struct settings *s, const char *key, const char *value)
{
	s->text[s->n] = value;
	add(s, key, value ? &s->text[s->n] : NULL, value ? 1 : 0);
}

bool settings_has(const struct settings *s, const char *key)
{
	size_t i = 0;
	while (i < s->n && !str_eq(s->v[i].key, key))
		i++;
	return i < s->n;
}

void settings_from_args(const struct args *a, struct settings *ret)
{
	static const struct {
		const char *option, *key;
	} texts[] = {
		{ "flake", "flake_ref" },     { "profile", "profile" },
		{ "role", "role" },	      { "kernel", "kernel" },
		{ "network", "network" },     { "initrd", "initrd" },
		{ "boot-args", "boot_args" }, { "snapshot-point", "snapshot.point" },
	};
	static const struct {
		const char *option, *key;
	} numbers[] = {
		{ "cpus", "vcpus" },
		{ "mem", "mem_mib" },
		{ "data-disk", "data_disk_mib" },
		{ "root-disk", "root_disk_mib" },
	};
	const struct strv *env = args_list(a, "env");

	ret->n = 0;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (args_given(a, texts[i].option))
			settings_add(ret, texts[i].key, args_string(a, texts[i].option));
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char *text = ret->number[ret->n];
		if (!args_given(a, numbers[i].option))
			continue;
		snprintf(text, sizeof(ret->number[0]), "%" PRIu32,
			 args_u32(a, numbers[i].option, 0));
		settings_add(ret, numbers[i].key, text);
	}
	if (env->n)
		add(ret, "env", (const char *const *)env->v, env->n);
	if (a->n_rest)
		add(ret, "command", (const char *const *)a->rest, a->n_rest);
}
