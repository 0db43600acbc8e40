/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and the patterns of routes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "route.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int percent_decode(char *s)
{
	char *to = s;
	for (; *s; s++) {
		char c = *s;
		if (c == '%') {
			int high = hex_digit(s[1]);
			int low = high < 0 ? -1 : hex_digit(s[2]);
			if (low < 0 || (high == 0 && low == 0))
				return -EINVAL;
			c = (char)(high << 4 | low);
			s += 2;
		}
		*to++ = c;
	}
	*to = '\0';
	return 0;
}

void route_match_done(struct route_match *m)
{
	for (size_t i = 0; i < ROUTE_ARGS_MAX; i++)
		free(m->args[i]);
	*m = (struct route_match){ 0 };
}

/* Take one segment of a path as an argument. */
static bool take_arg(struct route_match *m, size_t *n, const char *segment, size_t len)
{
	if (len == 0 || *n == ROUTE_ARGS_MAX)
		return false;
	char *arg = strndup(segment, len);
	if (!arg)
		return false;
	m->args[(*n)++] = arg;
	return percent_decode(arg) == 0 && *arg;
}

bool route_matches(const char *pattern, const char *path, struct route_match *ret)
{
	size_t n = 0;
	while (*pattern == '/' && *path == '/') {
		pattern++;
		path++;
		size_t pattern_len = strcspn(pattern, "/"), len = strcspn(path, "/");
		if (*pattern == '*') {
			ret->rest = path;
			return true;
		}
		if (*pattern == '{') {
			if (!take_arg(ret, &n, path, len))
				return false;
		} else if (len != pattern_len || memcmp(pattern, path, len) != 0) {
			return false;
		}
		pattern += pattern_len;
		path += len;
	}
	return !*pattern && !*path;
}
