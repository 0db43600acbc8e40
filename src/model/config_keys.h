/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_CONFIG_KEYS_H
#define MODEL_CONFIG_KEYS_H

/*
 * Every key of template.toml, in one table.  The parser takes from it which keys are valid where
 * and the range of each number.  doc/template-toml.md and template.toml(5) are generated from it.
 */

#include <stddef.h>
#include <stdint.h>

#include "model/toml_read.h"

enum config_scope {
	CONFIG_TOP = 1u << 0,	   /* above the first [[variants]] */
	CONFIG_VARIANT = 1u << 1,  /* in a variant */
	CONFIG_HEALTH = 1u << 2,   /* in [health] or [variants.health] */
	CONFIG_SNAPSHOT = 1u << 3, /* in [snapshot] or [variants.snapshot] */
	CONFIG_NETWORK = 1u << 4,  /* in [network] or [variants.network] */
};

struct config_key {
	const char *name;
	unsigned scopes;
	const char *type;
	uint32_t min, max;	/* of a number; max 0: no number */
	const char *limits;	/* of other types, or to build; NULL: none worth stating */
	const char *by_default; /* as TOML or in words; "required" */
	const char *help;	/* one sentence or more, capital letter and full stop */
	const char *example;	/* a line of TOML that sets it in its table */
};

#define CONFIG_KEYS_N 33
extern const struct config_key config_keys[CONFIG_KEYS_N];

/* The key of this name in a scope; it must exist. */
const struct config_key *config_find_key(enum config_scope scope, const char *name);

/* Warn of keys that are not valid in this scope, or refuse them when strict. */
int config_check_keys(const struct toml_table *t, enum config_scope scope, struct mvm_error *err);

/* toml_get_u32() with the range that the table has for the key. */
int config_get_u32(const struct toml_table *t, enum config_scope scope, const char *key,
		   uint32_t *ret, struct mvm_error *err);

#endif
