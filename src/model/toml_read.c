/* SPDX-License-Identifier: Apache-2.0 */
#include "model/toml_read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/run.h"
#include "model/strings.h"

int toml_key_error(const struct toml_table *t, const char *key, struct mvm_error *err,
		   const char *fmt, ...)
{
	const struct toml_value *v = toml_get(t->value, key);
	unsigned line = v && v->line ? v->line : t->value->line;
	char what[512], at[16] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap); /* truncation is fine */
	va_end(ap);
	if (line)
		snprintf(at, sizeof(at), ":%u", line);
	return mvm_error_set(err, -EINVAL, "%s%s: %s%s: %s", t->source->name, at, t->path, key,
			     what);
}

static int wrong_type(const struct toml_table *t, const char *key, const char *wanted,
		      const struct toml_value *v, struct mvm_error *err)
{
	return toml_key_error(t, key, err, "expected %s, not %s", wanted, toml_type_name(v->type));
}

static bool has_nul(const struct toml_value *v)
{
	return strlen(v->string) != v->string_len;
}

int toml_get_string(const struct toml_table *t, const char *key, char **ret, struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_STRING)
		return wrong_type(t, key, "a string", v, err);
	if (has_nul(v))
		return toml_key_error(t, key, err, "has a NUL character");
	char *copy = strdup(v->string);
	if (!copy)
		return mvm_error_oom(err);
	free(*ret);
	*ret = copy;
	return 1;
}

int toml_get_u32(const struct toml_table *t, const char *key, uint32_t min, uint32_t max,
		 uint32_t *ret, struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_INTEGER)
		return wrong_type(t, key, "a whole number", v, err);
	if (v->integer < (int64_t)min)
		return toml_key_error(t, key, err, "%" PRId64 " is less than %" PRIu32, v->integer,
				      min);
	if (v->integer > (int64_t)max)
		return toml_key_error(t, key, err, "%" PRId64 " is more than %" PRIu32, v->integer,
				      max);
	*ret = (uint32_t)v->integer;
	return 1;
}

int toml_get_bool(const struct toml_table *t, const char *key, bool *ret, struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_BOOLEAN)
		return wrong_type(t, key, "true or false", v, err);
	*ret = v->boolean;
	return 1;
}

int toml_get_strings(const struct toml_table *t, const char *key, struct mvm_strings *ret,
		     struct mvm_error *err)
{
	AUTO_DONE(strv) list = { 0 };
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_ARRAY)
		return wrong_type(t, key, "an array of strings", v, err);
	if (v->n_children > RUN_LIST_MAX)
		return toml_key_error(t, key, err, "has more than %d items", RUN_LIST_MAX);
	for (size_t i = 0; i < v->n_children; i++) {
		const struct toml_value *item = &v->children[i];
		if (item->type != TOML_STRING)
			return toml_key_error(t, key, err, "item %zu: expected a string, not %s", i,
					      toml_type_name(item->type));
		if (has_nul(item))
			return toml_key_error(t, key, err, "item %zu has a NUL character", i);
		strv_add(&list, item->string);
	}
	return strings_take(&list, ret) < 0 ? mvm_error_oom(err) : 1;
}

int toml_get_pairs(const struct toml_table *t, const char *key, struct mvm_strings *ret,
		   struct mvm_error *err)
{
	AUTO_DONE(strv) list = { 0 };
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_TABLE)
		return wrong_type(t, key, "a table of strings", v, err);
	if (v->n_children > RUN_LIST_MAX)
		return toml_key_error(t, key, err, "has more than %d items", RUN_LIST_MAX);
	for (size_t i = 0; i < v->n_children; i++) {
		const struct toml_value *item = &v->children[i];
		if (item->key_len == 0 || strlen(item->key) != item->key_len ||
		    strchr(item->key, '='))
			return toml_key_error(t, key, err,
					      "'%s': a name must not be empty or have '=' or NUL",
					      item->key);
		if (item->type != TOML_STRING)
			return toml_key_error(t, key, err, "%s: expected a string, not %s",
					      item->key, toml_type_name(item->type));
		if (has_nul(item))
			return toml_key_error(t, key, err, "%s has a NUL character", item->key);
		strv_addf(&list, "%s=%s", item->key, item->string);
	}
	return strings_take(&list, ret) < 0 ? mvm_error_oom(err) : 1;
}

int toml_get_table(const struct toml_table *t, const char *key, struct toml_table *ret,
		   struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, key);
	if (!v)
		return 0;
	if (v->type != TOML_TABLE)
		return wrong_type(t, key, "a table", v, err);
	*ret = (struct toml_table){ .source = t->source, .value = v };
	if (snprintf(ret->path, sizeof(ret->path), "%s%s.", t->path, key) >= (int)sizeof(ret->path))
		ret->path[0] = '\0'; /* only messages use it, and all known keys fit */
	return 1;
}

int toml_need(const struct toml_table *t, const char *key, struct mvm_error *err)
{
	return toml_get(t->value, key) ? 1 : toml_key_error(t, key, err, "is missing");
}

static bool is_known(const struct toml_value *v, const char *const *known, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strlen(known[i]) == v->key_len && memcmp(known[i], v->key, v->key_len) == 0)
			return true;
	}
	return false;
}

int toml_check_keys(const struct toml_table *t, const char *const *known, size_t n,
		    struct mvm_error *err)
{
	for (size_t i = 0; i < t->value->n_children; i++) {
		const struct toml_value *v = &t->value->children[i];
		if (is_known(v, known, n))
			continue;
		const char *nearest = str_nearest(v->key, known, n);
		struct mvm_error e = { 0 };
		toml_key_error(t, v->key, &e, "unknown key%s%s%s",
			       nearest ? "; did you mean '" : "", nearest ? nearest : "",
			       nearest ? "'?" : "");
		if (t->source->strict)
			return mvm_error_set(err, -EINVAL, "%s", e.text);
		strv_add(&t->source->warnings, e.text);
	}
	return t->source->warnings.failed ? mvm_error_oom(err) : 0;
}
