/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/http_url.h"
#include "base/str.h"

int http_parse_url(const char *url, struct http_target *ret, struct mvm_error *err)
{
	struct http_url u;
	const char *problem = http_url_parse(url, &u);
	if (problem)
		return mvm_error_set(err, -EINVAL, "'%s': %s", url, problem);
	struct http_target target = { .address = u.address, .address_len = u.address_len };
	target.request = str_printf("GET %s%.*s HTTP/1.0\r\nHost: %.*s\r\n"
				    "User-Agent: mvm-agent\r\nAccept: */*\r\n"
				    "Connection: close\r\n\r\n",
				    *u.path == '/' ? "" : "/", (int)u.path_len, u.path,
				    (int)u.authority_len, u.authority);
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
