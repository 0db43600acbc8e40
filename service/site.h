/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_SITE_H
#define SERVICE_SITE_H

/* Headers that say who asks and from where: Authorization, Host, Origin. */

#include <stdbool.h>

#include "base/str.h"

/* The secret in "Bearer SECRET", or NULL. */
const char *site_bearer(const char *authorization);

/*
 * Does a Host header name this host: "localhost" and names below it, numeric addresses, and one of
 * `more` or a name below it?  With a port or without.
 */
bool site_host_is_ours(const char *host, const struct strv *more);

/* Is an Origin header, "http://localhost:8080", that of the Host header? */
bool site_origin_is_host(const char *origin, const char *host);

/* Is it that of another port of the Host header's guest: "https://3000-ID.domain" for
 * "8000-ID.domain"? */
bool site_origin_is_port_of(const char *origin, const char *host);

#endif
