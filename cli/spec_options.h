/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SPEC_OPTIONS_H
#define CLI_SPEC_OPTIONS_H

/* The options that say what a template is, shared by `template create` and `template edit`. */

#include <mvm/store.h>

#include "options.h"

/* Rows for an option table. */
#define SPEC_OPTIONS                                                                               \
	{ .name = "flake",                                                                         \
	  .kind = OPTION_STRING,                                                                   \
	  .value = "REF",                                                                          \
	  .help = "where the image comes from: docker://IMAGE, dir:DIR, tar:FILE, oci:DIR or a "   \
		  "Nix flake" },                                                                   \
		{ .name = "profile", .kind = OPTION_STRING, .value = "P", .help = "the profile" }, \
		{ .name = "role",                                                                  \
		  .kind = OPTION_STRING,                                                           \
		  .value = "R",                                                                    \
		  .help = "the role",                                                              \
		  .hint = VALUE_ROLE },                                                            \
		{ .name = "cpus",                                                                  \
		  .kind = OPTION_U32,                                                              \
		  .value = "N",                                                                    \
		  .help = "virtual CPUs",                                                          \
		  .min = MVM_VCPUS_MIN,                                                            \
		  .max = MVM_VCPUS_MAX },                                                          \
		{ .name = "mem",                                                                   \
		  .kind = OPTION_SIZE,                                                             \
		  .value = "SIZE",                                                                 \
		  .help = "memory: 512M, 1.5G, or MiB without a unit",                             \
		  .min = MVM_MEM_MIB_MIN },                                                        \
		{ .name = "data-disk",                                                             \
		  .kind = OPTION_SIZE,                                                             \
		  .value = "SIZE",                                                                 \
		  .help = "a writable disk for each VM",                                           \
		  .min = MVM_DATA_DISK_MIB_MIN,                                                    \
		  .max = MVM_DATA_DISK_MIB_MAX },                                                  \
		{ .name = "root-disk",                                                             \
		  .kind = OPTION_SIZE,                                                             \
		  .value = "SIZE",                                                                 \
		  .help = "a disk for what each VM writes to its root, instead of its memory",     \
		  .min = MVM_ROOT_DISK_MIB_MIN,                                                    \
		  .max = MVM_ROOT_DISK_MIB_MAX },                                                  \
		{ .name = "kernel",                                                                \
		  .kind = OPTION_STRING,                                                           \
		  .value = "NAME",                                                                 \
		  .help = "a kernel of 'mvm kernel list', for images that bring none",             \
		  .hint = VALUE_KERNEL },                                                          \
		{ .name = "network",                                                               \
		  .kind = OPTION_CHOICE,                                                           \
		  .value = "KIND",                                                                 \
		  .help = "none; or user: outbound connections and forwarded ports",               \
		  .choices = "none|user" },                                                        \
		{ .name = "initrd",                                                                \
		  .kind = OPTION_CHOICE,                                                           \
		  .value = "WHOSE",                                                                \
		  .help = "mvm; or image: the initrd that a flake brings, without mvm's agent",    \
		  .choices = "mvm|image" },                                                        \
		{ .name = "boot-args",                                                             \
		  .kind = OPTION_STRING,                                                           \
		  .value = "ARGS",                                                                 \
		  .help = "added to the kernel's command line" },                                  \
		{ .name = "snapshot-point",                                                        \
		  .kind = OPTION_CHOICE,                                                           \
		  .value = "POINT",                                                                \
		  .help = "healthy: clones continue the workload; boot: each clone starts it "     \
			  "anew",                                                                  \
		  .choices = "healthy|boot" },                                                     \
	{                                                                                          \
		.name = "env", .letter = 'e', .kind = OPTION_LIST, .value = "K=V",                 \
		.help = "a variable for the workload; may be repeated"                             \
	}

/* Settings (mvm/template.h) that borrow from the arguments. */
#define SETTINGS_MAX 24
struct settings {
	struct mvm_template_setting v[SETTINGS_MAX];
	size_t n;
	const char *text[SETTINGS_MAX]; /* what the values point to */
	char number[SETTINGS_MAX][16];
};

/* Collect the settings of the options and of the command behind `--`.  *ret must not move. */
void settings_from_args(const struct args *a, struct settings *ret);

/* One text; NULL: the setting is unset. */
void settings_add(struct settings *s, const char *key, const char *value);

bool settings_has(const struct settings *s, const char *key);

#endif
