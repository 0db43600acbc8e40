/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_GATE_H
#define USERNET_GATE_H

/*
 * Which frames pass between a guest and the network.
 *
 * Out: what belongs to a flow that was allowed or has come by a forwarded port, or begins one that
 * the policy allows.  In: what belongs to a flow, or comes to a port that is forwarded.  Everything
 * else is dropped and counted.
 */

#include <stdbool.h>
#include <stdint.h>

#include "usernet/dns.h"
#include "usernet/flows.h"
#include "usernet/frame.h"
#include "usernet/names.h"

#define GATE_FORWARDS_MAX   64u
#define GATE_PARTS_MAX	    16u
#define GATE_EARLY_MAX	    1024u /* segments out of order, of all connections */
#define GATE_FLOW_EARLY_MAX 256u  /* and of one; more than a window has of full ones */

enum gate_verdict {
	GATE_PASS,
	GATE_DROP,   /* without a word */
	GATE_REFUSE, /* and tell the guest so; gate.last says why */
	GATE_RESET,  /* a connection that nobody here knows: the guest's end is to be reset */
	GATE_DNS,    /* a question to the resolver */
};

/* Is this an address of the host, as its routes are now? */
typedef bool (*gate_is_hosts_fn)(void *arg, const struct policy_address *address);

struct gate {
	struct policy policy;
	/* IPv4's and IPv6's.  Around the host's lies the virtual network, a /24 and a /64. */
	struct policy_address host[2], resolver[2];
	uint16_t forwards[GATE_FORWARDS_MAX]; /* the guest's ports of TCP */
	size_t n_forwards;
	gate_is_hosts_fn is_hosts;
	void *arg;	     /* for is_hosts and on_end */
	struct flows tcp;    /* those that the guest has begun */
	struct flows in;     /* connections of TCP that have come by a forwarded port */
	struct flows others; /* those of UDP and pings */
	struct names names;  /* told for names that a rule has */
	struct names recent; /* and for all others, which a later rule may deny */
	/* Datagrams of which the first fragment has passed and the last one has not come. */
	struct gate_parts {
		bool is_used;
		uint16_t id;
		struct policy_address from, to;
	} parts[GATE_PARTS_MAX];
	unsigned next_part;
	unsigned n_early; /* of all flows */
	bool is_full;	  /* no new flow passes */
	bool begins; /* what gate_out() has let pass begins the flow `begun`, maybe once more */
	struct flow_key begun;
	/* This flow, of TCP, ends now, and is forgotten after the call. */
	void (*on_end)(void *arg, const struct flow *flow);
	uint64_t refused, dropped;
	struct gate_refusal { /* the last one */
		enum policy_verdict verdict;
		struct policy_address address;
		uint16_t port;
		uint8_t kind; /* enum frame_kind */
	} last;
};

/* A flow of TCP has ended. */
void gate_forget(struct gate *g, struct flows *flows, struct flow *flow);

/* A frame that the guest sends. */
enum gate_verdict gate_out(struct gate *g, const struct frame *f, int64_t now_ns);

/* The frame that begins has made the host's socket fd: its flow, which is there again if libslirp
 * has ended an earlier connection with the same ports meanwhile.  NULL: no flow of TCP begins. */
struct flow *gate_opened(struct gate *g, int fd, int64_t now_ns);

/* The frame that begins has passed.  A flow of TCP without a socket is forgotten. */
void gate_passed(struct gate *g, const uint8_t mac[12]);

/* A frame that the network's side sends to the guest. */
enum gate_verdict gate_in(struct gate *g, const struct frame *f, int64_t now_ns);

/* Add a forward of TCP; udp_forward.h has UDP's, which do not pass here.  Returns 0 or -E2BIG. */
int gate_forward(struct gate *g, uint16_t guest_port);

/* May the guest be told this for name?  Remembers its addresses when a rule needs them.  false: an
 * address of any name in it is private: such an answer is how a name leads into a network of the
 * host. */
bool gate_told(struct gate *g, const char *name, const struct dns_answers *answers, int64_t now_ns);

/* End the flows that are refused now, since the host's addresses have changed. */
void gate_judge_again(struct gate *g);

/* Take other rules.  Flows that they refuse end; those that come from outside, by a forwarded port,
 * stay.  A name that the guest was told counts, however long ago: of those that no rule had, the
 * last NAMES_MAX, and for denying only. */
void gate_set_policy(struct gate *g, const struct policy *policy);

#endif
