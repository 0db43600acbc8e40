/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_QUESTIONS_H
#define USERNET_QUESTIONS_H

/*
 * Handles the guest's questions about names and their answers, by UDP and TCP, under the gate's
 * rules.
 *
 * Each question is answered, with an error if need be, so that no program waits.
 */

#include "usernet/dns_tcp.h"
#include "usernet/gate.h"
#include "usernet/link.h"
#include "usernet/refusals.h"
#include "usernet/resolver.h"

struct questions {
	struct resolver resolver;
	struct dns_tcp tcp;
	struct gate *gate;	   /* borrowed, like the others */
	struct refusals *refusals; /* of names */
	struct link *link;	   /* to the guest */
};

void questions_init(struct questions *q, struct gate *gate, struct refusals *refusals,
		    struct link *link);
void questions_done(struct questions *q);

/* Take a frame to the resolver's address and port. */
void questions_take(struct questions *q, const uint8_t *frame, size_t len, const struct frame *f);

/* Take the replies that have come, and act on silences. */
void questions_serve(struct questions *q, int64_t now_ns);

#endif
