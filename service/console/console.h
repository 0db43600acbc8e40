/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_CONSOLE_CONSOLE_H
#define SERVICE_CONSOLE_CONSOLE_H

/*
 * The web console: static files below /console/, which the build puts into the program, and signing
 * in (session.h).  Its scripts use the API as any other client does.
 */

#include <stddef.h>

#include "route.h"

struct console_file {
	const char *name, *type, *etag;
	size_t len;
	const char *data;
};

/* Ends with an empty entry.  Written by `embed`. */
extern const struct console_file console_files[];

extern const struct route console_routes[];

#endif
