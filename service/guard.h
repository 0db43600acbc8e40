/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_GUARD_H
#define SERVICE_GUARD_H

/* What surrounds every request: tokens, limits, the audit log and the numbers. */

#include <mvm/error.h>
#include <mvm/token.h>
#include <sys/types.h>

#include "audit.h"
#include "base/str.h"
#include "limits.h"
#include "metrics.h"

struct request;
struct server;

struct guard {
	struct mvm_tokens *tokens;
	struct limits *limits;
	struct audit audit, unknown; /* the latter: of clients that nobody knows */
	struct metrics metrics;
	struct strv hosts; /* names of this host beside "localhost" */
	gid_t group;	   /* its members may use the Unix socket; (gid_t)-1: none */
};

/* mvm: the loop's, borrowed until guard_free(). */
int guard_new(struct mvm *mvm, const char *data_dir, struct guard **ret, struct mvm_error *err);
void guard_free(struct guard *g); /* NULL is fine */

/* A request gets this answer: count it, and write it into the audit log if it belongs there. */
void guard_answered(struct request *rq);

/* The work of a request that was answered before has ended: write that into the audit log, too. */
void guard_ended(struct request *rq, unsigned status);

#endif
