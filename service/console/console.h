/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_CONSOLE_CONSOLE_H
#define SERVICE_CONSOLE_CONSOLE_H

/*
 * The web console: static files below /console/, which the build puts into the program, and signing
 * in (session.h).  Its scripts use the API as any other client does.
 */

#include <stddef.h>

#include "route.h"

struct request;

struct console_file {
	const char *name, *type, *etag;
	size_t len;
	const char *data;
};

/* Ends with an empty entry.  Written by `embed`. */
extern const struct console_file console_files[];

extern const struct route console_routes[];

/*
 * The token's secret of the session that a request comes with; NULL: none.  Borrowed, for this
 * request.  It is to be checked as if the request had sent it.
 *
 * The session's key is in the header X-Mvm-Session-Key, or for a WebSocket, where a browser's
 * scripts can set no header, in the name of a protocol: "mvm.key.HEX".
 */
const char *console_token(const struct request *rq);

#endif
