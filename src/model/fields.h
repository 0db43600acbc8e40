/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

/*
 * JSON documents from a table of fields.  A type lists each member once, in the order of the file;
 * this module reads, writes and frees the struct by that table.  A member's key is its name in the
 * struct, or the name in FIELD_KEY().  Keys that the table lacks are kept in `other` and written
 * again; FIELDS_CLOSED() has no `other` and drops them.
 *
 *	static const struct field fields[] = {
 *		FIELD_SCHEMA_VERSION(mvm_template_spec, schema_version),
 *		FIELD_NAME(mvm_template_spec, role, NAME_ROLE),
 *	};
 *	static const struct fields spec_fields = FIELDS(mvm_template_spec, fields);
 *
 * A member whose C type is not the field's does not compile.
 */

#include "model/template.h"
#include <stddef.h>
#include <stdint.h>

#include "codec/json.h"
#include "model/name.h"

enum field_type {
	FIELD_IS_SCHEMA_VERSION, /* see read_schema_version(); written with our version */
	FIELD_IS_STRING,
	FIELD_IS_TEXT,	/* a string that may quote a guest, see json_put_text() */
	FIELD_IS_CHARS, /* a string within the struct */
	FIELD_IS_NAME,
	FIELD_IS_TIME,
	FIELD_IS_NUMBER,
	FIELD_IS_BOOL,
	FIELD_IS_NOT,  /* true in the file means zero in the struct */
	FIELD_IS_ENUM, /* the value's name */
	FIELD_IS_STRINGS,
	FIELD_IS_PAIRS,
	FIELD_IS_OBJECT,
	FIELD_IS_LIST, /* of objects, an array within the struct */
	FIELD_IS_RUN,
	FIELD_IS_OWN, /* read and written by its field_ops */
};

enum field_presence {
	FIELD_REQUIRED,
	FIELD_KEPT,	/* may be missing or null; always written, if absent as null */
	FIELD_SPARSE,	/* may be missing or null; not written while it is empty */
	FIELD_ONLY_PUT, /* written for other programs, unless it is absent; not read */
};

struct fields {
	const struct field *v;
	size_t n;
	size_t size;  /* of the struct */
	size_t other; /* offset of the json_t for unknown keys; or FIELDS_NO_OTHER */
};
#define FIELDS_NO_OTHER SIZE_MAX

/* Read and write a kind of member that only one struct has.  Both functions get the whole struct.
 * The member owns nothing. */
struct field_ops {
	int (*read)(const struct json_at *at, const char *key, void *value, struct mvm_error *err);
	void (*put)(struct json_out *out, json_t *o, const char *key, const void *value);
};

struct field {
	const char *key;
	enum field_type type;
	enum field_presence presence;
	size_t offset;
	size_t size;		     /* of the member; FIELD_IS_LIST: of an item */
	uint64_t min, max;	     /* FIELD_IS_NUMBER; FIELD_IS_LIST: at most max items */
	const char *const *names;    /* FIELD_IS_ENUM: max names */
	enum name_kind name;	     /* FIELD_IS_NAME */
	const struct fields *object; /* FIELD_IS_OBJECT, FIELD_IS_LIST: of a struct in this one */
	const struct field_ops *ops; /* FIELD_IS_OWN */
	size_t count;		     /* FIELD_IS_LIST: the size_t that counts its items */
	size_t has; /* offset of the bool that tells whether the member is present; 0: always */
};

#define FIELD_OFFSET(T, m, C)                                                                      \
	(offsetof(struct T, m) + 0 * sizeof(char[_Generic(((struct T *)0)->m, __typeof__(C) : 1)]))

#define FIELDS(T, table)                                                                           \
	{                                                                                          \
		(table), MVM_ARRAY_SIZE(table), sizeof(struct T), FIELD_OFFSET(T, other, json_t *) \
	}
#define FIELDS_CLOSED(T, table)                                                                    \
	{                                                                                          \
		(table), MVM_ARRAY_SIZE(table), sizeof(struct T), FIELDS_NO_OTHER                  \
	}

/* NOLINTBEGIN(bugprone-macro-parentheses): offsetof() takes m[0] and no (m)[0] */

/* The common members of an initializer; the type's further members follow them. */
#define FIELD_KEY(k, T, m, what, C, when)                                                          \
	.key = (k), .type = (what), .presence = (when), .offset = FIELD_OFFSET(T, m, C),           \
	.size = sizeof(C)
#define FIELD(T, m, what, C, when) FIELD_KEY(#m, T, m, what, C, when)
#define FIELD_NAMES(table)	   .names = (table), .max = MVM_ARRAY_SIZE(table)

#define FIELD_SCHEMA_VERSION(T, m)                                                                 \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_SCHEMA_VERSION, uint32_t, FIELD_REQUIRED)                     \
	}
#define FIELD_STRING(T, m, presence)                                                               \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_STRING, char *, presence)                                     \
	}
#define FIELD_TEXT(T, m)                                                                           \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_TEXT, char *, FIELD_KEPT)                                     \
	}
#define FIELD_CHARS(T, m)                                                                          \
	{                                                                                          \
		.key = #m, .type = FIELD_IS_CHARS, .presence = FIELD_REQUIRED,                     \
		.offset = FIELD_OFFSET(T, m[0], char), .size = sizeof(((struct T *)0)->m)          \
	}
#define FIELD_NAME(T, m, kind)                                                                     \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_NAME, char *, FIELD_REQUIRED), .name = (kind)                 \
	}
#define FIELD_TIME(T, m)                                                                           \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_TIME, int64_t, FIELD_REQUIRED)                                \
	}
#define FIELD_NUMBER(T, m, C, presence, least, most)                                               \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_NUMBER, C, presence), .min = (least), .max = (most)           \
	}
#define FIELD_BOOL(T, m, presence)                                                                 \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_BOOL, bool, presence)                                         \
	}
#define FIELD_ENUM(T, m, C, presence, table)                                                       \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_ENUM, C, presence), FIELD_NAMES(table)                        \
	}
#define FIELD_STRINGS(T, m)                                                                        \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_STRINGS, struct strv, FIELD_SPARSE)                           \
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
/* flag: the path of the bool in T */
#define FIELD_OBJECT_IF(T, m, C, presence, fields, flag)                                           \
	{                                                                                          \
		FIELD(T, m, FIELD_IS_OBJECT, struct C, presence),                                  \
			.object = (fields), .has = FIELD_OFFSET(T, flag, bool)                     \
	}
/* m: an array of struct C in T, of which n are in use */
#define FIELD_LIST(T, m, n, C, when, fields)                                                       \
	{                                                                                          \
		.key = #m, .type = FIELD_IS_LIST, .presence = (when),                              \
		.offset = FIELD_OFFSET(T, m[0], struct C), .size = sizeof(struct C),               \
		.max = MVM_ARRAY_SIZE(((struct T *)0)->m), .object = (fields),                     \
		.count = FIELD_OFFSET(T, n, size_t)                                                \
	}
/* NOLINTEND(bugprone-macro-parentheses) */
#define FIELD_U8(T, m)		   FIELD_NUMBER(T, m, uint8_t, FIELD_REQUIRED, 0, UINT8_MAX)
#define FIELD_U32(T, m)		   FIELD_NUMBER(T, m, uint32_t, FIELD_REQUIRED, 0, UINT32_MAX)
#define FIELD_SIZE(T, m, presence) FIELD_NUMBER(T, m, uint64_t, presence, 0, JSON_U64_MAX)

/*
 * Read the object at a place into an empty struct, which may be half-filled on failure.
 * Errors: -EBADMSG, -EOPNOTSUPP for a newer schema_version, -ENOMEM.
 */
int fields_read(const struct fields *fields, const struct json_at *at, void *ret,
		struct mvm_error *err);

/* Make the object of a struct; out remembers failures. */
json_t *fields_json(const struct fields *fields, struct json_out *out, const void *value);

/* Free the struct's contents and empty it. */
void fields_done(const struct fields *fields, void *value);

/* Read a struct from a document's text, and write its text.  ret is set only on success; its old
 * contents are not freed.  Errors: as fields_read() and json_read(). */
int fields_parse(const struct fields *fields, const char *text, size_t len, const char *name,
		 void *ret, struct mvm_error *err);
int fields_format(const struct fields *fields, const void *value, char **ret,
		  struct mvm_error *err);

#endif
