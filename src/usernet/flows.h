/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FLOWS_H
#define USERNET_FLOWS_H

/*
 * The flows that were allowed: who in the guest speaks with whom outside.
 *
 * A fixed table.  A new flow takes the place of the one that has been silent for longest, which
 * loses no more than that it is judged again.  A flow other than TCP's is forgotten after
 * FLOWS_IDLE_NS of silence.
 */

#include <stdbool.h>
#include <stdint.h>

#include "usernet/frame.h"

#define FLOWS_MAX     1024u
#define FLOWS_BUCKETS 1024u
#define FLOWS_IDLE_NS (300ll * 1000000000)

struct flow_key {
	uint8_t kind; /* enum frame_kind */
	uint16_t guest_port, port;
	struct policy_address guest, peer;
};

struct flow {
	struct flow_key key;
	int64_t seen_ns;
	uint16_t next;		 /* in its bucket; 0: none, else index + 1 */
	uint16_t older, younger; /* by seen_ns; as next */
};

struct flows {
	uint64_t salt; /* so that a guest cannot aim at one bucket */
	uint16_t n, oldest, youngest;
	uint16_t buckets[FLOWS_BUCKETS];
	struct flow all[FLOWS_MAX];
};

/* Is there this flow?  It counts as seen now. */
bool flows_has(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Add a flow that is not there. */
void flows_add(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Forget all. */
void flows_clear(struct flows *f);

#endif
