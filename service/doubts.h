/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_DOUBTS_H
#define SERVICE_DOUBTS_H

/*
 * Heads that a proxy in front, or a server in a guest behind us, may read otherwise than we do: it
 * would see other requests.  libmicrohttpd takes them.
 *
 * Source: RFC 9110, 5.5 (control characters); RFC 9112, 3.2 (Host), 6.1 (Transfer-Encoding), 11.2.
 */

#include <mvm/error.h>

struct MHD_Connection;

/*
 * Refuse such a head with -EINVAL.
 *
 *   version  "HTTP/1.1"
 *   target   as the client sent it
 */
int doubts_check(struct MHD_Connection *connection, const char *method, const char *version,
		 const char *target, struct mvm_error *err);

#endif
