/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_REPLY_H
#define SERVICE_REPLY_H

/* How replies are made and sent; handlers use request.h. */

#include <jansson.h>
#include <stdbool.h>

struct request;

/* Reply with what the request's work has left. */
void reply_answer(struct request *rq);

/* {"type":"error",…}; takes over error (code.h). */
void reply_error(struct request *rq, unsigned status, json_t *error);

/* Give the reply to libmicrohttpd.  False: the connection must be closed. */
bool reply_queue(struct request *rq);

/* {"type":"sync","status":…,"operation":…,"metadata":…,"next":…}; takes over metadata.  NULL: no
 * memory. */
json_t *reply_envelope(const struct request *rq, unsigned status, json_t *metadata);

#endif
