/* SPDX-License-Identifier: Apache-2.0 */
#include "site.h"

#include <string.h>
#include <strings.h>

#include "base/parse.h"

#define HOST_MAX 256
/* of names and of addresses */
#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._[:]"

const char *site_bearer(const char *authorization)
{
	static const char scheme[] = "bearer ";
	if (!authorization || strncasecmp(authorization, scheme, strlen(scheme)) != 0)
		return NULL;
	authorization += strlen(scheme);
	return authorization + strspn(authorization, " ");
}

/* Split the port off a Host header.  False: it is no host with or without a port. */
static bool take_host(const char *text, char ret[HOST_MAX])
{
	const size_t len = strlen(text);
	size_t end = len;
	uint64_t port;

	if (text[0] == '[') {
		const char *close = strchr(text, ']');
		end = close ? (size_t)(close - text) + 1 : 0;
	} else if (strchr(text, ':')) {
		end = strcspn(text, ":");
	}
	if (end == 0 || end >= HOST_MAX || strspn(text, NAME_BYTES) < end)
		return false;
	if (text[end] && (text[end] != ':' || parse_u64(text + end + 1, 0, 65535, &port) < 0))
		return false;
	memcpy(ret, text, end);
	ret[end] = '\0';
	return true;
}

/* Is host this name, or one below it?  A dot at the end changes nothing. */
static bool is_below(const char *host, const char *name)
{
	size_t len = strlen(host), n = strlen(name);
	if (len > 0 && host[len - 1] == '.')
		len--;
	if (n == 0 || len < n || strncasecmp(host + len - n, name, n) != 0)
		return false;
	return len == n || host[len - n - 1] == '.';
}

bool site_host_is_ours(const char *text, const struct strv *more)
{
	char host[HOST_MAX];

	if (!take_host(text, host))
		return false;
	if (host[0] == '[') {
		host[strlen(host) - 1] = '\0';
		return parse_address_ok(host + 1);
	}
	if (parse_address_ok(host) || is_below(host, "localhost"))
		return true;
	for (size_t i = 0; i < more->n; i++) {
		if (is_below(host, more->v[i]))
			return true;
	}
	return false;
}

/* NULL: it has another scheme than HTTP's. */
static const char *host_of_origin(const char *origin)
{
	if (strncmp(origin, "http://", 7) == 0)
		return origin + 7;
	return strncmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;
}

bool site_origin_is_host(const char *origin, const char *host)
{
	const char *from = host_of_origin(origin);
	return from && strcasecmp(from, host) == 0;
}

bool site_origin_is_port_of(const char *origin, const char *host)
{
	const char *from = host_of_origin(origin);
	const size_t a = from ? strspn(from, "0123456789") : 0, b = strspn(host, "0123456789");
	return a > 0 && b > 0 && from[a] == '-' && strcasecmp(from + a, host + b) == 0;
}
