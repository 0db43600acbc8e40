/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MESSAGE_H
#define NET_MESSAGE_H

/*
 * Common payloads of the agent protocol: calls, replies, ends and credits (net/agent.h).  Client,
 * supervisor and agent share this code, so each payload has one layout and one set of rules.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

/*
 * FRAME_CALL: the call's number, then its arguments.  FRAME_REPLY: the status, 0 or a positive
 * errno, then the message and the results.
 *
 *   ret            empty; the payload, which the caller frees
 *   args, results  fields; may be NULL
 *   message        for people; may be NULL
 *
 * Errors: -ENOMEM, also when args or results have failed; -EFBIG when it does not fit a frame.
 */
int message_put_call(struct strbuf *ret, unsigned call, const struct strbuf *args);
int message_put_reply(struct strbuf *ret, int status, const char *message,
		      const struct strbuf *results);

/* A reply's status: 0, or the positive errno.  Then err has the peer's message and reason, and the
 * negative of the errno as its code.  -EPROTO: the reply has no status. */
int message_get_status(const void *payload, size_t len, struct mvm_error *err);

/* FRAME_END and the result of CALL_AWAIT, from a status of wait(2). */
void message_put_end(struct strbuf *ret, int wait_status);

/*
 * How a process ended, as in a shell: the exit code, or 128 + the signal.
 *
 *   ret_signal  the signal, or 0; may be NULL
 *
 * Returns 0 to 255, or -EPROTO when the payload has neither.
 */
int message_get_end(const void *payload, size_t len, int *ret_signal);

/* FRAME_CREDIT. */
#define CREDIT_SIZE 4u
void message_put_credit(uint32_t n, uint8_t ret[CREDIT_SIZE]);
uint32_t message_get_credit(const void *payload, size_t len); /* 0: it is damaged */

/*
 * Count n consumed bytes.  Returns how many bytes to credit now, and takes them off *consumed; or
 * 0.  A CREDIT costs the guest an interrupt, so it is only due after a quarter of the window; the
 * peer can use the rest of the window meanwhile.
 */
uint32_t message_credit_due(uint32_t *consumed, size_t n);

#endif
