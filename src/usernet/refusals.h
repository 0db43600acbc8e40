/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_REFUSALS_H
#define USERNET_REFUSALS_H

/*
 * Counts packets and names that were refused, by destination, until a report of them is sent.  The
 * report also says whether forwarded ports are in use.
 *
 * The table has a fixed size.  When it is full, further destinations are counted together.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "usernet/gate.h"

#define REFUSALS_MAX	  8u
#define REFUSALS_PAUSE_NS (5ll * 1000000000) /* least time between two reports */

struct refusals {
	uint64_t total; /* of all times */
	unsigned n;
	struct refusal {
		char target[POLICY_DOMAIN_SIZE]; /* an address, or the name that was asked for */
		uint16_t port;			 /* 0: none */
		const char *protocol, *reason;	 /* "tcp", "udp", "icmp", "dns"; "denied", ... */
		uint64_t count;
	} all[REFUSALS_MAX];
	bool is_visited; /* by a forwarded port, since the last report */
	bool is_due;	 /* something new */
	int64_t next_ns; /* no report before */
};

void refusals_note(struct refusals *r, const struct gate_refusal *refusal);
void refusals_note_name(struct refusals *r, const char *name, enum policy_verdict why);

/* Somebody uses a forwarded port. */
void refusals_note_visit(struct refusals *r);

/* How long until a report is due, in ms; -1: no report is due. */
int refusals_wait_ms(const struct refusals *r, int64_t now_ns);

/* Make the report, and empty the table; NULL: no report is due, or out of memory. */
json_t *refusals_take(struct refusals *r, int64_t now_ns);

#endif
