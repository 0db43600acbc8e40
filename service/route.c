/* SPDX-License-Identifier: Apache-2.0 */
#include "route.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "console/console.h"
#include "v1/routes.h"

extern const struct route scrape_routes[]; /* scrape.c */

const struct route *const route_tables[] = {
	v1_root_routes,	       v1_instances_routes, v1_operations_routes,
	v1_templates_routes,   v1_host_routes,	    v1_exec_routes,
	v1_exec_input_routes,  v1_files_routes,	    v1_files_data_routes,
	v1_files_watch_routes, v1_logs_routes,	    v1_ports_routes,
	console_routes,	       scrape_routes,	    NULL,
};

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

static bool matches(const char *pattern, const char *path, struct route_match *ret)
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

static bool method_fits(const char *has, const char *wanted)
{
	return strcmp(has, wanted) == 0 || (strcmp(wanted, "HEAD") == 0 && strcmp(has, "GET") == 0);
}

const struct route *route_find(const char *method, const char *path, struct route_match *ret,
			       struct strbuf *ret_allowed)
{
	for (const struct route *const *table = route_tables; *table; table++) {
		for (const struct route *r = *table; r->method; r++) {
			struct route_match m = { 0 };
			if (!matches(r->pattern, path, &m)) {
				route_match_done(&m);
				continue;
			}
			if (method_fits(r->method, method)) {
				*ret = m;
				return r;
			}
			route_match_done(&m);
			strbuf_addf(ret_allowed, "%s%s", ret_allowed->len ? ", " : "", r->method);
		}
	}
	return NULL;
}
