/* SPDX-License-Identifier: Apache-2.0 */
#include "model/policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"

#define ANY_FIRST 0u
#define ANY_LAST  UINT16_MAX

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

struct policy_address policy_address_v4(const uint8_t bytes[4])
{
	struct policy_address a;
	memcpy(a.bytes, mapped, sizeof(mapped));
	memcpy(a.bytes + sizeof(mapped), bytes, 4);
	return a;
}

bool policy_is_v4(const struct policy_address *a)
{
	return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

static bool is_in(const struct policy_address *a, const uint8_t *range, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(a->bytes, range, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ range[whole]) & (0xffu << (8 - rest)) & 0xffu) == 0;
}

/* ---- kinds of addresses ---- */

struct range {
	uint8_t bytes[16];
	unsigned bits;
};

#define V4(a, b, c, d, n)                                                                          \
	{                                                                                          \
		{ [10] = 0xff, [11] = 0xff, a, b, c, d }, 96 + (n)                                 \
	}

static bool is_in_any(const struct policy_address *a, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_in(a, ranges[i].bytes, ranges[i].bits))
			return true;
	return false;
}

/* No rule opens these. */
static const struct range never[] = {
	V4(0, 0, 0, 0, 8),   V4(127, 0, 0, 0, 8),	  V4(224, 0, 0, 0, 4),
	V4(240, 0, 0, 0, 4), { { 0 }, 96 } /* ::, ::1 */, { { 0xff }, 8 },
};

static const struct range link_local[] = {
	V4(169, 254, 0, 0, 16),
	{ { 0xfe, 0x80 }, 10 },
};

static const struct range v4_not_public[] = {
	V4(10, 0, 0, 0, 8),	V4(100, 64, 0, 0, 10), V4(172, 16, 0, 0, 12),
	V4(192, 0, 0, 0, 24),	V4(192, 0, 2, 0, 24),  V4(192, 88, 99, 0, 24),
	V4(192, 168, 0, 0, 16), V4(198, 18, 0, 0, 15), V4(198, 51, 100, 0, 24),
	V4(203, 0, 113, 0, 24),
};

/* Within 2000::/3: Teredo and its neighbours, documentation, 6to4, documentation. */
static const struct range v6_not_public[] = {
	{ { 0x20, 0x01, 0x00 }, 23 },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },
	{ { 0x20, 0x02 }, 16 },
	{ { 0x3f, 0xff }, 20 },
};

static const struct range nat64 = { { 0x00, 0x64, 0xff, 0x9b }, 96 };

#define IN_ANY(a, ranges) is_in_any(a, ranges, MVM_ARRAY_SIZE(ranges))

static bool is_special(const struct policy_address *a)
{
	return IN_ANY(a, never) || IN_ANY(a, link_local);
}

bool policy_is_multicast(const struct policy_address *a)
{
	static const struct range many[] = {
		V4(224, 0, 0, 0, 3), /* and broadcast */
		{ { 0xff }, 8 },
	};
	return IN_ANY(a, many);
}

bool policy_is_public(const struct policy_address *a)
{
	if (is_in(a, nat64.bytes, nat64.bits)) {
		struct policy_address inner = policy_address_v4(a->bytes + 12);
		return policy_is_public(&inner);
	}
	if (is_special(a))
		return false;
	if (policy_is_v4(a))
		return !IN_ANY(a, v4_not_public);
	return (a->bytes[0] & 0xe0) == 0x20 && !IN_ANY(a, v6_not_public);
}

static bool is_translated(const struct policy_address *a)
{
	return is_in(a, nat64.bytes, nat64.bits);
}

size_t policy_inner(const struct policy_address *a, struct policy_address ret[POLICY_INNER_MAX])
{
	static const struct range nat64_local = { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48 };
	static const struct range six_to_four = { { 0x20, 0x02 }, 16 };
	static const struct range teredo = { { 0x20, 0x01 }, 32 };
	const uint8_t *b = a->bytes;
	if (is_translated(a) || is_in(a, nat64_local.bytes, nat64_local.bits)) {
		ret[0] = policy_address_v4(b + 12);
		return 1;
	}
	if (is_in(a, six_to_four.bytes, six_to_four.bits)) {
		ret[0] = policy_address_v4(b + 2);
		return 1;
	}
	/* the server, and the client by its complement */
	if (is_in(a, teredo.bytes, teredo.bits)) {
		const uint8_t client[4] = { b[12] ^ 0xffu, b[13] ^ 0xffu, b[14] ^ 0xffu,
					    b[15] ^ 0xffu };
		ret[0] = policy_address_v4(b + 4);
		ret[1] = policy_address_v4(client);
		return 2;
	}
	return 0;
}

static bool v4_part(const struct range *range, struct policy_v4 *ret)
{
	if (range->bits < 96 || memcmp(range->bytes, mapped, sizeof(mapped)) != 0)
		return false;
	memcpy(ret->address, range->bytes + sizeof(mapped), sizeof(ret->address));
	ret->bits = range->bits - 96;
	return true;
}

bool policy_v4_range(enum policy_v4_kind kind, size_t i, struct policy_v4 *ret)
{
	static const struct {
		const struct range *ranges;
		size_t n;
	} kinds[] = {
		[POLICY_V4_NEVER] = { never, MVM_ARRAY_SIZE(never) },
		[POLICY_V4_LINK_LOCAL] = { link_local, MVM_ARRAY_SIZE(link_local) },
		[POLICY_V4_PRIVATE] = { v4_not_public, MVM_ARRAY_SIZE(v4_not_public) },
	};
	for (size_t k = 0; k < kinds[kind].n; k++)
		if (v4_part(&kinds[kind].ranges[k], ret) && i-- == 0)
			return true;
	return false;
}

bool policy_rule_v4(const struct policy_rule *rule, struct policy_v4 *ret)
{
	struct range range = { .bits = rule->bits };
	if (rule->target == POLICY_ALL) {
		*ret = (struct policy_v4){ 0 };
		return true;
	}
	memcpy(range.bytes, rule->address.bytes, sizeof(range.bytes));
	return rule->target == POLICY_RANGE && v4_part(&range, ret);
}

/* ---- rules ---- */

static int wrong(const char *text, const char *why, struct mvm_error *err)
{
	return mvm_error_set(err, -EINVAL, "'%.64s' is no network rule: %s", text, why);
}

static int parse_ports(const char *text, struct policy_rule *rule)
{
	char first[8];
	size_t len = strcspn(text, "-");
	uint64_t low, high;
	if (len >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, len);
	first[len] = '\0';
	if (parse_u64(first, 1, UINT16_MAX, &low) < 0)
		return -EINVAL;
	high = low;
	if (text[len] == '-' && parse_u64(text + len + 1, low, UINT16_MAX, &high) < 0)
		return -EINVAL;
	rule->first = (uint16_t)low;
	rule->last = (uint16_t)high;
	return 0;
}

static void clear_after(struct policy_address *a, unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		a->bytes[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
}

/* Parse "10.0.0.0/8" or "::1".  -ENOENT: the text is no address. */
static int parse_range(const char *text, struct policy_rule *rule)
{
	char address[INET6_ADDRSTRLEN];
	uint8_t v4[4];
	size_t len = strcspn(text, "/");
	if (len >= sizeof(address))
		return -ENOENT;
	memcpy(address, text, len);
	address[len] = '\0';
	unsigned most = 128;
	if (inet_pton(AF_INET, address, v4) == 1) {
		rule->address = policy_address_v4(v4);
		most = 32;
	} else if (inet_pton(AF_INET6, address, rule->address.bytes) != 1) {
		return -ENOENT;
	}
	uint64_t bits = most;
	if (text[len] == '/' && parse_u64(text + len + 1, 0, most, &bits) < 0)
		return -EINVAL;
	rule->target = POLICY_RANGE;
	rule->bits = (unsigned)bits + 128 - most;
	clear_after(&rule->address, rule->bits);
	return 0;
}

static int parse_domain(const char *text, struct policy_rule *rule)
{
	rule->below = str_starts(text, "*.");
	const char *name = rule->below ? text + 2 : text;
	size_t len = strlen(name), label = 0;
	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(rule->domain))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
		bool ends = label == 0 || i + 1 == len || name[i + 1] == '.';
		if (c == '.' ? label == 0 : !(letter || (c == '-' && !ends)))
			return -EINVAL;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return -EINVAL;
		rule->domain[i] = c;
	}
	rule->domain[len] = '\0';
	/* a name that ends in a number is a mistyped address */
	const char *last = strrchr(rule->domain, '.');
	last = last ? last + 1 : rule->domain;
	rule->target = POLICY_DOMAIN;
	return strspn(last, "0123456789") == strlen(last) ? -EINVAL : 0;
}

/* Refuse a word as a name: who writes 'none' or a mistyped 'internet' means another rule. */
static int refuse_word(const char *text, const char *word, struct mvm_error *err)
{
	static const struct {
		const char *word, *hint;
	} hints[] = {
		{ "none",
		  "deny 'all' to close the network; network = \"none\" in the template gives "
		  "no network card" },
		{ "any", "write 'all' for all addresses" },
		{ "localhost", "write 'host:PORT' for a port of this host's loopback" },
	};
	int r = wrong(
		text,
		"a word alone is 'internet', 'all' or 'host:PORT'; a name without a dot gets one "
		"at its end, as in 'intranet.'",
		err);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(hints); i++)
		if (str_eq(word, hints[i].word))
			return mvm_error_hint(err, r, "%s", hints[i].hint);
	return r;
}

static int parse_target(const char *target, struct policy_rule *rule)
{
	static const struct {
		const char *word;
		enum policy_target target;
	} words[] = { { "host", POLICY_HOST },
		      { "internet", POLICY_INTERNET },
		      { "all", POLICY_ALL } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(words); i++) {
		if (str_eq(target, words[i].word)) {
			rule->target = words[i].target;
			return 0;
		}
	}
	int r = parse_range(target, rule);
	return r == -ENOENT ? parse_domain(target, rule) : r;
}

int policy_rule_parse(const char *text, struct policy_rule *ret, struct mvm_error *err)
{
	struct policy_rule rule = { .first = ANY_FIRST, .last = ANY_LAST };
	char target[POLICY_RULE_SIZE];
	const char *ports = NULL;
	if (strlen(text) >= sizeof(target))
		return wrong(text, "it is too long", err);
	snprintf(target, sizeof(target), "%s", text);
	char *colon = strrchr(target, ':');
	if (target[0] == '[') {
		char *end = strchr(target, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return wrong(text, "write an address in brackets as [ADDRESS]:PORT", err);
		ports = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
		memmove(target, target + 1, (size_t)(end - target));
	} else if (colon && strchr(target, ':') == colon) {
		*colon = '\0';
		ports = colon + 1;
	}
	if (ports && parse_ports(ports, &rule) < 0)
		return wrong(text, "a port is 1 to 65535, or a range as in 8000-8999", err);
	if (parse_target(target, &rule) < 0)
		return wrong(text,
			     "expected an address, a range (10.0.0.0/8), a domain (*.example.org), "
			     "'host:PORT', 'internet' or 'all'",
			     err);
	if (rule.target == POLICY_DOMAIN && !strchr(target, '.'))
		return refuse_word(text, rule.domain, err);
	if (rule.target == POLICY_HOST && !ports)
		return wrong(text, "name the host's port, as in host:5432", err);
	*ret = rule;
	return 0;
}

int policy_add(struct policy_rule *list, size_t *n, const char *text, struct mvm_error *err)
{
	if (*n >= POLICY_RULES_MAX)
		return mvm_error_set(err, -E2BIG, "network has more than %u rules of one kind",
				     POLICY_RULES_MAX);
	int r = policy_rule_parse(text, &list[*n], err);
	if (r == 0)
		(*n)++;
	return r;
}

bool policy_names_domain(char *const *rules, size_t n)
{
	struct policy_rule rule;
	for (size_t i = 0; i < n; i++)
		if (policy_rule_parse(rules[i], &rule, NULL) == 0 && rule.target == POLICY_DOMAIN)
			return true;
	return false;
}

bool policy_rule_names(const struct policy_rule *rule, const char *name)
{
	if (rule->target != POLICY_DOMAIN)
		return false;
	size_t len = strlen(name), own = strlen(rule->domain);
	if (!rule->below)
		return str_eq(name, rule->domain);
	return len > own + 1 && name[len - own - 1] == '.' &&
	       str_eq(name + len - own, rule->domain);
}

/* ---- the verdict ---- */

static bool has_port(const struct policy_rule *rule, uint16_t port)
{
	return port >= rule->first && port <= rule->last;
}

static bool has_all_ports(const struct policy_rule *rule)
{
	return rule->first <= 1 && rule->last == UINT16_MAX;
}

static bool is_exact(const struct policy_rule *rule, const struct policy_address *a)
{
	return rule->target == POLICY_RANGE && rule->bits == 128 &&
	       memcmp(rule->address.bytes, a->bytes, 16) == 0;
}

/* An IPv6 range, be it ::/0, holds no IPv4 addresses, though these are written as if. */
static bool is_in_rule(const struct policy_address *a, const struct policy_rule *rule)
{
	struct policy_v4 unused;
	return policy_is_v4(a) == policy_rule_v4(rule, &unused) &&
	       is_in(a, rule->address.bytes, rule->bits);
}

/* The address that is judged; and the one that the guest uses, with the other in it. */
struct judged {
	struct policy_peer peer;
	const struct policy_address *outer;
	policy_told_fn told;
	void *arg;
};

static bool was_told(const struct policy_rule *rule, const struct judged *j)
{
	return j->told && policy_is_public(&j->peer.address) && j->told(j->arg, rule, j->outer);
}

static bool applies(const struct policy_rule *rule, const struct judged *j)
{
	const struct policy_peer *peer = &j->peer;
	if (!has_port(rule, peer->port))
		return false;
	switch (rule->target) {
	case POLICY_RANGE:
		return is_in_rule(&peer->address, rule);
	case POLICY_DOMAIN:
		return was_told(rule, j);
	case POLICY_INTERNET:
		return policy_is_public(&peer->address);
	case POLICY_ALL:
		return true;
	case POLICY_HOST:
		return false;
	}
	return false;
}

static bool host_is_open(const struct policy *p, uint16_t port)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (p->allow[i].target == POLICY_HOST && has_port(&p->allow[i], port))
			return true;
	return false;
}

static bool one_address_is_open(const struct policy *p, const struct policy_peer *peer)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (is_exact(&p->allow[i], &peer->address) && has_port(&p->allow[i], peer->port))
			return true;
	return false;
}

/* Does the rule name everything?  To deny all of IPv4 means to deny IPv6, too. */
bool policy_rule_is_everything(const struct policy_rule *rule)
{
	if (rule->target == POLICY_ALL)
		return true;
	return rule->target == POLICY_RANGE && rule->bits == 96 && policy_is_v4(&rule->address);
}

static bool denies(const struct policy_rule *rule, const struct judged *j)
{
	if (applies(rule, j))
		return true;
	if (!has_port(rule, j->peer.port))
		return false;
	return policy_rule_is_everything(rule) ||
	       (is_translated(j->outer) && rule->target == POLICY_RANGE &&
		is_in_rule(j->outer, rule));
}

static enum policy_verdict judge_one(const struct policy *p, const struct judged *j)
{
	const struct policy_peer *peer = &j->peer;
	if (IN_ANY(&peer->address, never))
		return POLICY_SPECIAL;
	if (peer->is_hosts || IN_ANY(&peer->address, link_local)) {
		if (one_address_is_open(p, peer))
			return POLICY_ALLOWED;
		return peer->is_hosts ? POLICY_OF_HOST : POLICY_SPECIAL;
	}
	for (size_t i = 0; i < p->n_allow; i++)
		if (applies(&p->allow[i], j))
			return POLICY_ALLOWED;
	for (size_t i = 0; i < p->n_deny; i++)
		if (denies(&p->deny[i], j))
			return POLICY_DENIED;
	return policy_is_public(&peer->address) ? POLICY_ALLOWED : POLICY_PRIVATE;
}

/* Of NAT64's addresses only the one within counts, and of those of tunnels, each. */
enum policy_verdict policy_judge(const struct policy *p, const struct policy_peer *peer,
				 policy_told_fn told, void *arg)
{
	struct policy_address inner[POLICY_INNER_MAX];
	struct judged j = { *peer, &peer->address, told, arg };
	enum policy_verdict verdict = POLICY_ALLOWED;
	if (peer->is_host)
		return host_is_open(p, peer->port) ? POLICY_ALLOWED : POLICY_OF_HOST;
	size_t n = policy_inner(&peer->address, inner);
	if (!is_translated(&peer->address))
		verdict = judge_one(p, &j);
	for (size_t i = 0; i < n && verdict == POLICY_ALLOWED; i++) {
		j.peer.address = inner[i];
		verdict = judge_one(p, &j);
	}
	return verdict;
}

/* Does a rule close all ports of the internet?  Then only names that a rule allows are looked up.
 */
static bool internet_is_closed(const struct policy *p)
{
	for (size_t i = 0; i < p->n_deny; i++) {
		const struct policy_rule *rule = &p->deny[i];
		if (has_all_ports(rule) &&
		    (rule->target == POLICY_INTERNET || policy_rule_is_everything(rule)))
			return true;
	}
	return false;
}

/* Of two rules for the name, the one that allows it counts. */
bool policy_may_ask(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_allow; i++)
		if (policy_rule_names(&p->allow[i], name))
			return true;
	for (size_t i = 0; i < p->n_deny; i++)
		if (has_all_ports(&p->deny[i]) && policy_rule_names(&p->deny[i], name))
			return false;
	if (!internet_is_closed(p))
		return true;
	for (size_t i = 0; i < p->n_allow; i++)
		if (p->allow[i].target == POLICY_INTERNET || p->allow[i].target == POLICY_ALL)
			return true;
	return false;
}

static bool may_tell_one(const struct policy *p, const struct policy_address *a)
{
	if (policy_is_public(a))
		return true;
	if (IN_ANY(a, never))
		return false;
	for (size_t i = 0; i < p->n_allow; i++) {
		const struct policy_rule *rule = &p->allow[i];
		bool is_in = rule->target == POLICY_ALL ||
			     (rule->target == POLICY_RANGE && is_in_rule(a, rule));
		if (IN_ANY(a, link_local) ? is_exact(rule, a) : is_in)
			return true;
	}
	return false;
}

bool policy_may_tell(const struct policy *p, const struct policy_address *a)
{
	struct policy_address inner[POLICY_INNER_MAX];
	size_t n = policy_inner(a, inner);
	bool may = is_translated(a) || may_tell_one(p, a);
	for (size_t i = 0; i < n && may; i++)
		may = may_tell_one(p, &inner[i]);
	return may;
}

const char *policy_verdict_text(enum policy_verdict v)
{
	static const char *const texts[] = {
		[POLICY_ALLOWED] = "allowed", [POLICY_DENIED] = "denied",
		[POLICY_PRIVATE] = "private", [POLICY_SPECIAL] = "special",
		[POLICY_OF_HOST] = "host",
	};
	return texts[v];
}
