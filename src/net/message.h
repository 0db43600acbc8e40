/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MESSAGE_H
#define NET_MESSAGE_H

/*
 * Payloads that several speakers of the agent protocol write or read: calls, replies, ends and
 * credits (net/agent.h).  Client, supervisor and agent use these, so that each has one layout and
 * one idea of what is valid.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

/*
 * FRAME_CALL: the call's number, then its arguments.  FRAME_REPLY: the status, 0 or a positive
 * errno, then its words and the results.
 *
 *   ret            empty; the payload, the caller's
 *   args, results  fields; may be NULL
 *   message        for people; may be NULL
 *
 * Errors: -ENOMEM, also when args or results have failed; -EFBIG when no frame holds it.
 */
int message_put_call(struct strbuf *ret, unsigned call, const struct strbuf *args);
int message_put_reply(struct strbuf *ret, int status, const char *message,
		      const struct strbuf *results);

/* A reply's status: 0, or the positive errno with the peer's words and reason in err (whose code is
 * its negative).  -EPROTO: it has none. */
int message_get_status(const void *payload, size_t len, struct mvm_error *err);

/* FRAME_END and the result of CALL_AWAIT, from the status that wait(2) gave. */
void message_put_end(struct strbuf *ret, int wait_status);

/*
 * How it ended, as a shell says it: the exit code, or 128 and the signal.
 *
 *   ret_signal  the signal, or 0; may be NULL
 *
 * Returns 0 to 255, or -EPROTO when there is neither.
 */
int message_get_end(const void *payload, size_t len, int *ret_signal);

/* FRAME_CREDIT. */
#define CREDIT_SIZE 4u
void message_put_credit(uint32_t n, uint8_t ret[CREDIT_SIZE]);
uint32_t message_get_credit(const void *payload, size_t len); /* 0: it is damaged */

/*
 * Count n consumed bytes.  Returns how many to credit now, which are then no longer in *consumed,
 * or 0: a CREDIT costs the guest an interrupt, so it waits for a quarter of the window; the peer
 * has the rest meanwhile.
 */
uint32_t message_credit_due(uint32_t *consumed, size_t n);

#endif
