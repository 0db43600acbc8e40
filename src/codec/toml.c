/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/toml.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

/* The scanner's place in the text.  It follows strings and comments only as far as needed to tell
 * punctuation from content.  On text that is not TOML it may be wrong after the first error; the
 * parser stops there. */
struct scan {
	const char *at, *end;
	unsigned line;
};

static bool looking_at(const struct scan *s, const char *what, size_t len)
{
	return (size_t)(s->end - s->at) >= len && memcmp(s->at, what, len) == 0;
}

static void skip_comment(struct scan *s)
{
	while (s->at < s->end && *s->at != '\n')
		s->at++;
}

/* Move from the opening quote to just after the closing quote. */
static void skip_string(struct scan *s)
{
	const char quote = *s->at;
	const char three[3] = { quote, quote, quote };
	bool multi_line = looking_at(s, three, 3);

	s->at += multi_line ? 3 : 1;
	for (; s->at < s->end; s->at++) {
		if (*s->at == '\n') {
			if (!multi_line)
				return; /* an error for the parser to report */
			s->line++;
		} else if (*s->at == '\\' && quote == '"' && s->at + 1 < s->end) {
			s->at++;
			if (*s->at == '\n')
				s->line++;
		} else if (*s->at == quote && (!multi_line || looking_at(s, three, 3))) {
			s->at += multi_line ? 3 : 1;
			return;
		}
	}
}

int toml_check_limits(const char *text, size_t len, unsigned *ret_line, const char **ret_limit)
{
	struct scan s = { .at = text, .end = text + len, .line = 1 };
	unsigned dots = 0;
	size_t values = 0;

	while (s.at < s.end) {
		switch (*s.at) {
		case '#':
			skip_comment(&s);
			continue;
		case '"':
		case '\'':
			skip_string(&s);
			continue;
		case '.':
			dots++;
			values++;
			break;
		case '\n':
			s.line++;
			dots = 0;
			break;
		case '=':
		case ',':
		case '[':
		case '{':
			values++;
			dots = 0;
			break;
		default:
			break;
		}
		s.at++;
		if (dots > TOML_MAX_DOTS || values > TOML_MAX_VALUES) {
			*ret_line = s.line;
			*ret_limit = dots > TOML_MAX_DOTS ? "a key has more than 32 parts"
							  : "more than 500000 values";
			return -EFBIG;
		}
	}
	return 0;
}

static void value_done(struct toml_value *v)
{
	for (size_t i = 0; i < v->n_children; i++)
		value_done(&v->children[i]);
	free(v->children);
	free(v->key);
	free(v->string);
}

void toml_value_free(struct toml_value *v)
{
	if (!v)
		return;
	value_done(v);
	free(v);
}

const struct toml_value *toml_get(const struct toml_value *table, const char *key)
{
	size_t len = strlen(key);
	for (size_t i = 0; i < table->n_children; i++) {
		const struct toml_value *v = &table->children[i];
		if (v->key && v->key_len == len && memcmp(v->key, key, len) == 0)
			return v;
	}
	return NULL;
}

const char *toml_type_name(enum toml_type type)
{
	static const char *const names[] = {
		[TOML_TABLE] = "a table",
		[TOML_ARRAY] = "an array",
		[TOML_STRING] = "a string",
		[TOML_INTEGER] = "a whole number",
		[TOML_FLOAT] = "a number with a fraction",
		[TOML_BOOLEAN] = "true or false",
		[TOML_OFFSET_DATE_TIME] = "a date and time",
		[TOML_LOCAL_DATE_TIME] = "a date and time",
		[TOML_LOCAL_DATE] = "a date",
		[TOML_LOCAL_TIME] = "a time",
	};
	return (size_t)type < MVM_ARRAY_SIZE(names) ? names[type] : "something else";
}
