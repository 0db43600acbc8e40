/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/rate.h"

#define SECOND_NS INT64_C(1000000000)
#define AT_ONCE	  200 /* a wait lasts until the tokens of this part of a second are there */

struct rate rate_new(uint64_t per_s, uint64_t most, int64_t now_ns)
{
	return (struct rate){
		.per_s = per_s, .most = (int64_t)most, .level = (int64_t)most, .filled_ns = now_ns
	};
}

void rate_fill(struct rate *r, int64_t now_ns)
{
	int64_t passed_ns = now_ns - r->filled_ns;
	if (r->per_s == 0 || passed_ns <= 0)
		return;
	/* in floating point, as the product of both has no bound */
	double more = (double)passed_ns * (double)r->per_s / (double)SECOND_NS;
	if (more < 1)
		return; /* the next call counts the rest */
	r->filled_ns = now_ns;
	double level = (double)r->level + more;
	r->level = level < (double)r->most ? (int64_t)level : r->most;
}

bool rate_take(struct rate *r, uint64_t n)
{
	if (r->per_s != 0 && r->level <= 0)
		return false;
	rate_overdraw(r, n);
	return true;
}

void rate_overdraw(struct rate *r, uint64_t n)
{
	if (r->per_s != 0)
		r->level -= (int64_t)n;
}

int64_t rate_wait_ns(const struct rate *r)
{
	if (r->per_s == 0 || r->level > 0)
		return 0;
	double enough = (double)r->per_s / AT_ONCE - (double)r->level;
	return (int64_t)(enough * (double)SECOND_NS / (double)r->per_s) + 1;
}
