/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of mvmd sends, read before it is known who asks.  The first byte says what it is:
 * 'p' a path, 'q' a query, 'h' a Host, 'o' an Origin and a Host, 'a' an Authorization. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "query.h"
#include "route.h"
#include "site.h"

#define PARAMS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_path(const char *path)
{
	static const char *const patterns[] = { "/v1",
						"/v1/instances/{name}",
						"/v1/{a}/{b}/{c}/{d}",
						"/v1/{a}/{b}/{c}/{d}/{e}",
						"/v1/instances/{name}/ports/{port}/*",
						"/*" };
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		struct route_match m = { 0 };
		if (route_matches(patterns[i], path, &m)) {
			/* no argument is empty; the rest is a part of the path */
			for (size_t k = 0; k < ROUTE_ARGS_MAX; k++)
				assert(!m.args[k] || m.args[k][0]);
			assert(!m.rest || (m.rest > path && m.rest <= path + strlen(path)));
		}
		route_match_done(&m);
	}
}

static void read_query(char *text)
{
	struct query_param params[PARAMS] = { 0 };
	size_t n = 0;
	(void)query_parse(text, params, PARAMS, &n, NULL);
	assert(n <= PARAMS);
	for (size_t i = 0; i < n; i++) {
		assert(params[i].value >= params[i].name);
		(void)!strlen(params[i].value);
		free(params[i].name);
	}
}

static void read_site(char kind, char *text)
{
	AUTO_DONE(strv) more = { 0 };
	strv_add(&more, "mvm.example");
	if (kind == 'h')
		(void)site_host_is_ours(text, &more);
	char *host = strchr(text, '\n');
	if (kind == 'o' && host) {
		*host++ = '\0';
		if (site_origin_is_host(text, host))
			assert(strlen(text) > strlen(host) &&
			       strcasecmp(text + strlen(text) - strlen(host), host) == 0);
	}
	const char *secret = kind == 'a' ? site_bearer(text) : NULL;
	assert(!secret || (secret > text && secret <= text + strlen(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;
	if (!text)
		return 0;
	if (data[0] == 'p')
		read_path(text);
	else if (data[0] == 'q')
		read_query(text);
	else
		read_site((char)data[0], text);
	return 0;
}
