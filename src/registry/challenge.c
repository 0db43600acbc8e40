/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/challenge.h"

#include <string.h>
#include <strings.h>

struct scan {
	const char *at, *end;
};

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip(struct scan *s, const char *chars)
{
	while (s->at < s->end && *s->at && strchr(chars, *s->at))
		s->at++;
}

static size_t token(struct scan *s, const char **ret)
{
	*ret = s->at;
	while (s->at < s->end && is_token_char(*s->at))
		s->at++;
	return (size_t)(s->at - *ret);
}

static bool is_word(const char *word, size_t len, const char *name)
{
	return len == strlen(name) && strncasecmp(word, name, len) == 0;
}

/* Read a value, quoted or not; one that is too long or has a control character reads as "".  False:
 * no value is here. */
static bool value(struct scan *s, char ret[CHALLENGE_VALUE_MAX])
{
	bool quoted = s->at < s->end && *s->at == '"', bad = false;
	size_t n = 0;

	s->at += quoted;
	const char *start = s->at;
	for (; s->at < s->end; s->at++) {
		char c = *s->at;
		if (quoted ? c == '"' : c == ',' || c == ' ' || c == '\t')
			break;
		if (quoted && c == '\\' && s->at + 1 < s->end)
			c = *++s->at;
		bad |= (unsigned char)c < ' ' || c == 0x7f || n + 1 >= CHALLENGE_VALUE_MAX;
		if (!bad)
			ret[n++] = c;
	}
	ret[bad ? 0 : n] = '\0';
	if (quoted && s->at == s->end)
		return false;
	s->at += quoted;
	return quoted || s->at > start;
}

void challenge_add(struct challenge *c, const char *header, size_t len)
{
	struct scan s = { header, header + len };
	char text[CHALLENGE_VALUE_MAX];
	bool wanted = false; /* the parameters that follow belong to the Bearer that counts */
	const char *word;

	for (;;) {
		skip(&s, ", \t");
		size_t n = token(&s, &word);
		if (n == 0)
			return;
		skip(&s, " \t");
		if (s.at < s.end && *s.at == '=') { /* a parameter */
			s.at++;
			skip(&s, " \t");
			if (!value(&s, text))
				return;
			char *to = NULL;
			if (is_word(word, n, "realm"))
				to = c->realm;
			else if (is_word(word, n, "service"))
				to = c->service;
			if (wanted && to && !to[0])
				memcpy(to, text, sizeof(text));
			continue;
		}
		wanted = is_word(word, n, "bearer") && !c->bearer;
		c->bearer |= wanted;
		c->basic |= is_word(word, n, "basic");
	}
}
