/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_WAIT_H
#define SERVICE_V1_WAIT_H

/*
 * GET /v1/instances/{name}/wait: reply once an instance has ended, or is in the wanted state.
 *
 * A client that waits takes no thread.  One stream of events, which is open while somebody waits,
 * says which instance to look at again.  A supervisor that was killed writes no event, so each
 * waiter also looks every few seconds.
 */

#include <mvm/error.h>

struct request;
struct waits;

/* The route's handler. */
int handle_wait(struct request *rq, struct mvm_error *err);

void waits_free(struct waits *w); /* of the server; NULL is fine */

#endif
