/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_EXEC_H
#define SERVICE_V1_EXEC_H

/* Commands in instances: what a client asks for, and how their events look. */

#include <mvm/stream.h>

#include "guest.h"
#include "request.h"
#include "websocket.h"

/* A command, from a body or from a query. */
struct exec_spec {
	struct mvm_exec_start_options options; /* its strings are the spec's */
	struct strv command, env;
	char *user, *workdir;
	char *input; /* all of its input; NULL: none is given here */
};
void exec_spec_done(struct exec_spec *s);
DEFINE_AUTO_DONE(exec_spec, exec_spec_done)

/* Read the request's JSON body, or its query.  ret is freed by exec_spec_done(), also after a
 * failure. */
int exec_spec_from_body(struct request *rq, struct exec_spec *ret, struct mvm_error *err);
int exec_spec_from_query(const struct request *rq, struct exec_spec *ret, struct mvm_error *err);

/* "TERM", "SIGTERM", "15" or the number 15 of a member or parameter "signal".  -EINVAL. */
int exec_signal_number(const char *text, int *ret, struct mvm_error *err);

/* The pid in the request's path. */
int exec_pid(const struct request *rq, int64_t *ret, struct mvm_error *err);

/* Does the client ask for a WebSocket? */
bool exec_wants_socket(const struct request *rq);

/* Reply with a WebSocket of a command's handle, which is taken over also when this fails. */
int exec_socket_open(struct request *rq, struct mvm_exec *exec, struct mvm_error *err);

/* Events as JSON: {"event":"started","pid":1}, {"event":"exited","status":0,"signal":0},
 * {"event":"error","error":{…}}. */
json_t *exec_started_json(const struct mvm_exec_event *event);
json_t *exec_exited_json(const struct mvm_exec_event *event);
json_t *exec_error_json(const struct mvm_error *err);

#endif
