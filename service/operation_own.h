/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_OPERATION_OWN_H
#define SERVICE_OPERATION_OWN_H

/* Operations (operation.h) from inside.  operation.c runs them; operation_log.c keeps what their
 * work reports, for those who follow it. */

#include <mvm/digest.h>
#include <mvm/progress.h>

#include "base/str.h"
#include "limits.h"
#include "operation.h"
#include "stream.h"
#include "worker.h"

enum operation_state { OPERATION_RUNNING, OPERATION_DONE, OPERATION_FAILED, OPERATION_CANCELLED };

struct follower {
	struct follower *next;
	struct operation *op;
	struct stream *stream;
	size_t sent; /* of the log */
	bool ended;
};

struct operation {
	struct operation *next; /* older */
	struct operations *all;
	char id[33];
	uint64_t number; /* of mvmd's first one: 1 */
	const char *kind;
	enum scope scope; /* of its route */
	char *target;	  /* the path that was asked for */
	struct request *rq;
	char *key;		       /* Idempotency-Key of its request; NULL: none */
	char client[CLIENT_NAME_SIZE]; /* who gave the key */
	struct mvm_digest asked;       /* with the key: the body's */
	enum operation_state state;
	int64_t created_s, ended_s, ended_ns;
	unsigned status;
	json_t *result; /* metadata, or the error */
	struct strbuf log;
	struct waiter *waiters;
	struct follower *followers;

	/* its worker's */
	struct work work;
	int cancel_fd;
	struct mvm_progress progress;
	int64_t reported_ns;
};

struct operations {
	struct server *server;
	struct operation *first;
	unsigned n;
	uint64_t begun;
};

/* The receiver of its progress: on the worker, pass a report on to the loop.  Without memory it is
 * left out. */
int operation_on_progress(void *arg, const struct mvm_progress_event *event);

/* Send the followers what they have not got, and after the end the operation. */
void operation_serve_followers(struct operation *op);

#endif
