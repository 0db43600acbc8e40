/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_LINES_H
#define SERVICE_V1_LINES_H

/* A reply of JSON values one after another: as lines, or as server-sent events for a client that
 * accepts "text/event-stream". */

#include <jansson.h>
#include <stdbool.h>

#include "stream.h"

struct lines {
	struct stream *stream;
	bool sse;
};

/* Reply.  The rest as stream_open(). */
int lines_open(struct request *rq, const struct stream_ops *ops, void *arg, struct lines *ret,
	       struct mvm_error *err);

/* Add a value, which is taken over; or one that is text already. */
void lines_put(struct lines *l, json_t *value);
void lines_put_text(struct lines *l, const char *json);

/* The last one: why it ends early. */
void lines_fail(struct lines *l, const struct mvm_error *err);

#endif
