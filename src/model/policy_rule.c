/* SPDX-License-Identifier: Apache-2.0 */
/* Network rules as text. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "model/policy.h"

#define ANY_FIRST 0u
#define ANY_LAST  UINT16_MAX

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
