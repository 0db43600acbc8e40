/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the TOML on standard input as the tagged JSON that toml-test compares: every value is
 * {"type": ..., "value": "<text>"}.  Invalid TOML ends in status 1 with the error's text.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "codec/toml.h"

static json_t *tagged(const struct toml_value *v);

static json_t *table_json(const struct toml_value *v)
{
	json_t *o = json_object();
	for (size_t i = 0; i < v->n_children; i++) {
		const struct toml_value *child = &v->children[i];
		json_object_setn_new(o, child->key, child->key_len, tagged(child));
	}
	return o;
}

static json_t *array_json(const struct toml_value *v)
{
	json_t *a = json_array();
	for (size_t i = 0; i < v->n_children; i++)
		json_array_append_new(a, tagged(&v->children[i]));
	return a;
}

static json_t *scalar(const char *type, const char *text, size_t len)
{
	json_t *o = json_object();
	json_object_set_new(o, "type", json_string(type));
	json_object_set_new(o, "value", json_stringn(text, len));
	return o;
}

static json_t *number(const struct toml_value *v)
{
	char text[64];
	int n;

	if (v->type == TOML_INTEGER)
		n = snprintf(text, sizeof(text), "%" PRId64, v->integer);
	else if (isnan(v->real))
		n = snprintf(text, sizeof(text), "nan");
	else
		n = snprintf(text, sizeof(text), "%.17g", v->real);
	return scalar(v->type == TOML_INTEGER ? "integer" : "float", text, (size_t)n);
}

static json_t *tagged(const struct toml_value *v)
{
	static const char *const names[] = {
		[TOML_STRING] = "string",	  [TOML_OFFSET_DATE_TIME] = "datetime",
		[TOML_LOCAL_DATE] = "date-local", [TOML_LOCAL_DATE_TIME] = "datetime-local",
		[TOML_LOCAL_TIME] = "time-local",
	};
	switch (v->type) {
	case TOML_TABLE:
		return table_json(v);
	case TOML_ARRAY:
		return array_json(v);
	case TOML_INTEGER:
	case TOML_FLOAT:
		return number(v);
	case TOML_BOOLEAN:
		return v->boolean ? scalar("bool", "true", 4) : scalar("bool", "false", 5);
	default:
		return scalar(names[v->type], v->string, v->string_len);
	}
}

int main(void)
{
	AUTO(toml_value) root = NULL;
	AUTO_FREE char *text = NULL;
	struct mvm_error err = { 0 };
	size_t len;

	int r = file_read_fd(STDIN_FILENO, TOML_MAX_BYTES + 1, &text, &len);
	if (r < 0) {
		fprintf(stderr, "cannot read: %s\n", strerror(-r));
		return 2;
	}
	if (toml_parse(text, len, "input", &root, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	json_t *json = tagged(root);
	r = json_dumpf(json, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
	json_decref(json);
	return r < 0 ? 2 : 0;
}
