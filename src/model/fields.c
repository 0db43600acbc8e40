/* SPDX-License-Identifier: Apache-2.0 */
#include "model/fields.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/model_json.h"
#include "model/read.h"
#include "model/strings.h"

#define FIELDS_MAX 96u

static uint64_t load(const struct field *f, const void *from)
{
	switch (f->size) {
	case sizeof(uint8_t):
		return *(const uint8_t *)from;
	case sizeof(uint16_t):
		return *(const uint16_t *)from;
	case sizeof(uint32_t):
		return *(const uint32_t *)from;
	default:
		return *(const uint64_t *)from;
	}
}

static void store(const struct field *f, uint64_t n, void *to)
{
	switch (f->size) {
	case sizeof(uint8_t):
		*(uint8_t *)to = (uint8_t)n;
		break;
	case sizeof(uint16_t):
		*(uint16_t *)to = (uint16_t)n;
		break;
	case sizeof(uint32_t):
		*(uint32_t *)to = (uint32_t)n;
		break;
	default:
		*(uint64_t *)to = n;
	}
}

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

static int read_chars(const struct json_at *at, const struct field *f, char *ret,
		      struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = json_get_string(at, f->key, JSON_REQUIRED, &text, err);
	if (r < 0)
		return r;
	size_t len = strlen(text);
	if (len >= f->size)
		return json_error(at, f->key, err, "longer than %zu bytes", f->size - 1);
	memcpy(ret, text, len + 1);
	return 1;
}

static int read_number(const struct json_at *at, const struct field *f, enum json_presence presence,
		       void *to, struct mvm_error *err)
{
	uint64_t n = 0;
	int r = json_get_u64(at, f->key, f->min, f->max, presence, &n, err);
	if (r > 0)
		store(f, n, to);
	return r;
}

static int read_bool(const struct json_at *at, const struct field *f, enum json_presence presence,
		     void *to, struct mvm_error *err)
{
	bool yes = false;
	int r = json_get_bool(at, f->key, presence, &yes, err);
	if (r > 0)
		store(f, yes == (f->type == FIELD_IS_BOOL), to);
	return r;
}

static int read_enum(const struct json_at *at, const struct field *f, enum json_presence presence,
		     void *to, struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = json_get_string(at, f->key, presence, &name, err);
	if (r <= 0)
		return r;
	for (size_t i = 0; i < f->max; i++) {
		if (str_eq(name, f->names[i])) {
			store(f, i, to);
			return 1;
		}
	}
	return json_error(at, f->key, err, "'%.80s' is not known", name);
}

static int read_object(const struct json_at *at, const struct field *f, enum json_presence presence,
		       void *to, struct mvm_error *err)
{
	struct json_at object;
	int r = json_get_object(at, f->key, presence, &object, err);
	if (r <= 0)
		return r;
	r = f->type == FIELD_IS_RUN ? run_read(&object, to, err)
				    : fields_read(f->object, &object, to, err);
	return r < 0 ? r : 1;
}

static int read_list(const struct json_at *at, const struct field *f, enum json_presence presence,
		     char *value, struct mvm_error *err)
{
	struct json_at list, item;
	int r = json_get_array(at, f->key, presence, &list, err);
	if (r <= 0)
		return r;
	void *count = value + f->count;
	size_t n = json_array_size(list.value), *used = count;
	if (n > f->max)
		return json_error(at, f->key, err, "more than %" PRIu64, f->max);
	for (size_t i = 0; i < n; i++) {
		json_item(&list, i, &item);
		*used = i + 1;
		r = fields_read(f->object, &item, value + f->offset + i * f->size, err);
		if (r < 0)
			return r;
	}
	return 1;
}

static int read_field(const struct json_at *at, const struct field *f, char *value,
		      struct mvm_error *err)
{
	enum json_presence presence = f->presence == FIELD_REQUIRED ? JSON_REQUIRED : JSON_NULLABLE;
	void *to = value + f->offset;

	switch (f->type) {
	case FIELD_IS_SCHEMA_VERSION:
		return read_schema_version(at, to, err);
	case FIELD_IS_STRING:
	case FIELD_IS_TEXT:
		return json_get_string(at, f->key, presence, to, err);
	case FIELD_IS_CHARS:
		return read_chars(at, f, to, err);
	case FIELD_IS_NAME:
		return read_name(at, f, to, err);
	case FIELD_IS_TIME:
		return json_get_time(at, f->key, presence, to, err);
	case FIELD_IS_NUMBER:
		return read_number(at, f, presence, to, err);
	case FIELD_IS_BOOL:
	case FIELD_IS_NOT:
		return read_bool(at, f, presence, to, err);
	case FIELD_IS_ENUM:
		return read_enum(at, f, presence, to, err);
	case FIELD_IS_STRINGS:
		return json_get_strings(at, f->key, presence, to, err);
	case FIELD_IS_PAIRS:
		return read_pairs(at, f, to, err);
	case FIELD_IS_OBJECT:
	case FIELD_IS_RUN:
		return read_object(at, f, presence, to, err);
	case FIELD_IS_LIST:
		return read_list(at, f, presence, value, err);
	case FIELD_IS_OWN:
		return f->ops->read(at, f->key, value, err);
	}
	return 0;
}

int fields_read(const struct fields *fields, const struct json_at *at, void *ret,
		struct mvm_error *err)
{
	const char *known[FIELDS_MAX];

	assert(fields->n <= FIELDS_MAX);
	for (size_t i = 0; i < fields->n; i++) {
		const struct field *f = &fields->v[i];
		int r = f->presence == FIELD_ONLY_PUT ? 0 : read_field(at, f, ret, err);
		if (r < 0)
			return r;
		if (r > 0 && f->has)
			*((bool *)ret + f->has) = true;
		known[i] = f->key;
	}
	if (fields->other == FIELDS_NO_OTHER)
		return 0;
	void *other = (char *)ret + fields->other;
	return json_unknown(at, known, fields->n, other, err);
}

static void put_object(struct json_out *out, json_t *o, const struct field *f, const void *from)
{
	json_t *object = f->type == FIELD_IS_RUN ? run_json(out, from)
						 : fields_json(f->object, out, from);
	if (!f->has && f->presence == FIELD_SPARSE && json_object_size(object) == 0)
		json_decref(object);
	else
		json_put(out, o, f->key, object);
}

static void put_list(struct json_out *out, json_t *o, const struct field *f, const char *value)
{
	json_t *list = json_array();
	const void *count = value + f->count;
	size_t n = *(const size_t *)count;
	for (size_t i = 0; i < n; i++) {
		const char *item = value + f->offset + i * f->size;
		if (json_array_append_new(list, fields_json(f->object, out, item)) < 0)
			out->failed = true;
	}
	json_put(out, o, f->key, list);
}

/* Does the struct have no value for this member? */
static bool is_absent(const struct field *f, const char *value)
{
	const void *from = value + f->offset;

	if (f->has)
		return !*(const bool *)(value + f->has);
	return (f->type == FIELD_IS_STRING || f->type == FIELD_IS_TEXT) && !*(char *const *)from;
}

/* Is the value empty?  A sparse member does not write it then.  put_object() handles objects. */
static bool is_empty(const struct field *f, const char *value)
{
	const void *from = value + f->offset;
	const void *count = value + f->count;

	switch (f->has ? FIELD_IS_OBJECT : f->type) {
	case FIELD_IS_NUMBER:
	case FIELD_IS_BOOL:
	case FIELD_IS_ENUM:
		return load(f, from) == 0;
	case FIELD_IS_STRINGS:
		return ((const struct strv *)from)->n == 0;
	case FIELD_IS_PAIRS:
		return ((const struct mvm_strings *)from)->n == 0;
	case FIELD_IS_LIST:
		return *(const size_t *)count == 0;
	default:
		return false;
	}
}

static void put_field(struct json_out *out, json_t *o, const struct field *f, const char *value)
{
	const void *from = value + f->offset;
	const struct mvm_strings *pairs = from;
	const struct strv *strings = from;

	switch (f->type) {
	case FIELD_IS_SCHEMA_VERSION:
		json_put_u64(out, o, f->key, MVM_SCHEMA_VERSION);
		break;
	case FIELD_IS_STRING:
	case FIELD_IS_NAME:
		json_put_string(out, o, f->key, *(char *const *)from);
		break;
	case FIELD_IS_TEXT:
		json_put_text(out, o, f->key, *(char *const *)from);
		break;
	case FIELD_IS_CHARS:
		json_put_string(out, o, f->key, from);
		break;
	case FIELD_IS_TIME:
		json_put_time(out, o, f->key, *(const int64_t *)from);
		break;
	case FIELD_IS_NUMBER:
		json_put_u64(out, o, f->key, load(f, from));
		break;
	case FIELD_IS_BOOL:
	case FIELD_IS_NOT:
		json_put(out, o, f->key,
			 json_boolean((load(f, from) != 0) == (f->type == FIELD_IS_BOOL)));
		break;
	case FIELD_IS_ENUM:
		json_put_string(out, o, f->key, f->names[load(f, from)]);
		break;
	case FIELD_IS_STRINGS:
		json_put_strings(out, o, f->key, strings->v, strings->n);
		break;
	case FIELD_IS_PAIRS:
		json_put_pairs(out, o, f->key, pairs->v, pairs->n);
		break;
	case FIELD_IS_OBJECT:
	case FIELD_IS_RUN:
		put_object(out, o, f, from);
		break;
	case FIELD_IS_LIST:
		put_list(out, o, f, value);
		break;
	case FIELD_IS_OWN:
		f->ops->put(out, o, f->key, value);
		break;
	}
}

json_t *fields_json(const struct fields *fields, struct json_out *out, const void *value)
{
	json_t *o = json_new(out);
	for (size_t i = 0; i < fields->n; i++) {
		const struct field *f = &fields->v[i];
		bool absent = is_absent(f, value);
		if (absent && f->presence == FIELD_KEPT)
			json_put(out, o, f->key, json_null());
		else if (f->presence == FIELD_SPARSE && (absent || is_empty(f, value)))
			continue;
		else if (!absent || f->presence == FIELD_REQUIRED)
			put_field(out, o, f, value);
	}
	if (fields->other != FIELDS_NO_OTHER) {
		const void *other = (const char *)value + fields->other;
		json_put_others(out, o, *(json_t *const *)other);
	}
	return o;
}

static void field_done(const struct field *f, char *value)
{
	void *at = value + f->offset;
	void *count = value + f->count;

	switch (f->type) {
	case FIELD_IS_STRING:
	case FIELD_IS_TEXT:
	case FIELD_IS_NAME:
		free(*(char **)at);
		break;
	case FIELD_IS_STRINGS:
		strv_done(at);
		break;
	case FIELD_IS_PAIRS:
		mvm_strings_done(at);
		break;
	case FIELD_IS_OBJECT:
		fields_done(f->object, at);
		break;
	case FIELD_IS_LIST:
		for (size_t i = 0; i < *(size_t *)count; i++)
			fields_done(f->object, value + f->offset + i * f->size);
		break;
	case FIELD_IS_RUN:
		mvm_run_done(at);
		break;
	default:
		break;
	}
}

void fields_done(const struct fields *fields, void *value)
{
	for (size_t i = 0; i < fields->n; i++)
		field_done(&fields->v[i], value);
	if (fields->other != FIELDS_NO_OTHER) {
		void *other = (char *)value + fields->other;
		json_decref(*(json_t **)other);
	}
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
