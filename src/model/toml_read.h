/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_TOML_READ_H
#define MODEL_TOML_READ_H

/*
 * Taking settings out of a TOML table, with errors and warnings that name file, line and key:
 *
 *	template.toml:12: variants[1].vcpus: 300 is more than 32
 *
 * Getters return 1 with the key's value, 0 when the key is missing (the result is unchanged),
 * -EINVAL when the value is wrong, and -ENOMEM.
 */

#include "model/template.h"
#include <stdint.h>

#include "base/str.h"
#include "codec/toml.h"

struct toml_source {
	const char *name; /* the file, for messages */
	bool strict;	  /* unknown keys are errors */
	struct strv warnings;
};

struct toml_table {
	struct toml_source *source;
	const struct toml_value *value;
	char path[64]; /* "variants[1]." or "" */
};

/* Describe an error about a key of the table, at the line of its value, or at the table's line when
 * the value has none.  -EINVAL. */
int toml_key_error(const struct toml_table *t, const char *key, struct mvm_error *err,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Refuses strings with NUL bytes. */
int toml_get_string(const struct toml_table *t, const char *key, char **ret, struct mvm_error *err);
int toml_get_u32(const struct toml_table *t, const char *key, uint32_t min, uint32_t max,
		 uint32_t *ret, struct mvm_error *err);
int toml_get_bool(const struct toml_table *t, const char *key, bool *ret, struct mvm_error *err);
int toml_get_strings(const struct toml_table *t, const char *key, struct mvm_strings *ret,
		     struct mvm_error *err);
/* A table of strings as "NAME=value". */
int toml_get_pairs(const struct toml_table *t, const char *key, struct mvm_strings *ret,
		   struct mvm_error *err);
int toml_get_table(const struct toml_table *t, const char *key, struct toml_table *ret,
		   struct mvm_error *err);

/* Check that a required key exists: 1, or -EINVAL. */
int toml_need(const struct toml_table *t, const char *key, struct mvm_error *err);

/* Warn of keys that are not among the n known ones, or refuse them when strict. */
int toml_check_keys(const struct toml_table *t, const char *const *known, size_t n,
		    struct mvm_error *err);

#endif
