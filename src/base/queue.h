/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

/*
 * A queue of bytes: added at the end, taken from the front.
 *
 * Taking bytes does not move the rest to the front each time, since that costs as much as the rest
 * is long.  It moves the rest only when at least as many bytes were taken, so on average a byte
 * moves at most once.  Zero is a valid empty value.
 */

#include "base/str.h"

struct queue {
	struct strbuf buf; /* .failed: memory ran out */
	size_t taken;	   /* bytes at the front that were taken */
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
