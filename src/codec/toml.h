/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_TOML_H
#define CODEC_TOML_H

/*
 * TOML 1.0 text as a plain tree.
 *
 * toml++ does the parsing.  Only toml.cc is C++, and it lets no exception out.  Size, nesting and
 * number of values are limited before the parser sees the text, so no text can exhaust stack or
 * memory in the parser or in the recursion over its tree.
 *
 * Errors read "<name>:<line>: <what>".  Source of the language: https://toml.io/en/v1.0.0
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mvm/error.h>

#include "base/own.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOML_MAX_BYTES	((size_t)10 * 1000 * 1000)
#define TOML_MAX_VALUES 500000u /* keys and values together */
#define TOML_MAX_NESTED 32u	/* arrays and inline tables within one another */
#define TOML_MAX_DOTS	31u	/* in one dotted key or table header */

enum toml_type {
	TOML_TABLE,
	TOML_ARRAY,
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOLEAN,
	TOML_OFFSET_DATE_TIME, /* dates and times carry their text, in RFC 3339's spelling */
	TOML_LOCAL_DATE_TIME,
	TOML_LOCAL_DATE,
	TOML_LOCAL_TIME,
};

/* A value; its type decides which members are set.  Keys and strings may contain NUL bytes, so they
 * carry their length; they are NUL-terminated as well. */
struct toml_value {
	enum toml_type type;
	bool boolean;
	unsigned line; /* from 1; 0 if it has no place of its own */
	char *key;     /* NULL for array items and the root */
	size_t key_len;
	char *string;
	size_t string_len;
	int64_t integer;
	double real;
	struct toml_value *children; /* of tables and arrays, in the order of the text */
	size_t n_children;
};

/*
 * Parse a document.
 *
 *   text, len  the document; borrowed
 *   name       of the document, for error messages; usually the file's name
 *   ret        the root table; free with toml_value_free()
 *
 * Errors: -EINVAL with the line, -EFBIG over one of the limits above, -ENOMEM.
 */
int toml_parse(const char *text, size_t len, const char *name, struct toml_value **ret,
	       struct mvm_error *err);

void toml_value_free(struct toml_value *v);
DEFINE_AUTO(toml_value, toml_value_free)

/* The member of a table with this key, or NULL. */
const struct toml_value *toml_get(const struct toml_value *table, const char *key);

/* "a string", "a whole number": for messages. */
const char *toml_type_name(enum toml_type type);

/*
 * Check the limits that need no parsing.  Called by toml_parse.
 *
 * Returns 0, or -EFBIG with the line and the exceeded limit (static text).
 */
int toml_check_limits(const char *text, size_t len, unsigned *ret_line, const char **ret_limit);

#ifdef __cplusplus
}
#endif

#endif
