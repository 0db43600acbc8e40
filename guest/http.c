/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"

static bool make_address(const char *host, size_t len, uint16_t port, struct http_target *ret)
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

int http_parse_url(const char *url, struct http_target *ret, struct mvm_error *err)
{
	static const char scheme[] = "http://";
	struct http_target target = { .request = NULL };
	uint64_t port = 80;

	if (!str_starts(url, scheme))
		return mvm_error_set(err, -EINVAL, "'%s' does not begin with http://", url);
	for (const char *c = url; *c; c++) {
		if (*c <= ' ' || *c == 127)
			return mvm_error_set(err, -EINVAL, "the URL has a blank in it");
	}
	const char *host = url + strlen(scheme);
	size_t authority = strcspn(host, "/?#");
	size_t len = authority;
	const char *colon = memrchr(host, ':', authority);
	const char *bracket = memrchr(host, ']', authority);
	if (colon && (!bracket || colon > bracket)) {
		char digits[8] = "";
		size_t n = authority - (size_t)(colon + 1 - host);
		len = (size_t)(colon - host);
		if (n < sizeof(digits))
			memcpy(digits, colon + 1, n);
		if (parse_u64(digits, 1, UINT16_MAX, &port) < 0)
			return mvm_error_set(err, -EINVAL, "'%s' has a bad port", url);
	}
	if (!make_address(host, len, (uint16_t)port, &target))
		return mvm_error_set(err, -EINVAL, "'%.*s' is neither an address nor localhost",
				     (int)len, host);

	const char *path = host + authority;
	target.request = str_printf("GET %s%.*s HTTP/1.0\r\nHost: %.*s\r\n"
				    "User-Agent: mvm-agent\r\nAccept: */*\r\n"
				    "Connection: close\r\n\r\n",
				    *path == '/' ? "" : "/", (int)strcspn(path, "#"), path,
				    (int)authority, host);
	if (!target.request)
		return mvm_error_oom(err);
	*ret = target;
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK" */
int http_status(const char *text, size_t len)
{
	static const char start[] = "HTTP/1.";
	size_t known = len < strlen(start) ? len : strlen(start);

	if (memcmp(text, start, known) != 0)
		return -EPROTO;
	if (!memchr(text, '\n', len))
		return len < HTTP_STATUS_LINE_MAX ? 0 : -EPROTO;
	if (len < 13 || !is_digit(text[7]) || text[8] != ' ' || !is_digit(text[9]) ||
	    !is_digit(text[10]) || !is_digit(text[11]) || is_digit(text[12]))
		return -EPROTO;
	int status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
	return status >= 100 && status <= 599 ? status : -EPROTO;
}
