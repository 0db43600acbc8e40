/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

/*
 * JSON, read strictly and written the same way every time.
 *
 * Reading: json_read() checks the whole text (size, depth, duplicate keys, NUL bytes).  Then the
 * getters take members out by name.  A struct json_at is the place of a value: a chain of stack
 * variables up to the file's name.  So every error names the file and the key path:
 *
 *	template.json: artifact_paths.sizes.rootfs_bytes: expected a whole number from 0 to 255
 *
 *	AUTO_JSON json_t *doc = NULL;
 *	struct json_at root, sizes;
 *	r = json_read(text, len, "template.json", &doc, err);
 *	json_root(&root, "template.json", doc);
 *	r = json_get_object(&root, "sizes", JSON_REQUIRED, &sizes, err);
 *	r = json_get_u64(&sizes, "rootfs_bytes", 0, JSON_U64_MAX, JSON_OPTIONAL, &bytes, err);
 *
 * Getters return 1 with the member, 0 when an optional member is missing (*ret is then unchanged),
 * and -EBADMSG when the member is wrong.  Any fault in the content of a JSON text is -EBADMSG,
 * because JSON comes from files and peers; people do not write it by hand.
 *
 * Source: RFC 8259; duplicate keys are errors, as in RFC 7493 (I-JSON).
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"
#include "base/str.h"

#define JSON_MAX_BYTES ((size_t)16 * 1024 * 1024)
#define JSON_MAX_DEPTH 64u
#define JSON_U64_MAX   ((uint64_t)INT64_MAX) /* the library's integers are signed */

static inline void auto_json(json_t **j)
{
	json_decref(*j);
}
#define AUTO_JSON __attribute__((cleanup(auto_json)))

/*
 * Parse a document whose root is an object or an array.
 *
 *   text, len  borrowed; at most JSON_MAX_BYTES
 *   name       of the document, for error messages
 *   ret        the document; json_decref() it
 *
 * Errors: -EBADMSG with the line, -EFBIG, -ENOMEM.
 */
int json_read(const char *text, size_t len, const char *name, json_t **ret, struct mvm_error *err);

/* json_read() for a document whose root may be any value. */
int json_read_any(const char *text, size_t len, const char *name, json_t **ret,
		  struct mvm_error *err);

struct json_at;

/* json_read() and json_root() for a document whose root must be an object. */
int json_read_object(const char *text, size_t len, const char *name, json_t **ret,
		     struct json_at *ret_root, struct mvm_error *err);

struct json_at {
	const struct json_at *up; /* NULL for the root */
	const char *key;	  /* at the root: the file's name; NULL for array items */
	size_t index;
	json_t *value; /* borrowed */
};

void json_root(struct json_at *ret, const char *name, json_t *value);

enum json_presence {
	JSON_REQUIRED,
	JSON_OPTIONAL, /* may be missing */
	JSON_NULLABLE, /* may be missing or null */
};

/* Describe a fault at a place, or at one of its members (key not NULL).  -EBADMSG. */
#define json_error(at, key, err, ...) mvm_error_negative(json_error_text(at, key, err, __VA_ARGS__))
int json_error_text(const struct json_at *at, const char *key, struct mvm_error *err,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Frees *ret and replaces it with a copy that the caller owns.  Strings never hold NUL bytes. */
int json_get_string(const struct json_at *at, const char *key, enum json_presence presence,
		    char **ret, struct mvm_error *err);
int json_get_u64(const struct json_at *at, const char *key, uint64_t min, uint64_t max,
		 enum json_presence presence, uint64_t *ret, struct mvm_error *err);
/* The whole number that a value is, also as 5.0 or 5e0: JSON has one kind of number.  NULL is no
 * number. */
bool json_whole(const json_t *value, json_int_t *ret);
int json_get_bool(const struct json_at *at, const char *key, enum json_presence presence, bool *ret,
		  struct mvm_error *err);
int json_get_object(const struct json_at *at, const char *key, enum json_presence presence,
		    struct json_at *ret, struct mvm_error *err);
int json_get_array(const struct json_at *at, const char *key, enum json_presence presence,
		   struct json_at *ret, struct mvm_error *err);

/* An array of strings; an object of strings as "key=value" in the order of the text, with keys that
 * are not empty and have no '='.  The caller owns the strings added to *ret, also after an
 * error. */
int json_get_strings(const struct json_at *at, const char *key, enum json_presence presence,
		     struct strv *ret, struct mvm_error *err);
int json_get_pairs(const struct json_at *at, const char *key, enum json_presence presence,
		   struct strv *ret, struct mvm_error *err);

/* An RFC 3339 time as seconds since 1970. */
int json_get_time(const struct json_at *at, const char *key, enum json_presence presence,
		  int64_t *ret, struct mvm_error *err);

/* The place of an array's item (index < json_array_size(at->value)). */
void json_item(const struct json_at *at, size_t index, struct json_at *ret);

/* An object of the members whose keys are not among the n known ones.  It shares the values.  *ret
 * is NULL when there are none.  0 or -ENOMEM. */
int json_unknown(const struct json_at *at, const char *const *known, size_t n, json_t **ret,
		 struct mvm_error *err);

/*
 * Building.  json_put takes over the value, also on failure.  A NULL value or object counts as out
 * of memory, which json_out_text() reports at the end.  So a caller puts all members and checks
 * once.
 *
 *	struct json_out out = { 0 };
 *	json_t *o = json_new(&out);
 *	json_put_string(&out, o, "role", role);
 *	json_put(&out, o, "sizes", sizes);
 *	return json_out_text(&out, o, JSON_TEXT_PRETTY, &text, err);
 */
struct json_out {
	bool failed;
	char not_utf8[64]; /* key of a string that is not UTF-8; "": none */
};

json_t *json_new(struct json_out *out); /* an empty object */
void json_put(struct json_out *out, json_t *object, const char *key, json_t *value);
void json_put_string(struct json_out *out, json_t *object, const char *key, const char *s);
/* Put untrusted text, such as a guest's: bytes that are not UTF-8 become '?'.  json_put_string()
 * fails on them. */
void json_put_text(struct json_out *out, json_t *object, const char *key, const char *s);
void json_put_u64(struct json_out *out, json_t *object, const char *key, uint64_t n);
void json_put_time(struct json_out *out, json_t *object, const char *key, int64_t unix_seconds);
void json_put_strings(struct json_out *out, json_t *object, const char *key, char *const *v,
		      size_t n);
json_t *json_strings(char *const *v, size_t n); /* an array; NULL: no memory, or not UTF-8 */
void json_put_pairs(struct json_out *out, json_t *object, const char *key, char *const *v,
		    size_t n);
void json_put_others(struct json_out *out, json_t *object, json_t *others); /* others: borrowed */

enum json_text_form {
	JSON_TEXT_PRETTY, /* two spaces, order of insertion, newline at the end: files */
	JSON_TEXT_SORTED, /* compact, keys in byte order, no newline: for hashing */
	JSON_TEXT_DENSE,  /* compact, order of insertion, no newline */
};

/* The text of value.  This takes over and frees value in every case.  Returns 0, -EINVAL naming the
 * key of a string that is not UTF-8, or -ENOMEM. */
int json_out_text(const struct json_out *out, json_t *value, enum json_text_form form, char **ret,
		  struct mvm_error *err);

#endif
