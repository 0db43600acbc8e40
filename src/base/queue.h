/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

/*
 * Bytes on their way: added at the end, taken from the front.
 *
 * Moving what is left to the front costs as much as it is long, so it is not done each time that
 * some are taken, but when at least as much has been taken as is left: each byte is moved once.
 * Zero is a valid empty value.
 */

#include "base/str.h"

struct queue {
	struct strbuf buf; /* .failed: memory ran out */
	size_t taken;	   /* bytes at its front that are gone */
};

static inline size_t queue_len(const struct queue *q)
{
	return q->buf.len - q->taken;
}

/* Valid until something is added or taken. */
static inline const char *queue_front(const struct queue *q)
{
	return q->buf.data + q->taken;
}

static inline void queue_add(struct queue *q, const void *data, size_t len)
{
	strbuf_add(&q->buf, data, len);
}

/* n <= queue_len() */
static inline void queue_take(struct queue *q, size_t n)
{
	q->taken += n;
	if (q->taken < queue_len(q))
		return;
	strbuf_consume(&q->buf, q->taken);
	q->taken = 0;
}

static inline void queue_done(struct queue *q)
{
	strbuf_done(&q->buf);
	*q = (struct queue){ 0 };
}

#endif
