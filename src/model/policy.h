/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_POLICY_H
#define MODEL_POLICY_H

/*
 * What a guest may reach of the network: rules that a person writes, and the verdict on an address.
 *
 * A rule is TARGET or TARGET:PORT or TARGET:FIRST-LAST.  TARGET is one of
 *   10.1.0.0/16, 192.0.2.7     IPv4 addresses
 *   2001:db8::/32, ::1         IPv6 addresses; with a port in brackets, [2001:db8::/32]:443
 *   api.example.com            the addresses that the guest's resolver was told for this name; a
 *                              name without a dot is written with one at its end, intranet.
 *   *.example.org              the same for every name below example.org
 *   host                       the host's own 127.0.0.1 and ::1; the port must be named
 *   internet                   all public addresses
 *   all                        all addresses
 *
 * IPv6 ranges hold no IPv4 addresses.  An IPv6 address that stands for an IPv4 address, by NAT64,
 * 6to4 or Teredo, is reached only if that one is; a rule for the IPv4 address holds for NAT64's,
 * too.
 *
 * An allowed address is reached, whatever is denied.  A denied one is not.  All others are reached
 * when they are public.  Denied 0.0.0.0/0 stands for every address, IPv6 too.
 *
 * Some addresses are nobody's to allow by a range or a name: the host's own, link-local ones (with
 * the metadata services of clouds), multicast.  A rule for exactly that one address opens the first
 * two.
 *
 * Source: IANA's special-purpose address registries (RFC 6890), RFC 6052 (64:ff9b::/96), RFC 8215,
 * RFC 3056 (2002::/16), RFC 4380 (2001::/32).
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_RULES_MAX   128u /* in each list */
#define POLICY_DNS_MAX	   4u
#define POLICY_DOMAIN_SIZE 254u
#define POLICY_RULE_SIZE   288u /* the longest text of a rule */

/* An IPv6 address; IPv4 is mapped, ::ffff:192.0.2.7. */
struct policy_address {
	uint8_t bytes[16];
};

enum policy_target { POLICY_RANGE, POLICY_DOMAIN, POLICY_HOST, POLICY_INTERNET, POLICY_ALL };

struct policy_rule {
	enum policy_target target;
	struct policy_address address;	 /* POLICY_RANGE: its bits after `bits` are 0 */
	unsigned bits;			 /* 0 to 128 */
	bool below;			 /* POLICY_DOMAIN: written with *. */
	char domain[POLICY_DOMAIN_SIZE]; /* lower case */
	uint16_t first, last;		 /* ports; 0 and 65535: no port was named */
};

struct policy {
	size_t n_allow, n_deny;
	struct policy_rule allow[POLICY_RULES_MAX], deny[POLICY_RULES_MAX];
};

enum policy_verdict {
	POLICY_ALLOWED,
	POLICY_DENIED,	/* by a rule, or for want of one */
	POLICY_PRIVATE, /* not public, and no rule allows it */
	POLICY_SPECIAL, /* loopback, link-local, multicast, ... */
	POLICY_OF_HOST, /* an address of the host */
};
/* "denied", "private", ... */
const char *policy_verdict_text(enum policy_verdict v);

/* One packet's other end. */
struct policy_peer {
	struct policy_address address;
	uint16_t port; /* 0: the protocol has none */
	bool is_host;  /* the address by which the guest calls the host's loopback */
	bool is_hosts; /* one of the host's addresses, or one within it (policy_inner()) is */
};

/* Was the guest told this address for a name that the rule stands for? */
typedef bool (*policy_told_fn)(void *arg, const struct policy_rule *rule,
			       const struct policy_address *address);

/*
 * Parse a rule.
 *
 * Returns 0, or -EINVAL with a sentence in err that quotes the text.
 */
int policy_rule_parse(const char *text, struct policy_rule *ret, struct mvm_error *err);

/* Is one of these rules, as text, for a domain? */
bool policy_names_domain(char *const *rules, size_t n);

/* Add a rule to a list that has *n of POLICY_RULES_MAX.  Returns 0, -EINVAL or -E2BIG. */
int policy_add(struct policy_rule *list, size_t *n, const char *text, struct mvm_error *err);

/* The verdict; pure but for told(arg).  told may be NULL: no name was asked for. */
enum policy_verdict policy_judge(const struct policy *p, const struct policy_peer *peer,
				 policy_told_fn told, void *arg);

/* May the guest ask for this name (lower case, without a final dot)?  Not if a rule denies it with
 * all ports.  Where not all public addresses are reached, only for those in the allowed rules: a
 * name can carry words out. */
bool policy_may_ask(const struct policy *p, const char *name);

/* May the guest's resolver be told this address?  If it is public or in an allowed range: another
 * one is how a name leads into a network of the host (DNS rebinding). */
bool policy_may_tell(const struct policy *p, const struct policy_address *address);

/* Does the rule, of a domain, stand for this name (lower case, without a final dot)? */
bool policy_rule_names(const struct policy_rule *rule, const char *name);

/* Is it an address of the public internet? */
bool policy_is_public(const struct policy_address *address);

/* For a firewall of IPv4, which wants ranges: those that policy_judge() treats alike. */
enum policy_v4_kind {
	POLICY_V4_NEVER,      /* reached by no rule */
	POLICY_V4_LINK_LOCAL, /* by a rule for exactly the one address */
	POLICY_V4_PRIVATE,    /* by any rule for a range; not public */
};
struct policy_v4 {
	uint8_t address[4];
	unsigned bits;
};
/* The range number i of a kind.  Returns false after the last one. */
bool policy_v4_range(enum policy_v4_kind kind, size_t i, struct policy_v4 *ret);

/* Is the rule a range of IPv4 addresses?  Of those in POLICY_ALL, too. */
bool policy_rule_v4(const struct policy_rule *rule, struct policy_v4 *ret);

/* Does the rule, one of the denied, stand for all addresses?  all and 0.0.0.0/0 do. */
bool policy_rule_is_everything(const struct policy_rule *rule);

/* The IPv4 addresses that an IPv6 address stands for.  Returns how many. */
#define POLICY_INNER_MAX 2u
size_t policy_inner(const struct policy_address *address,
		    struct policy_address ret[POLICY_INNER_MAX]);

/* Does it stand for many receivers? */
bool policy_is_multicast(const struct policy_address *address);

struct policy_address policy_address_v4(const uint8_t bytes[4]);
bool policy_is_v4(const struct policy_address *address);

#endif
