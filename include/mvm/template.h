/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_TEMPLATE_H
#define MVM_TEMPLATE_H

/*
 * The parts of a template: its config file with variants (template.toml), settings by name, cache
 * keys and the rules for names.
 *
 * A config and its variants are handles, so a new key in a later version breaks no caller.
 */

#include <mvm/error.h>
#include <mvm/visibility.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MVM_DEFAULT_PROFILE "minimal"
#define MVM_DEFAULT_ROLE    "worker"
#define MVM_DEFAULT_VCPUS   2
#define MVM_DEFAULT_MEM_MIB 1024

/* Limits of a machine that mvm builds and runs.  A template.json of an older mvm may exceed them.
 * A data or root disk of 0 MiB means none.  A disk below the minimum has no room for the journal
 * and the file system's own tables. */
#define MVM_VCPUS_MIN	      1u
#define MVM_VCPUS_MAX	      32u
#define MVM_MEM_MIB_MIN	      96u
#define MVM_DATA_DISK_MIB_MIN 8u
#define MVM_DATA_DISK_MIB_MAX (8u << 20)
#define MVM_ROOT_DISK_MIB_MIN MVM_DATA_DISK_MIB_MIN
#define MVM_ROOT_DISK_MIB_MAX MVM_DATA_DISK_MIB_MAX

/* Buffer sizes for any template id, revision name and cache key, with the NUL. */
#define MVM_TEMPLATE_ID_SIZE 64
#define MVM_REVISION_SIZE    65
#define MVM_CACHE_KEY_SIZE   65

/* Strings in order; v[n] == NULL.  In an empty list v may be NULL. */
struct mvm_strings {
	char **v;
	size_t n;
};

/* Free the strings and leave an empty list.  {0} is an empty list, too; NULL is fine. */
MVM_API void mvm_strings_done(struct mvm_strings *l);

/* ---- Config files ---- */

/* A parsed template.toml.  The caller owns it. */
struct mvm_template_config;

/* One of its variants, which becomes one template.  The config owns it. */
struct mvm_template_variant;

enum mvm_template_config_flags {
	MVM_TEMPLATE_CONFIG_STRICT = 1u << 0, /* unknown keys are errors instead of warnings */
};

/*
 * Read a config file.
 *
 *   path          the file; at most 10 MB.  A relative flake_ref counts from the file's folder
 *   flags         enum mvm_template_config_flags
 *   ret           mvm_template_config_free() it
 *   ret_warnings  sentences about unknown keys, with file and line; mvm_strings_done() it; may be
 *                 NULL.  A call that fails fills it too: an unknown key may be the misspelt form of
 *                 the missing one
 *
 * Errors: -ENOENT and others from reading, -EINVAL with file, line and key, -EFBIG.
 */
MVM_API int mvm_template_config_load(const char *path, unsigned flags,
				     struct mvm_template_config **ret,
				     struct mvm_strings *ret_warnings, struct mvm_error *err);

/*
 * Read a config from memory, otherwise as mvm_template_config_load().
 *
 *   text      len bytes of TOML; need not end with a NUL
 *   name      of the text, for error messages
 *   base_dir  absolute path that a relative flake_ref counts from
 */
MVM_API int mvm_template_config_parse(const char *text, size_t len, const char *name,
				      const char *base_dir, unsigned flags,
				      struct mvm_template_config **ret,
				      struct mvm_strings *ret_warnings, struct mvm_error *err);

MVM_API void mvm_template_config_free(struct mvm_template_config *config); /* NULL is fine */

/* Values that apply to all variants.  Borrowed from the config; template_id is NULL when the file
 * has none. */
MVM_API const char *mvm_template_config_template_id(const struct mvm_template_config *config);
MVM_API const char *mvm_template_config_flake_ref(const struct mvm_template_config *config);
MVM_API const char *mvm_template_config_profile(const struct mvm_template_config *config);

/* The variants, in the file's order; NULL when index is out of range. */
MVM_API size_t mvm_template_config_variant_count(const struct mvm_template_config *config);
MVM_API const struct mvm_template_variant *mvm_template_config_variant(
	const struct mvm_template_config *config, size_t index);

/* Values of a variant; those it does not set come from the config.  Strings are borrowed from the
 * config. */
MVM_API const char *mvm_template_variant_name(const struct mvm_template_variant *variant);
MVM_API const char *mvm_template_variant_role(const struct mvm_template_variant *variant);
MVM_API const char *mvm_template_variant_profile(const struct mvm_template_variant *variant);
MVM_API unsigned mvm_template_variant_vcpus(const struct mvm_template_variant *variant);
MVM_API uint32_t mvm_template_variant_mem_mib(const struct mvm_template_variant *variant);
MVM_API uint32_t mvm_template_variant_data_disk_mib(const struct mvm_template_variant *variant);
MVM_API uint32_t mvm_template_variant_root_disk_mib(const struct mvm_template_variant *variant);

/* ---- Settings ---- */

/*
 * One setting of a template: a key of template.toml (doc/template-toml.md) and its values as text.
 *
 *   key     "mem_mib", "env", "health.http"
 *   values  one text, or the items of a list; NULL: reset the setting to its default, whatever
 *           n_values is
 *
 * This struct does not grow: new settings are new keys.
 */
struct mvm_template_setting {
	const char *key;
	const char *const *values;
	size_t n_values;
};

/* ---- Names and keys ---- */

/* Lower-case hex SHA-256 of flake_lock_hash ":" profile ":" role.  Builds with one key can share
 * their result. */
MVM_API void mvm_template_cache_key(const char *flake_lock_hash, const char *profile,
				    const char *role, char ret[MVM_CACHE_KEY_SIZE]);

/* 1 to 63 of a-z 0-9 - _, starting with a letter or digit; also for names of instances. */
MVM_API bool mvm_template_id_valid(const char *s);

/* 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit; also for profiles and kernels. */
MVM_API bool mvm_role_valid(const char *s);

/* 1 to 64 of a-z 0-9. */
MVM_API bool mvm_revision_valid(const char *s);

#endif
