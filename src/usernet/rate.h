/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_RATE_H
#define USERNET_RATE_H

/*
 * A token bucket: so much a second, and some of it at once.  Pure.
 *
 * A taker may overdraw it and waits the longer afterwards, so that no frame is cut and a burst is
 * paid for.
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

/* Add what has come since the last call. */
void rate_fill(struct rate *r, int64_t now_ns);

/* Take n.  Returns false when it was empty before; nothing is taken then. */
bool rate_take(struct rate *r, uint64_t n);

/* Take n even if it is not there. */
void rate_overdraw(struct rate *r, uint64_t n);

/* How long until it has something again; 0: it has. */
int64_t rate_wait_ns(const struct rate *r);

#endif
