/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_QMP_H
#define NET_QMP_H

/*
 * A client of QEMU's control protocol on a connected stream socket, served by an event loop.
 *
 * Calling sequence: qmp_new() on a socket whose other end QEMU has or will inherit; then qmp_call()
 * as often as wanted, or several qmp_send() and then a qmp_wait() for each, which saves the round
 * trips between them; qmp_free().  Capabilities are negotiated behind the scenes: nothing needs to
 * wait for the greeting, since QEMU reads what was sent before it in order.
 *
 * Once the peer has closed, broken the protocol or gone over a limit, the connection is dead: every
 * call that waits, and every later one, fails at once with the same reason.
 *
 * Source: QEMU docs/interop/qmp-spec.txt.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "base/own.h"

struct qmp;

/* An event has come.  name and data (may be NULL) are borrowed for the call.  Called from the
 * loop; must not wait and must not free the client. */
typedef void (*qmp_event_fn)(void *arg, const char *name, json_t *data);

/*
 * Start a client.
 *
 *   loop  serves the socket; outlives the client
 *   fd    connected stream socket; taken over on success
 *   fn    called for every event; may be NULL
 *
 * Returns 0 or -errno.
 */
int qmp_new(struct loop *loop, int fd, qmp_event_fn fn, void *arg, struct qmp **ret);
void qmp_free(struct qmp *q);
DEFINE_AUTO(qmp, qmp_free)

/* Is the connection dead? */
bool qmp_is_dead(const struct qmp *q);

/*
 * Wait for the greeting and the end of negotiation.
 *
 * Returns 0; -ETIMEDOUT; -EREMOTEIO when the peer went away; -EPROTO when it is no QMP.
 */
int qmp_wait_ready(struct qmp *q, int64_t deadline_ns, struct mvm_error *err);

/*
 * Queue a command and write what the kernel takes.
 *
 *   command   QMP command name; static text
 *   args      taken over in every case; NULL for none
 *   pass_fd   sent along with the command (for getfd); -1 for none; stays the caller's
 *   ret_id    what qmp_wait() wants; must be waited for, or the reply stays queued until qmp_free
 *
 * Returns 0, -EREMOTEIO/-EPROTO when the connection is dead, or -errno.
 */
int qmp_send(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t *ret_id,
	     struct mvm_error *err);

/*
 * Run the loop until the reply to a command has come.
 *
 *   ret  the reply's value, the caller's reference; may be NULL
 *
 * Returns 0.
 * Errors: -EREMOTEIO with the peer's own sentence when it refuses, or when it has gone; -ETIMEDOUT
 * when it stays silent (the reply is then dropped when it comes); -EPROTO.
 */
int qmp_wait(struct qmp *q, int64_t id, int64_t deadline_ns, json_t **ret, struct mvm_error *err);

/* qmp_send and qmp_wait. */
int qmp_call(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t deadline_ns,
	     json_t **ret, struct mvm_error *err);

/* Read and dispatch what has arrived.  The loop does it by itself; for callers that are about to
 * give up on the connection and want its last events. */
void qmp_process(struct qmp *q);

#endif
