/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_CONFIG_H
#define USERNET_CONFIG_H

/*
 * The configuration of mvm-net, as JSON: once as its argument, later as requests.
 *
 *	{"allow": ["host:5432"], "deny": [], "dns": ["192.0.2.53"],
 *	 "bytes_per_s": 134217728, "packets_per_s": 100000, "held": false,
 *	 "forwards": [{"udp": false, "address": "127.0.0.1", "port": 8080, "guest_port": 80}]}
 *
 *	held:	 nothing passes, in either direction, until a request brings rules
 *	request: {"forward": {...}}  or  {"allow": [...], "deny": [...]}  or  {}; with other rules,
 *	         "dns": [...] has other name servers
 *	reply:   {"ready": true, "refused": 3, "dropped": 0, "lost": 0}
 *	         or {"error": "cannot forward port 8080 of 127.0.0.1: ...", "code": -98}
 *	last:    {"ended": true}, when the VMM has hung up
 *	unasked: {"refused": 7, "refusals": [{"target": "192.0.2.1", "port": 80, "protocol": "tcp",
 *	          "reason": "denied", "count": 3}, ...], "visited": true}, of late, at most every
 *	         five seconds; "visited" when somebody has used a forwarded port
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/json.h"
#include "model/policy.h"
#include "usernet/gate.h"
#include "usernet/resolver.h"

#define USERNET_MESSAGE_MAX 98304u /* room for all rules at their longest, and for name servers */

struct usernet_forward {
	bool udp;
	char address[46];
	uint16_t port, guest_port;
};

struct usernet_config {
	struct policy policy;
	struct usernet_forward forwards[GATE_FORWARDS_MAX];
	size_t n_forwards;
	char dns[RESOLVER_SERVERS_MAX][RESOLVER_ADDRESS_SIZE];
	size_t n_dns;
	uint64_t bytes_per_s, packets_per_s; /* 0: no limit */
	bool held;
	bool resume; /* another mvm-net has read from the link before, and may have cut a frame */
};

/* Returns 0, -EBADMSG or -EINVAL. */
int usernet_config_read(const char *text, size_t len, struct usernet_config *ret,
			struct mvm_error *err);

struct usernet_request {
	bool has_forward, has_policy;
	struct usernet_forward forward;
	struct policy policy;
	char dns[RESOLVER_SERVERS_MAX][RESOLVER_ADDRESS_SIZE];
	size_t n_dns; /* 0: as before */
};
int usernet_request_read(const char *text, size_t len, struct usernet_request *ret,
			 struct mvm_error *err);

#endif
