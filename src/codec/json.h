/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

/*
 * JSON, read strictly and written the same way every time.
 *
 * Reading: json_read() checks the text as a whole (size, depth, duplicate keys, NUL bytes), then
 * the getters take members out by name.  A struct json_at says where a value stands, as a chain
 * of stack variables up to the file's name, so that every error names the file and the key path:
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
 * Getters return 1 when the member is there, 0 when it may be and is missing (the result is then
 * untouched), and -EBADMSG when it is not what it should be.  Everything that is wrong with the
 * content of a JSON text is -EBADMSG: JSON comes from files and peers, never from a person's hand.
 *
 * Source: RFC 8259; duplicate keys are errors, as RFC 7493 (I-JSON) has it.
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
 *   name       what errors call it
 *   ret        the document; json_decref() it
 *
 * Errors: -EBADMSG with the line, -EFBIG, -ENOMEM.
 */
int json_read(const char *text, size_t len, const char *name, json_t **ret, struct mvm_error *err);

/* The same for a document whose root may be any value. */
int json_read_any(const char *text, size_t len, const char *name, json_t **ret,
		  struct mvm_error *err);

struct json_at {
	const struct json_at *up; /* NULL for the root */
	const char *key;	  /* the root's: the file's name; NULL for array items */
	size_t index;
	json_t *value; /* borrowed */
};

void json_root(struct json_at *ret, const char *name, json_t *value);

enum json_presence {
	JSON_REQUIRED,
	JSON_OPTIONAL, /* may be missing */
	JSON_NULLABLE, /* may be missing or null */
};

/* Describe what is wrong at a place, or at one of its members (key not NULL).  -EBADMSG. */
#define json_error(at, key, err, ...) mvm_error_negative(json_error_text(at, key, err, __VA_ARGS__))
int json_error_text(const struct json_at *at, const char *key, struct mvm_error *err,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* An owned copy replaces *ret, which is freed.  Strings never hold NUL bytes. */
int json_get_string(const struct json_at *at, const char *key, enum json_presence presence,
		    char **ret, struct mvm_error *err);
int json_get_u64(const struct json_at *at, const char *key, uint64_t min, uint64_t max,
		 enum json_presence presence, uint64_t *ret, struct mvm_error *err);
int json_get_bool(const struct json_at *at, const char *key, enum json_presence presence, bool *ret,
		  struct mvm_error *err);
int json_get_object(const struct json_at *at, const char *key, enum json_presence presence,
		    struct json_at *ret, struct mvm_error *err);
int json_get_array(const struct json_at *at, const char *key, enum json_presence presence,
		   struct json_at *ret, struct mvm_error *err);

/* An array of strings; an object of strings as "key=value" in the order of the text, keys
 * neither empty nor with '='.  What is added to *ret stays the caller's, also after an error. */
int json_get_strings(const struct json_at *at, const char *key, enum json_presence presence,
		     struct strv *ret, struct mvm_error *err);
int json_get_pairs(const struct json_at *at, const char *key, enum json_presence presence,
		   struct strv *ret, struct mvm_error *err);

/* An RFC 3339 time as seconds since 1970. */
int json_get_time(const struct json_at *at, const char *key, enum json_presence presence,
		  int64_t *ret, struct mvm_error *err);

/* The place of an array's item (index < json_array_size(at->value)). */
void json_item(const struct json_at *at, size_t index, struct json_at *ret);

/* The members of an object whose keys are not among the n known ones, as an object of their own
 * that shares the values; *ret is NULL when there are none.  0 or -ENOMEM. */
int json_unknown(const struct json_at *at, const char *const *known, size_t n, json_t **ret,
		 struct mvm_error *err);

/*
 * Building.  Every value given to a json_put goes over to the object, also on failure; a NULL
 * value or object counts as having run out of memory, which json_out_text() then reports, so that a
 * caller puts all it has and checks once.
 *
 *	struct json_out out = { 0 };
 *	json_t *o = json_new(&out);
 *	json_put_string(&out, o, "role", role);
 *	json_put(&out, o, "sizes", sizes);
 *	return json_out_text(&out, o, JSON_TEXT_PRETTY, &text, err);
 */
struct json_out {
	bool failed;
	char not_utf8[64]; /* the key of such a string */
};

json_t *json_new(struct json_out *out); /* an empty object */
void json_put(struct json_out *out, json_t *object, const char *key, json_t *value);
void json_put_string(struct json_out *out, json_t *object, const char *key, const char *s);
/* The same for a text of which nobody knows where it comes from, a guest say: bytes that are no
 * UTF-8 become '?', while json_put_string() fails. */
void json_put_text(struct json_out *out, json_t *object, const char *key, const char *s);
void json_put_u64(struct json_out *out, json_t *object, const char *key, uint64_t n);
void json_put_time(struct json_out *out, json_t *object, const char *key, int64_t unix_seconds);
void json_put_strings(struct json_out *out, json_t *object, const char *key, char *const *v,
		      size_t n);
void json_put_pairs(struct json_out *out, json_t *object, const char *key, char *const *v,
		    size_t n);
void json_put_others(struct json_out *out, json_t *object, json_t *others); /* others: borrowed */

enum json_text_form {
	JSON_TEXT_PRETTY, /* two spaces, order of insertion, newline at the end: files */
	JSON_TEXT_SORTED, /* compact, keys in byte order, no newline: what is hashed */
};

/* The text of value, which is taken over and dropped in every case.  0, -EINVAL (a string is not
 * UTF-8; its key is named) or -ENOMEM. */
int json_out_text(const struct json_out *out, json_t *value, enum json_text_form form, char **ret,
		  struct mvm_error *err);

#endif
