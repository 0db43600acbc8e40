/* SPDX-License-Identifier: Apache-2.0 */
#include "base/http_url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/parse.h"
#include "base/str.h"

static bool make_address(const char *host, size_t len, uint16_t port, struct http_url *ret)
{
	char text[INET6_ADDRSTRLEN];
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';

	if (brackets) {
		host++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	if (brackets && inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
		memcpy(&ret->address, &v6, sizeof(v6));
		ret->address_len = sizeof(v6);
		return true;
	}
	const char *address = strcmp(text, "localhost") == 0 ? "127.0.0.1" : text;
	if (brackets || inet_pton(AF_INET, address, &v4.sin_addr) != 1)
		return false;
	memcpy(&ret->address, &v4, sizeof(v4));
	ret->address_len = sizeof(v4);
	return true;
}

const char *http_url_parse(const char *url, struct http_url *ret)
{
	static const char scheme[] = "http://";
	struct http_url parsed = { .address_len = 0 };
	uint64_t port = 80;

	if (!str_starts(url, scheme))
		return "expected a URL that starts with http://";
	for (const char *c = url; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return "expected a URL of printable ASCII characters without blanks";
	}
	const char *host = url + strlen(scheme);
	parsed.authority = host;
	parsed.authority_len = strcspn(host, "/?#");
	parsed.path = host + parsed.authority_len;
	parsed.path_len = strcspn(parsed.path, "#");

	size_t len = parsed.authority_len;
	const char *colon = memrchr(host, ':', len);
	const char *bracket = memrchr(host, ']', len);
	if (colon && (!bracket || colon > bracket)) {
		char digits[8] = "";
		size_t n = parsed.authority_len - (size_t)(colon + 1 - host);
		len = (size_t)(colon - host);
		if (n < sizeof(digits))
			memcpy(digits, colon + 1, n);
		if (parse_u64(digits, 1, UINT16_MAX, &port) < 0)
			return "expected a port from 1 to 65535 after the host";
	}
	if (!make_address(host, len, (uint16_t)port, &parsed))
		return "expected an IPv4 address, an IPv6 address in brackets or localhost as "
		       "the host";
	*ret = parsed;
	return NULL;
}
