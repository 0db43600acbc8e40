/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HTTP_URL_H
#define BASE_HTTP_URL_H

/*
 * The URL of a health check: http://HOST[:PORT][/PATH].  HOST is an IPv4 address, an IPv6 address
 * in brackets or "localhost", because the guest's agent resolves no names.  The host checks a URL
 * with this parser before it stores it; the agent connects to the address that the parser returns.
 */

#include <stddef.h>
#include <sys/socket.h>

struct http_url {
	struct sockaddr_storage address;
	socklen_t address_len;
	const char *authority; /* HOST[:PORT], in the URL */
	size_t authority_len;
	const char *path; /* with the query, without the fragment; may lack the first '/' */
	size_t path_len;
};

/* Split a URL.  Returns NULL, or static text that says what is wrong; then ret is unchanged. */
const char *http_url_parse(const char *url, struct http_url *ret);

#endif
