/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_HTTP_H
#define GUEST_HTTP_H

/* As much HTTP as a health check needs (RFC 9112): one GET, one status line. */

#include <sys/socket.h>

#include <mvm/error.h>

#define HTTP_STATUS_LINE_MAX 1024u

struct http_target {
	struct sockaddr_storage address;
	socklen_t address_len;
	char *request; /* the whole request, NUL-terminated; the owner frees it */
};

/* Make the request for a URL (base/http_url.h).  Returns 0, -EINVAL with the reason, or -ENOMEM. */
int http_parse_url(const char *url, struct http_target *ret, struct mvm_error *err);

/* The status of a reply that begins with text.  Returns 100 to 599, 0 (the line is not complete
 * yet) or -EPROTO (this is no HTTP). */
int http_status(const char *text, size_t len);

#endif
