/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_FLOWS_H
#define USERNET_FLOWS_H

/*
 * The flows that were allowed: who in the guest speaks with whom outside.
 *
 * A fixed table.  A new flow takes the place of the one that has been silent for longest.  A flow
 * other than TCP's is forgotten after FLOWS_IDLE_NS of silence.
 *
 * A pointer to a flow holds until the next call that may forget one.  Who keeps a flow for longer
 * keeps its key.
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
	bool is_used; /* else it is a free place of the table */
	/* TCP's */
	int fd;			 /* the host's socket; -1: not known */
	bool is_open;		 /* the peer has answered */
	uint32_t guest_next;	 /* the sequence number that the guest waits for */
	uint32_t peer_next;	 /* and the other side */
	bool has_next;		 /* the other side has told its number */
	uint16_t n_early;	 /* segments that libslirp may keep until others come, */
	uint32_t early_end;	 /* where the last of them ends */
	uint8_t mac[12];	 /* of the guest's frames: to whom, from whom */
	uint16_t next;		 /* in its bucket; 0: none, else index + 1 */
	uint16_t older, younger; /* by seen_ns; as next */
};

struct flows {
	uint64_t salt; /* so that a guest cannot aim at one bucket */
	uint16_t max;  /* how many there may be; 0: FLOWS_MAX */
	uint16_t n, oldest, youngest;
	uint16_t free; /* places that were used; linked by next */
	uint16_t buckets[FLOWS_BUCKETS];
	struct flow all[FLOWS_MAX];
};

/* Find a flow, which counts as seen now.  NULL: there is none. */
struct flow *flows_get(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Find a flow as it is, however old. */
struct flow *flows_find(struct flows *f, const struct flow_key *key);

/* Is there this flow?  It counts as seen now. */
bool flows_has(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* The flow whose place the next new one takes; NULL: there is a free place. */
struct flow *flows_next_to_go(struct flows *f);

/* Add a flow that is not there. */
struct flow *flows_add(struct flows *f, const struct flow_key *key, int64_t now_ns);

/* Forget one, unless that has happened. */
void flows_remove(struct flows *f, struct flow *flow);

/* The one that has been silent for longest, and the next one after it; NULL at the end. */
struct flow *flows_oldest(struct flows *f);
struct flow *flows_younger(struct flows *f, const struct flow *flow);

/* Write the segment that ends the connection of one side.  Returns its length. */
size_t flow_write_reset(const struct flow *flow, bool to_guest, uint8_t ret[FRAME_MAX]);

#endif
