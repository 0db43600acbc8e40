/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_QMP_H
#define NET_QMP_H

/*
 * A client of QEMU's control protocol on a connected stream socket, served by an event loop.
 *
 * Calling sequence: qmp_new() on a socket whose other end QEMU has or will inherit; then qmp_call()
 * as often as wanted, or several qmp_send() and then a qmp_wait() for each, which saves round
 * trips; qmp_free().  The client negotiates capabilities by itself.  Callers need not wait for the
 * greeting: QEMU reads earlier commands afterwards, in order.
 *
 * Once the peer has closed, broken the protocol or exceeded a limit, the connection is dead: every
 * waiting and every later call fails at once with that reason.
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

/* Called from the loop for an event.  name and data (may be NULL) are valid during the call.  Must
 * not wait and must not free the client. */
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
 * Returns 0; -ETIMEDOUT; -EREMOTEIO when the peer is gone; -EPROTO when it does not speak QMP.
 */
int qmp_wait_ready(struct qmp *q, int64_t deadline_ns, struct mvm_error *err);

/*
 * Queue a command and write what the kernel takes.
 *
 *   command   QMP command name; static text
 *   args      taken over in every case; NULL for none
 *   pass_fd   sent along with the command (for getfd); -1 for none; the caller keeps it
 *   ret_id    for qmp_wait(), which must follow: else the reply stays queued until qmp_free()
 *
 * Returns 0, -EREMOTEIO/-EPROTO when the connection is dead, or -errno.
 */
int qmp_send(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t *ret_id,
	     struct mvm_error *err);

/*
 * Run the loop until the reply to a command has come.
 *
 *   ret  the reply's value; json_decref() it; may be NULL
 *
 * Returns 0.
 * Errors: -EREMOTEIO with the peer's own sentence when it refuses, or when it is gone; -ETIMEDOUT
 * when it stays silent (a late reply is dropped); -EPROTO.
 */
int qmp_wait(struct qmp *q, int64_t id, int64_t deadline_ns, json_t **ret, struct mvm_error *err);

/* qmp_send and qmp_wait. */
int qmp_call(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t deadline_ns,
	     json_t **ret, struct mvm_error *err);

/* Read and dispatch all messages that have arrived.  The loop does this by itself; a caller that
 * gives up on the connection uses it to get the last events. */
void qmp_process(struct qmp *q);

#endif
