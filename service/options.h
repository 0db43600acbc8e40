/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_OPTIONS_H
#define SERVICE_OPTIONS_H

/* mvmd's command line. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

struct options {
	const char *data_dir, *socket;
	gid_t group; /* may use the Unix socket; (gid_t)-1: none */
	const char *tls_cert, *tls_key;
	bool only_tls_1_3, no_pools;
	int64_t client_ms, grace_ms;
	uint32_t pool_memory_mib;
	struct strv tcp, hosts;
};
#define OPTIONS_INIT                                                                               \
	{                                                                                          \
		.group = (gid_t)-1, .client_ms = 30000, .grace_ms = 10000                          \
	}

/* Parse; options_done() *ret.  Returns an exit status, or -1 to go on. */
int options_parse(int argc, char **argv, struct options *ret);
void options_done(struct options *o);

#endif
