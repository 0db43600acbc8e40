/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/read.h"
#include "model/strings.h"

#define FIELDS_MAX 16u

static int read_name(const struct json_at *at, const struct field *f, char **ret,
		     struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = json_get_string(at, f->key, JSON_REQUIRED, &name, err);
	if (r < 0)
		return r;
	if (!name_valid(f->name, name))
		return json_error(at, f->key, err, "'%.80s': %s", name, name_rule(f->name));
	*ret = TAKE_PTR(name);
	return 1;
}

static int read_pairs(const struct json_at *at, const struct field *f, struct mvm_strings *ret,
		      struct mvm_error *err)
{
	AUTO_DONE(strv) pairs = { 0 };
	int r = json_get_pairs(at, f->key, JSON_NULLABLE, &pairs, err);
	return r > 0 && strings_take(&pairs, ret) < 0 ? mvm_error_oom(err) : r;
}

static int read_object(const struct json_at *at, const struct field *f, enum json_presence presence,
		       char *value, struct mvm_error *err)
{
	struct json_at object;
	int r = json_get_object(at, f->key, presence, &object, err);
	if (r <= 0)
		return r;
	if (f->type == FIELD_IS_RUN)
		return run_read(&object, (struct mvm_run *)(void *)(value + f->offset), err);
	if (f->has)
		*(bool *)(value + f->has) = true;
	return fields_read(f->object, &object, value + f->offset, err);
}

static int read_field(const struct json_at *at, const struct field *f, char *value,
		      struct mvm_error *err)
{
	enum json_presence presence = f->presence == FIELD_REQUIRED ? JSON_REQUIRED : JSON_NULLABLE;
	void *to = value + f->offset;
	uint64_t n = 0;
	int r = 0;

	switch (f->type) {
	case FIELD_IS_SCHEMA_VERSION:
		return read_schema_version(at, to, err);
	case FIELD_IS_STRING:
		return json_get_string(at, f->key, presence, to, err);
	case FIELD_IS_NAME:
		return read_name(at, f, to, err);
	case FIELD_IS_TIME:
		return json_get_time(at, f->key, presence, to, err);
	case FIELD_IS_U8:
		r = json_get_u64(at, f->key, 0, UINT8_MAX, presence, &n, err);
		*(uint8_t *)to = (uint8_t)n;
		return r;
	case FIELD_IS_U32:
		r = json_get_u64(at, f->key, 0, UINT32_MAX, presence, &n, err);
		*(uint32_t *)to = (uint32_t)n;
		return r;
	case FIELD_IS_SIZE:
		return json_get_u64(at, f->key, 0, JSON_U64_MAX, presence, to, err);
	case FIELD_IS_PAIRS:
		return read_pairs(at, f, to, err);
	case FIELD_IS_OBJECT:
	case FIELD_IS_RUN:
		return read_object(at, f, presence, value, err);
	}
	return r;
}

int fields_read(const struct fields *fields, const struct json_at *at, void *ret,
		struct mvm_error *err)
{
	const char *known[FIELDS_MAX];

	assert(fields->n <= FIELDS_MAX);
	for (size_t i = 0; i < fields->n; i++) {
		int r = read_field(at, &fields->v[i], ret, err);
		if (r < 0)
			return r;
		known[i] = fields->v[i].key;
	}
	void *other = (char *)ret + fields->other;
	return json_unknown(at, known, fields->n, other, err);
}

static void put_number(struct json_out *out, json_t *o, const struct field *f, uint64_t n)
{
	if (n || f->presence != FIELD_SPARSE)
		json_put_u64(out, o, f->key, n);
}

static void put_string(struct json_out *out, json_t *o, const struct field *f, const char *s)
{
	if (s || f->presence != FIELD_SPARSE)
		json_put_string(out, o, f->key, s);
}

static void put_object(struct json_out *out, json_t *o, const struct field *f, const char *value)
{
	const void *from = value + f->offset;

	if (f->has && !*(const bool *)(value + f->has)) {
		if (f->presence != FIELD_SPARSE)
			json_put(out, o, f->key, json_null());
		return;
	}
	json_t *object = f->type == FIELD_IS_RUN ? run_json(out, from)
						 : fields_json(f->object, out, from);
	if (!f->has && f->presence == FIELD_SPARSE && json_object_size(object) == 0)
		json_decref(object);
	else
		json_put(out, o, f->key, object);
}

static void put_field(struct json_out *out, json_t *o, const struct field *f, const char *value)
{
	const void *from = value + f->offset;
	const struct mvm_strings *pairs;

	switch (f->type) {
	case FIELD_IS_STRING:
	case FIELD_IS_NAME:
		put_string(out, o, f, *(char *const *)from);
		break;
	case FIELD_IS_TIME:
		json_put_time(out, o, f->key, *(const int64_t *)from);
		break;
	case FIELD_IS_U8:
		put_number(out, o, f, *(const uint8_t *)from);
		break;
	case FIELD_IS_SCHEMA_VERSION:
	case FIELD_IS_U32:
		put_number(out, o, f, *(const uint32_t *)from);
		break;
	case FIELD_IS_SIZE:
		put_number(out, o, f, *(const uint64_t *)from);
		break;
	case FIELD_IS_PAIRS:
		pairs = from;
		if (pairs->n)
			json_put_pairs(out, o, f->key, pairs->v, pairs->n);
		break;
	case FIELD_IS_OBJECT:
	case FIELD_IS_RUN:
		put_object(out, o, f, value);
		break;
	}
}

json_t *fields_json(const struct fields *fields, struct json_out *out, const void *value)
{
	json_t *o = json_new(out);
	for (size_t i = 0; i < fields->n; i++)
		put_field(out, o, &fields->v[i], value);
	const void *other = (const char *)value + fields->other;
	json_put_others(out, o, *(json_t *const *)other);
	return o;
}

void fields_done(const struct fields *fields, void *value)
{
	for (size_t i = 0; i < fields->n; i++) {
		const struct field *f = &fields->v[i];
		void *at = (char *)value + f->offset;
		if (f->type == FIELD_IS_STRING || f->type == FIELD_IS_NAME)
			free(*(char **)at);
		else if (f->type == FIELD_IS_PAIRS)
			mvm_strings_done(at);
		else if (f->type == FIELD_IS_OBJECT)
			fields_done(f->object, at);
		else if (f->type == FIELD_IS_RUN)
			mvm_run_done(at);
	}
	void *other = (char *)value + fields->other;
	json_decref(*(json_t **)other);
	memset(value, 0, fields->size);
}

int fields_parse(const struct fields *fields, const char *text, size_t len, const char *name,
		 void *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read(text, len, name, &doc, err);
	if (r < 0)
		return r;
	AUTO_FREE void *value = calloc(1, fields->size);
	if (!value)
		return mvm_error_oom(err);
	json_root(&root, name, doc);
	r = fields_read(fields, &root, value, err);
	if (r < 0) {
		fields_done(fields, value);
		return r;
	}
	memcpy(ret, value, fields->size);
	return 0;
}

int fields_format(const struct fields *fields, const void *value, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	return json_out_text(&out, fields_json(fields, &out, value), JSON_TEXT_PRETTY, ret, err);
}
