/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_CONFIG_KEYS_H
#define MODEL_CONFIG_KEYS_H

/*
 * Every key of template.toml: one table, by which it is parsed (which keys there are where, and
 * the range of each number) and from which doc/template-toml.md and template.toml(5) are made.
 */

#include <stddef.h>
#include <stdint.h>

#include "model/toml_read.h"

enum config_scope {
	CONFIG_TOP = 1u << 0,	   /* above the first [[variants]] */
	CONFIG_VARIANT = 1u << 1,  /* in a variant */
	CONFIG_HEALTH = 1u << 2,   /* in [health] or [variants.health] */
	CONFIG_SNAPSHOT = 1u << 3, /* in [snapshot] or [variants.snapshot] */
};

struct config_key {
	const char *name;
	unsigned scopes;
	const char *type;
	uint32_t min, max;	/* of a number; max 0: it is none */
	const char *limits;	/* of other types, or to build; NULL: none to speak of */
	const char *by_default; /* as TOML or in words; "required" */
	const char *help;	/* one sentence or more, capital letter and full stop */
	const char *example;	/* a line of TOML that sets it in its table */
};

#define CONFIG_KEYS_N 26
extern const struct config_key config_keys[CONFIG_KEYS_N];

/* The key of that name in a scope; there must be one. */
const struct config_key *config_find_key(enum config_scope scope, const char *name);

/* Warn of, or when strict refuse, keys that have no place in this scope. */
int config_check_keys(const struct toml_table *t, enum config_scope scope, struct mvm_error *err);

/* A number in the range that the table has for the key.  As toml_get_u32(). */
int config_get_u32(const struct toml_table *t, enum config_scope scope, const char *key,
		   uint32_t *ret, struct mvm_error *err);

#endif
