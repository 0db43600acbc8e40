/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

/*
 * Documents by the table of their fields: a type states each member once, in the order of the
 * file, and is read, written and freed by that.  A member's key is its name in the struct.
 * Members that nobody here knows are kept in `other` and written again.
 *
 *	static const struct field fields[] = {
 *		FIELD_SCHEMA_VERSION(mvm_template_spec, schema_version),
 *		FIELD_NAME(mvm_template_spec, role, NAME_ROLE),
 *	};
 *	static const struct fields spec_fields = FIELDS(mvm_template_spec, fields);
 *
 * A member of another C type than the field's does not compile.
 */

#include "model/template.h"
#include <stddef.h>

#include "codec/json.h"
#include "model/name.h"

enum field_type {
	FIELD_IS_SCHEMA_VERSION, /* see read_schema_version() */
	FIELD_IS_STRING,
	FIELD_IS_NAME,
	FIELD_IS_TIME,
	FIELD_IS_U8,
	FIELD_IS_U32,
	FIELD_IS_SIZE,
	FIELD_IS_PAIRS,
	FIELD_IS_OBJECT,
	FIELD_IS_RUN,
};

enum field_presence {
	FIELD_REQUIRED,
	FIELD_KEPT,   /* may be missing or null; always written, an absent object as null */
	FIELD_SPARSE, /* may be missing or null; not written while it is empty */
};

struct fields {
	const struct field *v;
	size_t n;
	size_t size;  /* of the struct */
	size_t other; /* where its json_t is */
};

struct field {
	const char *key;
	enum field_type type;
	enum field_presence presence;
	size_t offset;
	enum name_kind name;	     /* FIELD_IS_NAME */
	const struct fields *object; /* FIELD_IS_OBJECT: a struct within the struct */
	size_t has; /* FIELD_IS_OBJECT: the bool that says whether it is there; or 0 */
};

#define FIELD_OFFSET(T, m, C)                                                                      \
	(offsetof(struct T, m) + 0 * sizeof(char[_Generic(((struct T *)0)->m, __typeof__(C) : 1)]))

#define FIELDS(T, table)                                                                           \
	{                                                                                          \
		(table), MVM_ARRAY_SIZE(table), sizeof(struct T), FIELD_OFFSET(T, other, json_t *) \
	}

#define FIELD(T, m, what, C, when)                                                                 \
	.key = #m, .type = (what), .presence = (when), .offset = FIELD_OFFSET(T, m, C)

#define FIELD_SCHEMA_VERSION(T, m)                                                                 \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_SCHEMA_VERSION, uint32_t, FIELD_REQUIRED)                     \
	}
#define FIELD_STRING(T, m, presence)                                                               \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_STRING, char *, presence)                                     \
	}
#define FIELD_NAME(T, m, kind)                                                                     \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_NAME, char *, FIELD_REQUIRED), .name = (kind)                 \
	}
#define FIELD_TIME(T, m)                                                                           \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_TIME, int64_t, FIELD_REQUIRED)                                \
	}
#define FIELD_U8(T, m)                                                                             \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_U8, uint8_t, FIELD_REQUIRED)                                  \
	}
#define FIELD_U32(T, m)                                                                            \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_U32, uint32_t, FIELD_REQUIRED)                                \
	}
#define FIELD_SIZE(T, m, presence)                                                                 \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_SIZE, uint64_t, presence)                                     \
	}
#define FIELD_PAIRS(T, m)                                                                          \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_PAIRS, struct mvm_strings, FIELD_SPARSE)                      \
	}
#define FIELD_RUN(T, m)                                                                            \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_RUN, struct mvm_run, FIELD_SPARSE)                            \
	}
#define FIELD_OBJECT(T, m, C, presence, fields)                                                    \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_OBJECT, struct C, presence), .object = (fields)               \
	}
/* has: the path of the bool in T */
#define FIELD_OBJECT_IF(T, m, C, presence, fields, flag)                                           \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_OBJECT, struct C, presence),                                  \
			.object = (fields), .has = FIELD_OFFSET(T, flag, bool)                     \
	}

/*
 * Read the object at a place into an empty struct, which may be half-filled on failure.
 * Errors: -EBADMSG, -EOPNOTSUPP for a newer schema_version, -ENOMEM.
 */
int fields_read(const struct fields *fields, const struct json_at *at, void *ret,
		struct mvm_error *err);

/* An object whose failures out remembers. */
json_t *fields_json(const struct fields *fields, struct json_out *out, const void *value);

/* Free what the struct has and empty it. */
void fields_done(const struct fields *fields, void *value);

/* A document from its text, and the text of one.  ret is set only on success; what it had is not
 * freed.  Errors: as fields_read() and json_read(). */
int fields_parse(const struct fields *fields, const char *text, size_t len, const char *name,
		 void *ret, struct mvm_error *err);
int fields_format(const struct fields *fields, const void *value, char **ret,
		  struct mvm_error *err);

#endif
