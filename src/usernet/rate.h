/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_RATE_H
#define USERNET_RATE_H

/*
 * A token bucket: so many tokens a second, and at most so many at once.  Pure.
 *
 * A taker may overdraw it, and then waits longer.  So no frame is cut, and a burst is paid for.
 */

#include <stdbool.h>
#include <stdint.h>

struct rate {
	uint64_t per_s; /* 0: no limit */
	int64_t most;	/* at once */
	int64_t level;
	int64_t filled_ns;
};

/* A full one. */
struct rate rate_new(uint64_t per_s, uint64_t most, int64_t now_ns);

/* Add the tokens of the time since the last call. */
void rate_fill(struct rate *r, int64_t now_ns);

/* Take n tokens.  Returns false, and takes none, if the bucket is empty. */
bool rate_take(struct rate *r, uint64_t n);

/* Take n tokens, even from an empty bucket. */
void rate_overdraw(struct rate *r, uint64_t n);

/* How long until it is no longer empty; 0: it is not empty. */
int64_t rate_wait_ns(const struct rate *r);

#endif
