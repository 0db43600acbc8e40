/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "codec/json.h"

json_t *json_new(struct json_out *out)
{
	json_t *object = json_object();
	if (!object)
		out->failed = true;
	return object;
}

void json_put(struct json_out *out, json_t *object, const char *key, json_t *value)
{
	/* this takes the value over also when it fails, and it fails on NULL */
	if (json_object_set_new(object, key, value) < 0)
		out->failed = true;
}

static bool is_utf8(const char *s)
{
	size_t len = 1;
	while (*s && (len = str_utf8_len(s)) > 0)
		s += len;
	return len > 0;
}

/* Make a string; note its key when it is not UTF-8. */
static json_t *new_string(struct json_out *out, const char *key, const char *s)
{
	json_t *string = json_string(s);
	if (!string && s && !is_utf8(s))
		snprintf(out->not_utf8, sizeof(out->not_utf8), "%s", key);
	return string;
}

void json_put_string(struct json_out *out, json_t *object, const char *key, const char *s)
{
	json_put(out, object, key, new_string(out, key, s));
}

void json_put_text(struct json_out *out, json_t *object, const char *key, const char *s)
{
	AUTO_FREE char *copy = strdup(s);
	for (char *p = copy; p && *p;) {
		size_t len = str_utf8_len(p);
		if (len == 0)
			*p = '?';
		p += len ? len : 1;
	}
	json_put(out, object, key, copy ? json_string(copy) : NULL);
}

void json_put_u64(struct json_out *out, json_t *object, const char *key, uint64_t n)
{
	json_put(out, object, key, json_integer((json_int_t)n));
}

void json_put_time(struct json_out *out, json_t *object, const char *key, int64_t unix_seconds)
{
	char text[RFC3339_SIZE];
	clock_format(unix_seconds, text);
	json_put_string(out, object, key, text);
}

void json_put_strings(struct json_out *out, json_t *object, const char *key, char *const *v,
		      size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++) {
		if (json_array_append_new(list, new_string(out, key, v[i])) < 0)
			out->failed = true;
	}
	json_put(out, object, key, list);
}

json_t *json_strings(char *const *v, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(v[i]));
	if (json_array_size(list) != n) {
		json_decref(list);
		return NULL;
	}
	return list;
}

void json_put_pairs(struct json_out *out, json_t *object, const char *key, char *const *v, size_t n)
{
	json_t *pairs = json_object();
	for (size_t i = 0; i < n; i++) {
		const char *equals = strchr(v[i], '=');
		AUTO_FREE char *name = equals ? strndup(v[i], (size_t)(equals - v[i])) : NULL;
		if (!name) {
			out->failed = true;
			continue;
		}
		if (!is_utf8(v[i]))
			snprintf(out->not_utf8, sizeof(out->not_utf8), "%s", key);
		json_put(out, pairs, name, json_string(equals + 1));
	}
	json_put(out, object, key, pairs);
}

void json_put_others(struct json_out *out, json_t *object, json_t *others)
{
	if (others && json_object_update_missing(object, others) < 0)
		out->failed = true;
}

int json_out_text(const struct json_out *out, json_t *value, enum json_text_form form, char **ret,
		  struct mvm_error *err)
{
	AUTO_JSON json_t *owned = value;
	size_t flags = JSON_ENCODE_ANY;
	flags |= form == JSON_TEXT_PRETTY ? JSON_INDENT(2) : JSON_COMPACT;
	flags |= form == JSON_TEXT_SORTED ? JSON_SORT_KEYS : 0;

	if (out->not_utf8[0])
		return mvm_error_set(err, -EINVAL, "%s: is not UTF-8", out->not_utf8);
	if (out->failed || !owned)
		return mvm_error_oom(err);
	AUTO_FREE char *text = json_dumps(owned, flags);
	if (!text)
		return mvm_error_oom(err);
	if (form == JSON_TEXT_PRETTY) {
		char *line = str_printf("%s\n", text);
		if (!line)
			return mvm_error_oom(err);
		*ret = line;
		return 0;
	}
	*ret = TAKE_PTR(text);
	return 0;
}
