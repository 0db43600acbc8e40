/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "base/visible.h"

/* How much at the beginning of s is ASCII that stands for itself. */
static size_t plain_len(const char *s)
{
	size_t n = 0;
	while (s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

/* s[length] is NUL, and others may be before it. */
static void add_string(struct strbuf *b, const char *s, size_t length)
{
	const char *end = s + length;

	strbuf_adds(b, "\"");
	while (s < end) {
		size_t plain = plain_len(s);
		if (plain) {
			strbuf_add(b, s, plain);
			s += plain;
			continue;
		}
		unsigned char c = (unsigned char)*s;
		size_t len = str_utf8_len(s);
		if (c == 0) {
			strbuf_adds(b, "\\u0000");
			len = 1;
		} else if (len == 0) {
			strbuf_adds(b, "\xef\xbf\xbd");
			len = 1;
		} else if (c == '"' || c == '\\') {
			strbuf_addf(b, "\\%c", c);
		} else if (c == '\n') {
			strbuf_adds(b, "\\n");
		} else if (c == '\t') {
			strbuf_adds(b, "\\t");
		} else if (visible_bad_len(s)) {
			strbuf_addf(b, "\\u%04x", visible_code(s, len));
		} else {
			strbuf_add(b, s, len);
		}
		s += len;
	}
	strbuf_adds(b, "\"");
}

static void new_line(struct jsonw *j)
{
	static const char line[] = "\n                                "; /* JSON_DEPTH_MAX * 2 */
	_Static_assert(sizeof(line) == 1 + JSON_DEPTH_MAX * 2 + 1, "room for every depth");
	if (!j->compact)
		strbuf_add(&j->text, line, 1 + (size_t)j->depth * 2);
}

static void begin_value(struct jsonw *j, const char *key)
{
	if (j->filled[j->depth])
		strbuf_adds(&j->text, ",");
	if (j->depth > 0)
		new_line(j);
	j->filled[j->depth] = true;
	if (key) {
		add_string(&j->text, key, strlen(key));
		strbuf_adds(&j->text, j->compact ? ":" : ": ");
	}
}

void jsonw_open(struct jsonw *j, const char *key, char bracket)
{
	assert(j->depth < JSON_DEPTH_MAX && (bracket == '{' || bracket == '['));
	begin_value(j, key);
	strbuf_add(&j->text, &bracket, 1);
	j->closers[j->depth++] = bracket == '{' ? '}' : ']';
	j->filled[j->depth] = false;
}

void jsonw_close(struct jsonw *j)
{
	assert(j->depth > 0);
	bool filled = j->filled[j->depth];
	j->depth--;
	if (filled)
		new_line(j);
	strbuf_add(&j->text, &j->closers[j->depth], 1);
}

void jsonw_string(struct jsonw *j, const char *key, const char *value)
{
	begin_value(j, key);
	if (value)
		add_string(&j->text, value, strlen(value));
	else
		strbuf_adds(&j->text, "null");
}

void jsonw_text(struct jsonw *j, const char *key, const struct strbuf *value)
{
	begin_value(j, key);
	add_string(&j->text, value->data ? value->data : "", value->len);
}

void jsonw_u64(struct jsonw *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	strbuf_addf(&j->text, "%" PRIu64, value);
}

void jsonw_raw(struct jsonw *j, const char *key, const char *json)
{
	const char *good = json; /* from here to json, to be added as it is */

	begin_value(j, key);
	while (*json) {
		size_t bad = *json == '\n' ? 0 : visible_bad_len(json);
		if (bad == 0) {
			json += *json == '\n' ? 1 : str_utf8_len(json);
			continue;
		}
		strbuf_add(&j->text, good, (size_t)(json - good));
		strbuf_addf(&j->text, "\\u%04x", visible_code(json, bad));
		json += bad;
		good = json;
	}
	strbuf_adds(&j->text, good);
}

void jsonw_bool(struct jsonw *j, const char *key, bool value)
{
	begin_value(j, key);
	strbuf_adds(&j->text, value ? "true" : "false");
}

int jsonw_flush(struct jsonw *j, FILE *out)
{
	if (j->text.failed)
		return -ENOMEM;
	size_t len = j->text.len;
	if (len && fwrite(j->text.data, 1, len, out) != len)
		return errno ? -errno : -EIO;
	strbuf_consume(&j->text, len);
	return 0;
}

int json_show(const char *json, FILE *out)
{
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_raw(&j, NULL, json);
	return jsonw_flush(&j, out);
}

int jsonw_print(struct jsonw *j, FILE *out)
{
	assert(j->depth == 0);
	strbuf_adds(&j->text, "\n");
	return jsonw_flush(j, out);
}
