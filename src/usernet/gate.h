/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_GATE_H
#define USERNET_GATE_H

/*
 * Which frames pass between a guest and the network.
 *
 * Out pass the frames of allowed flows, of flows that came by a forwarded port, and those that
 * begin a flow which the policy allows.  In pass the frames of flows, and those to a forwarded
 * port.  The gate drops and counts all others.
 */

#include <stdbool.h>
#include <stdint.h>

#include "usernet/dns.h"
#include "usernet/flows.h"
#include "usernet/frame.h"
#include "usernet/names.h"

#define GATE_FORWARDS_MAX   64u
#define GATE_PARTS_MAX	    16u
#define GATE_EARLY_MAX	    1024u /* limit of segments out of order, over all connections */
#define GATE_FLOW_EARLY_MAX 256u  /* and for each; more full segments than a window holds */

enum gate_verdict {
	GATE_PASS,
	GATE_DROP,   /* without a word */
	GATE_REFUSE, /* drop it, and tell the guest; gate.last says why */
	GATE_RESET,  /* nobody here knows this connection: reset the guest's end */
	GATE_DNS,    /* a question to the resolver */
};

/* Is this an address of the host, as its routes are now? */
typedef bool (*gate_is_hosts_fn)(void *arg, const struct policy_address *address);

struct gate {
	struct policy policy;
	/* IPv4 and IPv6.  The virtual network is the /24 and the /64 around the host's
	 * addresses. */
	struct policy_address host[2], resolver[2];
	uint16_t forwards[GATE_FORWARDS_MAX]; /* the guest's ports of TCP */
	size_t n_forwards;
	gate_is_hosts_fn is_hosts;
	void *arg;	     /* for is_hosts and on_end */
	struct flows tcp;    /* flows that the guest has begun */
	struct flows in;     /* TCP connections that have come by a forwarded port */
	struct flows others; /* those of UDP and pings */
	struct names names;  /* addresses that the guest was told for names in rules */
	struct names recent; /* and for all other names, which a later rule may deny */
	/* Datagrams of which the first fragment has passed and the last one has not come. */
	struct gate_parts {
		bool is_used;
		uint16_t id;
		struct policy_address from, to;
	} parts[GATE_PARTS_MAX];
	unsigned next_part;
	unsigned n_early; /* of all flows */
	bool is_full;	  /* no new flow passes */
	bool begins;	  /* the frame that gate_out() has passed begins the flow `begun`, perhaps
			   * again */
	struct flow_key begun;
	/* This TCP flow ends now; the gate forgets it after the call. */
	void (*on_end)(void *arg, const struct flow *flow);
	uint64_t refused, dropped;
	uint64_t visits; /* frames with data of connections that have come by a forwarded port */
	struct gate_refusal { /* the last one */
		enum policy_verdict verdict;
		struct policy_address address;
		uint16_t port;
		uint8_t kind; /* enum frame_kind */
	} last;
};

/* A flow of TCP has ended. */
void gate_forget(struct gate *g, struct flows *flows, struct flow *flow);

/* Judge a frame that the guest sends. */
enum gate_verdict gate_out(struct gate *g, const struct frame *f, int64_t now_ns);

/* The frame that begins a flow has made libslirp open the host's socket fd.  Returns the flow.  It
 * exists again if libslirp has meanwhile ended an earlier connection with the same ports.  NULL: no
 * TCP flow begins. */
struct flow *gate_opened(struct gate *g, int fd, int64_t now_ns);

/* The frame that begins a flow has passed.  Forgets a TCP flow that has got no socket. */
void gate_passed(struct gate *g, const uint8_t mac[12]);

/* Judge a frame from the network to the guest. */
enum gate_verdict gate_in(struct gate *g, const struct frame *f, int64_t now_ns);

/* Add a forwarded TCP port; UDP ports do not pass here (udp_forward.h).  Returns 0 or -E2BIG. */
int gate_forward(struct gate *g, uint16_t guest_port);

/* May the guest get this answer about name?  Remembers its addresses when a rule needs them.
 * false: one of its addresses is private.  By such an answer a name could lead into a network of
 * the host. */
bool gate_told(struct gate *g, const char *name, const struct dns_answers *answers, int64_t now_ns);

/* The host's addresses have changed: end the flows that the rules refuse now. */
void gate_judge_again(struct gate *g);

/* Take other rules.  Flows that they refuse end; flows that came by a forwarded port stay.  The new
 * rules also hold for addresses that the guest was told earlier.  Of names that were in no rule,
 * the gate remembers the last NAMES_MAX, and only in order to deny them. */
void gate_set_policy(struct gate *g, const struct policy *policy);

#endif
