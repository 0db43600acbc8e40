/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_OPERATION_H
#define SERVICE_OPERATION_H

/*
 * Operations: work that may take long.
 *
 * A route with `operation` set gets one for each request.  The client either waits for its end, or
 * asks with "Prefer: respond-async" for an answer at once, 202 with the operation's address. Either
 * way it is listed, and can be waited for, followed and cancelled.  A client that goes away leaves
 * it running.
 *
 * A request with the Idempotency-Key of an earlier one, which runs or is done, starts nothing: it
 * gets the answer of that one.  A failure is not kept, so a retry tries again.
 *
 * Threads: the loop only, except that the work's progress is reported on its worker.  Ended
 * operations are kept for an hour, OPERATIONS_MAX at most; they are gone when mvmd ends, as what
 * was running.
 */

#include <jansson.h>
#include <mvm/error.h>
#include <stdbool.h>
#include <stdint.h>

#include "route.h"

struct server;
struct request;
struct operation;
struct operations;

#define OPERATIONS_MAX 1000u

int operations_new(struct server *server, struct operations **ret, struct mvm_error *err);
void operations_free(struct operations *o); /* after the workers; NULL is fine */

/* How many run or wait for a worker. */
unsigned operations_running(const struct operations *o);

/* Make all running work end soon: its progress is cancelled. */
void operations_cancel_all(struct operations *o);

/* Run the request's route as an operation. */
int operation_start(struct request *rq, struct mvm_error *err);

/* NULL and err filled when no operation has this id. */
struct operation *operation_find(struct operations *o, const char *id, struct mvm_error *err);

/* What a client needs to end it: as much as to begin it. */
enum scope operation_scope(const struct operation *op);

/* Ask a running operation to end.  -EBUSY when it has ended. */
int operation_cancel(struct operation *op, struct mvm_error *err);

/* {"id", "kind", "state", "created_at", …} */
json_t *operation_json(const struct operation *op);

/* "/v1/operations/ID" */
char *operation_address(const struct operation *op);

/* The operations that began before the number `before`, the newest first, max of them.  *ret_more:
 * the number before which the rest began; 0: there is no more. */
json_t *operations_json(const struct operations *o, uint64_t before, uint64_t max,
			uint64_t *ret_more);

/* Reply with the operation's JSON once it has ended, or the time is over. */
int operation_wait(struct operation *op, struct request *rq, int64_t timeout_ms,
		   struct mvm_error *err);

/* Reply with a stream of its progress, one JSON object a line, from its beginning to its end. */
int operation_follow(struct operation *op, struct request *rq, struct mvm_error *err);

#endif
