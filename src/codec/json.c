/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static bool too_deep(const json_t *value, unsigned left)
{
	const char *key;
	json_t *member;
	size_t i;

	if (!json_is_object(value) && !json_is_array(value))
		return false;
	if (left == 0)
		return true;
	json_object_foreach((json_t *)value, key, member)
	{
		if (too_deep(member, left - 1))
			return true;
	}
	json_array_foreach(value, i, member)
	{
		if (too_deep(member, left - 1))
			return true;
	}
	return false;
}

static int parse(const char *text, size_t len, const char *name, size_t flags, json_t **ret,
		 struct mvm_error *err)
{
	json_error_t e;

	if (len > JSON_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "%s: larger than %zu MiB", name,
				     JSON_MAX_BYTES >> 20);
	AUTO_JSON json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES | flags, &e);
	if (!doc && json_error_code(&e) == json_error_out_of_memory)
		return mvm_error_set(err, -ENOMEM, "%s: out of memory", name);
	if (!doc)
		return mvm_error_set(err, -EBADMSG, "%s:%d: %s", name, e.line, e.text);
	if (too_deep(doc, JSON_MAX_DEPTH))
		return mvm_error_set(err, -EBADMSG, "%s: nested deeper than %u levels", name,
				     JSON_MAX_DEPTH);
	*ret = TAKE_PTR(doc);
	return 0;
}

int json_read(const char *text, size_t len, const char *name, json_t **ret, struct mvm_error *err)
{
	return parse(text, len, name, 0, ret, err);
}

int json_read_any(const char *text, size_t len, const char *name, json_t **ret,
		  struct mvm_error *err)
{
	return parse(text, len, name, JSON_DECODE_ANY, ret, err);
}

void json_root(struct json_at *ret, const char *name, json_t *value)
{
	*ret = (struct json_at){ .key = name, .value = value };
}

int json_read_object(const char *text, size_t len, const char *name, json_t **ret,
		     struct json_at *ret_root, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;

	int r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	json_root(ret_root, name, doc);
	if (!json_is_object(doc))
		return json_error(ret_root, NULL, err, "expected an object");
	*ret = TAKE_PTR(doc);
	return 0;
}

void json_item(const struct json_at *at, size_t index, struct json_at *ret)
{
	*ret = (struct json_at){
		.up = at,
		.index = index,
		.value = json_array_get(at->value, index),
	};
}

/* "file: key.key[1].key", the root first. */
static void add_place(struct strbuf *b, const struct json_at *at)
{
	if (!at->up) {
		strbuf_addf(b, "%s: ", at->key);
		return;
	}
	add_place(b, at->up);
	if (!at->key)
		strbuf_addf(b, "[%zu]", at->index);
	else
		strbuf_addf(b, "%s%s", at->up->up ? "." : "", at->key);
}

int json_error_text(const struct json_at *at, const char *key, struct mvm_error *err,
		    const char *fmt, ...)
{
	AUTO_DONE(strbuf) place = { 0 };
	char what[512];
	va_list ap;

	add_place(&place, at);
	if (key)
		strbuf_addf(&place, "%s%s: ", at->up ? "." : "", key);
	else if (at->up)
		strbuf_adds(&place, ": ");
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap); /* a cut sentence is still one */
	va_end(ap);
	return mvm_error_set(err, -EBADMSG, "%s%s", place.failed ? "" : place.data, what);
}

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

/* Get a member.  Returns 1 with it, 0 when there is none, -EBADMSG when it is required. */
static int get(const struct json_at *at, const char *key, enum json_presence presence, json_t **ret,
	       struct mvm_error *err)
{
	if (!json_is_object(at->value))
		return json_error(at, NULL, err, "expected an object, not %s",
				  type_name(at->value));
	json_t *value = json_object_get(at->value, key);
	if (!value && presence == JSON_REQUIRED)
		return json_error(at, key, err, "is missing");
	if (!value || (json_is_null(value) && presence == JSON_NULLABLE))
		return 0;
	*ret = value;
	return 1;
}

static int wrong_type(const struct json_at *at, const char *key, const char *wanted,
		      const json_t *value, struct mvm_error *err)
{
	return json_error(at, key, err, "expected %s, not %s", wanted, type_name(value));
}

int json_get_string(const struct json_at *at, const char *key, enum json_presence presence,
		    char **ret, struct mvm_error *err)
{
	json_t *value = NULL;
	int r = get(at, key, presence, &value, err);
	if (r <= 0)
		return r;
	if (!json_is_string(value))
		return wrong_type(at, key, "a string", value, err);
	char *copy = strdup(json_string_value(value));
	if (!copy)
		return mvm_error_oom(err);
	free(*ret);
	*ret = copy;
	return 1;
}

bool json_whole(const json_t *value, json_int_t *ret)
{
	double d = json_is_real(value) ? json_real_value(value) : 0.5;
	const double limit = 9223372036854775808.0; /* 2^63 */
	bool whole = d > -limit && d < limit && (double)(json_int_t)d == d;
	if (json_is_integer(value))
		*ret = json_integer_value(value);
	else if (whole)
		*ret = (json_int_t)d;
	return whole || json_is_integer(value);
}

int json_get_u64(const struct json_at *at, const char *key, uint64_t min, uint64_t max,
		 enum json_presence presence, uint64_t *ret, struct mvm_error *err)
{
	json_t *value = NULL;
	int r = get(at, key, presence, &value, err);
	if (r <= 0)
		return r;
	json_int_t n = 0;
	if (!json_whole(value, &n) || n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return json_error(at, key, err,
				  "expected a whole number from %" PRIu64 " to %" PRIu64, min, max);
	*ret = (uint64_t)n;
	return 1;
}

int json_get_bool(const struct json_at *at, const char *key, enum json_presence presence, bool *ret,
		  struct mvm_error *err)
{
	json_t *value = NULL;
	int r = get(at, key, presence, &value, err);
	if (r <= 0)
		return r;
	if (!json_is_boolean(value))
		return wrong_type(at, key, "true or false", value, err);
	*ret = json_is_true(value);
	return 1;
}

static int get_container(const struct json_at *at, const char *key, enum json_presence presence,
			 json_type type, struct json_at *ret, struct mvm_error *err)
{
	json_t *value = NULL;
	int r = get(at, key, presence, &value, err);
	if (r <= 0)
		return r;
	if (json_typeof(value) != type)
		return wrong_type(at, key, type == JSON_OBJECT ? "an object" : "an array", value,
				  err);
	*ret = (struct json_at){ .up = at, .key = key, .value = value };
	return 1;
}

int json_get_object(const struct json_at *at, const char *key, enum json_presence presence,
		    struct json_at *ret, struct mvm_error *err)
{
	return get_container(at, key, presence, JSON_OBJECT, ret, err);
}

int json_get_array(const struct json_at *at, const char *key, enum json_presence presence,
		   struct json_at *ret, struct mvm_error *err)
{
	return get_container(at, key, presence, JSON_ARRAY, ret, err);
}

int json_get_strings(const struct json_at *at, const char *key, enum json_presence presence,
		     struct strv *ret, struct mvm_error *err)
{
	struct json_at list = { 0 }, item;
	int r = json_get_array(at, key, presence, &list, err);
	if (r <= 0)
		return r;
	for (size_t i = 0; i < json_array_size(list.value); i++) {
		json_item(&list, i, &item);
		if (!json_is_string(item.value))
			return wrong_type(&item, NULL, "a string", item.value, err);
		strv_add(ret, json_string_value(item.value));
	}
	return ret->failed ? mvm_error_oom(err) : 1;
}

int json_get_pairs(const struct json_at *at, const char *key, enum json_presence presence,
		   struct strv *ret, struct mvm_error *err)
{
	struct json_at pairs = { 0 };
	const char *name;
	json_t *value;

	int r = json_get_object(at, key, presence, &pairs, err);
	if (r <= 0)
		return r;
	json_object_foreach(pairs.value, name, value)
	{
		if (!*name || strchr(name, '='))
			return json_error(&pairs, NULL, err,
					  "'%s': a name must not be empty or contain '='", name);
		if (!json_is_string(value))
			return wrong_type(&pairs, name, "a string", value, err);
		strv_addf(ret, "%s=%s", name, json_string_value(value));
	}
	return ret->failed ? mvm_error_oom(err) : 1;
}

int json_get_time(const struct json_at *at, const char *key, enum json_presence presence,
		  int64_t *ret, struct mvm_error *err)
{
	json_t *value = NULL;
	int r = get(at, key, presence, &value, err);
	if (r <= 0)
		return r;
	if (!json_is_string(value))
		return wrong_type(at, key, "a string", value, err);
	if (clock_parse(json_string_value(value), ret) < 0)
		return json_error(at, key, err, "'%s' is no RFC 3339 time",
				  json_string_value(value));
	return 1;
}

static bool is_known(const char *key, const char *const *known, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(known[i], key) == 0)
			return true;
	}
	return false;
}

int json_unknown(const struct json_at *at, const char *const *known, size_t n, json_t **ret,
		 struct mvm_error *err)
{
	AUTO_JSON json_t *others = NULL;
	const char *key;
	json_t *value;

	json_object_foreach(at->value, key, value)
	{
		if (is_known(key, known, n))
			continue;
		if (!others)
			others = json_object();
		if (json_object_set(others, key, value) < 0)
			return mvm_error_oom(err);
	}
	*ret = TAKE_PTR(others);
	return 0;
}
