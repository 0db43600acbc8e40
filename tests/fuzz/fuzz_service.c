/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of mvmd sends, read before it is known who asks.  The first byte says what it is:
 * 'p' a path, 'q' a query, 'h' a Host, 'o' an Origin and a Host, 'a' an Authorization, 'r' a Range;
 * or 'j' a body of JSON. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "codec/json.h"
#include "query.h"
#include "range.h"
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

static void read_range(const char *text)
{
	static const uint64_t sizes[] = { 0, 1, 1000, INT64_MAX };
	struct range range;
	range_parse(text, &range);
	for (size_t i = 0; range.given && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t from, length;
		if (range_within(&range, sizes[i], &from, &length))
			assert(length > 0 && from < sizes[i] && length <= sizes[i] - from);
	}
}

/* As handlers take a body apart: every member as every type. */
static void read_body(const char *text, size_t len)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, at;
	const char *key;
	json_t *value;

	if (json_read_object(text, len, "body", &doc, &root, NULL) < 0)
		return;
	json_object_foreach(doc, key, value)
	{
		AUTO_FREE char *string = NULL;
		AUTO_DONE(strv) strings = { 0 };
		AUTO_DONE(strv) pairs = { 0 };
		uint64_t number = 7;
		bool flag;
		(void)json_get_string(&root, key, JSON_NULLABLE, &string, NULL);
		(void)json_get_strings(&root, key, JSON_NULLABLE, &strings, NULL);
		(void)json_get_pairs(&root, key, JSON_NULLABLE, &pairs, NULL);
		(void)json_get_bool(&root, key, JSON_NULLABLE, &flag, NULL);
		(void)json_get_object(&root, key, JSON_NULLABLE, &at, NULL);
		if (json_get_u64(&root, key, 5, 1000, JSON_NULLABLE, &number, NULL) > 0)
			assert(number >= 5 && number <= 1000);
		for (size_t i = 0; i < pairs.n; i++)
			assert(strchr(pairs.v[i], '=') > pairs.v[i]);
	}
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
	else if (data[0] == 'r')
		read_range(text);
	else if (data[0] == 'j')
		read_body(text, strlen(text));
	else
		read_site((char)data[0], text);
	return 0;
}
