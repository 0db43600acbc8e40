/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "model/policy.h"

static struct policy_address address(const char *text)
{
	struct policy_address a;
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1)
		return policy_address_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	return a;
}

static void rules_are_taken_whole_or_not_at_all(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int r;
		enum policy_target target;
		uint16_t first, last;
	} cases[] = {
		{ "10.0.0.0/8", 0, POLICY_RANGE, 0, 65535 },
		{ "192.0.2.7:443", 0, POLICY_RANGE, 443, 443 },
		{ "192.0.2.7/32:8000-8999", 0, POLICY_RANGE, 8000, 8999 },
		{ "2001:db8::/32", 0, POLICY_RANGE, 0, 65535 },
		{ "::1", 0, POLICY_RANGE, 0, 65535 },
		{ "[2001:db8::/32]:443", 0, POLICY_RANGE, 443, 443 },
		{ "[2001:db8::1]", 0, POLICY_RANGE, 0, 65535 },
		{ "example.com", 0, POLICY_DOMAIN, 0, 65535 },
		{ "API.Example.com.:443", 0, POLICY_DOMAIN, 443, 443 },
		{ "*.example.org", 0, POLICY_DOMAIN, 0, 65535 },
		{ "_sip.example.org", 0, POLICY_DOMAIN, 0, 65535 },
		{ "intranet.", 0, POLICY_DOMAIN, 0, 65535 },
		{ "intranet.:80", 0, POLICY_DOMAIN, 80, 80 },
		{ "*.local", 0, POLICY_DOMAIN, 0, 65535 },
		{ "internet", 0, POLICY_INTERNET, 0, 65535 },
		{ "internet:443", 0, POLICY_INTERNET, 443, 443 },
		{ "all", 0, POLICY_ALL, 0, 65535 },
		{ "all:25", 0, POLICY_ALL, 25, 25 },
		{ "host:5432", 0, POLICY_HOST, 5432, 5432 },
		{ "host", -EINVAL, 0, 0, 0 },
		{ "", -EINVAL, 0, 0, 0 },
		{ "10.0.0.0/33", -EINVAL, 0, 0, 0 },
		{ "::/129", -EINVAL, 0, 0, 0 },
		{ "10.0.0/8", -EINVAL, 0, 0, 0 },
		{ "10.0.0.256", -EINVAL, 0, 0, 0 },
		{ "010.0.0.1", -EINVAL, 0, 0, 0 },
		{ "1.2.3.4:0", -EINVAL, 0, 0, 0 },
		{ "1.2.3.4:65536", -EINVAL, 0, 0, 0 },
		{ "1.2.3.4:9-8", -EINVAL, 0, 0, 0 },
		{ "1.2.3.4:", -EINVAL, 0, 0, 0 },
		{ "[::1]443", -EINVAL, 0, 0, 0 },
		{ "[::1", -EINVAL, 0, 0, 0 },
		{ "*", -EINVAL, 0, 0, 0 },
		{ "*.", -EINVAL, 0, 0, 0 },
		{ "a.*.b", -EINVAL, 0, 0, 0 },
		{ "-a.b", -EINVAL, 0, 0, 0 },
		{ "a-.b", -EINVAL, 0, 0, 0 },
		{ "a..b", -EINVAL, 0, 0, 0 },
		{ ".a", -EINVAL, 0, 0, 0 },
		{ "a b", -EINVAL, 0, 0, 0 },
		{ "a/24", -EINVAL, 0, 0, 0 },
		{ "https://example.com", -EINVAL, 0, 0, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct policy_rule rule;
		struct mvm_error err = { 0 };
		int r = policy_rule_parse(cases[i].text, &rule, &err);
		if (r != cases[i].r)
			fail_msg("'%s': %d, %s", cases[i].text, r, err.text);
		if (r < 0) {
			assert_non_null(strstr(err.text, cases[i].text));
			continue;
		}
		assert_int_equal(rule.target, cases[i].target);
		assert_int_equal(rule.first, cases[i].first);
		assert_int_equal(rule.last, cases[i].last);
	}
}

static void a_word_alone_is_no_name(void **state)
{
	(void)state;
	static const struct {
		const char *text, *hint;
	} cases[] = {
		{ "none", "deny 'all'" }, { "None:80", "deny 'all'" },
		{ "any", "write 'all'" }, { "localhost:80", "host:PORT" },
		{ "internt", NULL },	  { "ALL", NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct policy_rule rule;
		struct mvm_error err = { 0 };
		if (policy_rule_parse(cases[i].text, &rule, &err) != -EINVAL)
			fail_msg("'%s' is taken", cases[i].text);
		assert_non_null(strstr(err.text, "'intranet.'"));
		if (cases[i].hint)
			assert_non_null(strstr(err.hint, cases[i].hint));
		else
			assert_string_equal(err.hint, "");
	}
}

static void public_addresses_are_those_of_the_internet(void **state)
{
	(void)state;
	static const char *const public[] = {
		"1.1.1.1",	    "9.255.255.255",   "11.0.0.0",   "100.63.255.255",
		"100.128.0.0",	    "172.15.255.255",  "172.32.0.0", "192.167.255.255",
		"192.169.0.0",	    "223.255.255.255", "2606::1",    "2a00:1450::1",
		"64:ff9b::101:101",
	};
	static const char *const others[] = {
		"0.0.0.0",
		"0.1.2.3",
		"10.0.0.1",
		"100.64.0.1",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.169.254",
		"172.16.0.1",
		"172.31.255.255",
		"192.0.0.8",
		"192.0.2.1",
		"192.168.0.1",
		"198.18.0.1",
		"198.19.255.255",
		"198.51.100.1",
		"203.0.113.1",
		"224.0.0.1",
		"255.255.255.255",
		"::",
		"::1",
		"fc00::1",
		"fd00::1",
		"fe80::1",
		"fec0::2",
		"ff02::1",
		"2001:db8::1",
		"2002:7f00:1::",
		"2001::1",
		"64:ff9b::7f00:1",
		"64:ff9b::a00:1",
		"::7f00:1",
		"64:ff9b:1::1",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(public); i++) {
		struct policy_address a = address(public[i]);
		if (!policy_is_public(&a))
			fail_msg("%s is public", public[i]);
	}
	for (size_t i = 0; i < MVM_ARRAY_SIZE(others); i++) {
		struct policy_address a = address(others[i]);
		if (policy_is_public(&a))
			fail_msg("%s is not public", others[i]);
	}
}

static bool told_example(void *arg, const struct policy_rule *rule, const struct policy_address *a)
{
	(void)a;
	return policy_rule_names(rule, arg);
}

static enum policy_verdict judge(const char *const allow[], const char *const deny[],
				 const char *to, uint16_t port, bool is_hosts, const char *told)
{
	static struct policy p;
	struct mvm_error err;
	p.n_allow = p.n_deny = 0;
	for (; allow && *allow; allow++)
		assert_int_equal(policy_add(p.allow, &p.n_allow, *allow, &err), 0);
	for (; deny && *deny; deny++)
		assert_int_equal(policy_add(p.deny, &p.n_deny, *deny, &err), 0);
	const struct policy_peer peer = {
		.address = address(to),
		.port = port,
		.is_hosts = is_hosts,
		.is_host = str_eq(to, "10.0.2.2"),
	};
	char name[POLICY_DOMAIN_SIZE];
	snprintf(name, sizeof(name), "%s", told ? told : "");
	return policy_judge(&p, &peer, told ? told_example : NULL, name);
}
#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void without_rules_only_the_internet_is_reached(void **state)
{
	(void)state;
	assert_int_equal(judge(NULL, NULL, "1.1.1.1", 443, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(NULL, NULL, "2606::1", 443, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(NULL, NULL, "10.0.0.1", 443, false, NULL), POLICY_PRIVATE);
	assert_int_equal(judge(NULL, NULL, "fd00::1", 443, false, NULL), POLICY_PRIVATE);
	assert_int_equal(judge(NULL, NULL, "10.0.2.2", 443, false, NULL), POLICY_OF_HOST);
	assert_int_equal(judge(NULL, NULL, "1.1.1.1", 443, true, NULL), POLICY_OF_HOST);
	assert_int_equal(judge(NULL, NULL, "127.0.0.1", 443, true, NULL), POLICY_SPECIAL);
	assert_int_equal(judge(NULL, NULL, "169.254.169.254", 80, false, NULL), POLICY_SPECIAL);
	assert_int_equal(judge(NULL, NULL, "0.0.0.0", 80, false, NULL), POLICY_SPECIAL);
}

static void a_range_opens_no_special_address(void **state)
{
	(void)state;
	const char *const *all = LIST("0.0.0.0/0", "::/0");
	assert_int_equal(judge(all, NULL, "10.0.0.1", 1, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(all, NULL, "fd00::1", 1, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(all, NULL, "10.0.2.2", 1, false, NULL), POLICY_OF_HOST);
	assert_int_equal(judge(all, NULL, "10.9.9.9", 1, true, NULL), POLICY_OF_HOST);
	assert_int_equal(judge(all, NULL, "127.0.0.1", 1, false, NULL), POLICY_SPECIAL);
	assert_int_equal(judge(all, NULL, "169.254.169.254", 80, false, NULL), POLICY_SPECIAL);
	all = LIST("all");
	assert_int_equal(judge(all, LIST("all"), "10.0.0.1", 1, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(all, NULL, "fd00::1", 1, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(all, NULL, "10.0.2.2", 1, false, NULL), POLICY_OF_HOST);
	assert_int_equal(judge(all, NULL, "127.0.0.1", 1, false, NULL), POLICY_SPECIAL);
	assert_int_equal(judge(all, NULL, "169.254.169.254", 80, false, NULL), POLICY_SPECIAL);
	/* but a rule for exactly this address opens it, except for loopback */
	assert_int_equal(
		judge(LIST("169.254.169.254:80"), NULL, "169.254.169.254", 80, false, NULL),
		POLICY_ALLOWED);
	assert_int_equal(
		judge(LIST("169.254.169.254:80"), NULL, "169.254.169.254", 81, false, NULL),
		POLICY_SPECIAL);
	assert_int_equal(judge(LIST("10.9.9.9"), NULL, "10.9.9.9", 1, true, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(LIST("127.0.0.1", "::1"), NULL, "127.0.0.1", 1, true, NULL),
			 POLICY_SPECIAL);
}

static void ipv6_ranges_hold_no_ipv4_addresses(void **state)
{
	(void)state;
	const char *const *six = LIST("::/0", "[::/0]:443");
	assert_int_equal(judge(six, NULL, "10.0.0.1", 443, false, NULL), POLICY_PRIVATE);
	assert_int_equal(judge(six, NULL, "fd00::1", 443, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(NULL, LIST("::/1"), "1.1.1.1", 443, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(NULL, LIST("::/1"), "2606::1", 443, false, NULL), POLICY_DENIED);
	assert_int_equal(judge(NULL, LIST("::/0"), "1.1.1.1", 443, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(NULL, LIST("::/0"), "2606::1", 443, false, NULL), POLICY_DENIED);
	assert_int_equal(judge(NULL, LIST("[::/0]:25"), "1.1.1.1", 25, false, NULL),
			 POLICY_ALLOWED);
	/* written as IPv6, still IPv4 */
	assert_int_equal(judge(LIST("::ffff:10.0.0.0/104"), NULL, "10.0.0.1", 443, false, NULL),
			 POLICY_ALLOWED);
}

static void an_address_within_an_address_is_judged(void **state)
{
	(void)state;
	static const struct {
		const char *allow, *deny, *to;
		enum policy_verdict verdict;
	} cases[] = {
		{ NULL, NULL, "64:ff9b::1.1.1.1", POLICY_ALLOWED },
		{ NULL, "1.1.1.1", "64:ff9b::1.1.1.1", POLICY_DENIED },
		{ NULL, "64:ff9b::/96", "64:ff9b::1.1.1.1", POLICY_DENIED },
		{ NULL, "0.0.0.0/0", "64:ff9b::1.1.1.1", POLICY_DENIED },
		{ "1.1.1.1", "0.0.0.0/0", "64:ff9b::1.1.1.1", POLICY_ALLOWED },
		{ NULL, NULL, "64:ff9b::10.0.0.1", POLICY_PRIVATE },
		{ "::/0", NULL, "64:ff9b::10.0.0.1", POLICY_PRIVATE },
		{ "10.0.0.0/8", NULL, "64:ff9b::10.0.0.1", POLICY_ALLOWED },
		{ "all", NULL, "64:ff9b::127.0.0.1", POLICY_SPECIAL },
		{ "all", NULL, "64:ff9b::169.254.169.254", POLICY_SPECIAL },
		{ "::/0", NULL, "64:ff9b:1::10.0.0.1", POLICY_PRIVATE },
		{ NULL, NULL, "2002:101:101::1", POLICY_PRIVATE },
		{ "2002::/16", NULL, "2002:101:101::1", POLICY_ALLOWED },
		{ "2002::/16", "1.1.1.1", "2002:101:101::1", POLICY_DENIED },
		{ "::/0", NULL, "2002:a00:1::1", POLICY_PRIVATE },
		{ "::/0", NULL, "2002:7f00:1::1", POLICY_SPECIAL },
		{ "::/0", NULL, "2001:0:101:101::f5ff:fffe", POLICY_PRIVATE }, /* of 10.0.0.1 */
		{ "::/0", NULL, "2001:0:a00:1::fefe:fefe", POLICY_PRIVATE },
		{ "::/0", NULL, "2001:0:101:101::fefe:fefe", POLICY_ALLOWED },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		enum policy_verdict v = judge(LIST(cases[i].allow), LIST(cases[i].deny),
					      cases[i].to, 443, false, NULL);
		if (v != cases[i].verdict)
			fail_msg("%zu: %s: %s", i, cases[i].to, policy_verdict_text(v));
	}
	/* a name server behind NAT64 gives these for a name */
	assert_int_equal(judge(LIST("*.example.org"), LIST("all"), "64:ff9b::1.1.1.1", 443, false,
			       "a.example.org"),
			 POLICY_ALLOWED);
	static struct policy p;
	struct mvm_error err;
	assert_int_equal(policy_add(p.allow, &p.n_allow, "::/0", &err), 0);
	struct policy_address a = address("64:ff9b::10.0.0.1");
	assert_false(policy_may_tell(&p, &a));
	assert_int_equal(policy_add(p.allow, &p.n_allow, "10.0.0.0/8", &err), 0);
	assert_true(policy_may_tell(&p, &a));
}

static void the_host_opens_by_its_ports(void **state)
{
	(void)state;
	const char *const *one = LIST("host:5432");
	assert_int_equal(judge(one, NULL, "10.0.2.2", 5432, false, NULL), POLICY_ALLOWED);
	assert_int_equal(judge(one, LIST("0.0.0.0/0"), "10.0.2.2", 5432, false, NULL),
			 POLICY_ALLOWED);
	assert_int_equal(judge(one, NULL, "10.0.2.2", 5433, false, NULL), POLICY_OF_HOST);
}

static void denying_everything_denies_ipv6_too(void **state)
{
	(void)state;
	static const char *const closed[] = { "0.0.0.0/0", "internet", "all" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(closed); i++) {
		const char *const *deny = LIST(closed[i]);
		assert_int_equal(judge(NULL, deny, "1.1.1.1", 1, false, NULL), POLICY_DENIED);
		assert_int_equal(judge(NULL, deny, "2606::1", 1, false, NULL), POLICY_DENIED);
		assert_int_equal(judge(LIST("1.1.1.1:1"), deny, "1.1.1.1", 1, false, NULL),
				 POLICY_ALLOWED);
		assert_int_equal(judge(LIST("1.1.1.1:1"), deny, "1.1.1.1", 2, false, NULL),
				 POLICY_DENIED);
	}
}

static void a_domain_opens_the_addresses_that_dns_gave(void **state)
{
	(void)state;
	const char *const *closed = LIST("0.0.0.0/0");
	const char *const *rule = LIST("*.example.org:443");
	assert_int_equal(judge(rule, closed, "1.1.1.1", 443, false, "a.example.org"),
			 POLICY_ALLOWED);
	assert_int_equal(judge(rule, closed, "1.1.1.1", 443, false, "a.b.example.org"),
			 POLICY_ALLOWED);
	assert_int_equal(judge(rule, closed, "1.1.1.1", 80, false, "a.example.org"), POLICY_DENIED);
	assert_int_equal(judge(rule, closed, "1.1.1.1", 443, false, "example.org"), POLICY_DENIED);
	assert_int_equal(judge(rule, closed, "1.1.1.1", 443, false, "aexample.org"), POLICY_DENIED);
	assert_int_equal(judge(rule, closed, "1.1.1.1", 443, false, NULL), POLICY_DENIED);
	/* a name never opens a private address */
	assert_int_equal(judge(rule, NULL, "10.0.0.1", 443, false, "a.example.org"),
			 POLICY_PRIVATE);
	assert_int_equal(judge(rule, NULL, "1.1.1.1", 443, true, "a.example.org"), POLICY_OF_HOST);
}

static void a_closed_network_looks_up_allowed_names_only(void **state)
{
	(void)state;
	static struct policy p;
	struct mvm_error err;
	assert_true(policy_may_ask(&p, "anything.example"));
	assert_int_equal(policy_add(p.allow, &p.n_allow, "*.example.org:443", &err), 0);
	assert_true(policy_may_ask(&p, "anything.example"));
	assert_int_equal(policy_add(p.deny, &p.n_deny, "0.0.0.0/0", &err), 0);
	assert_true(policy_may_ask(&p, "a.example.org"));
	assert_false(policy_may_ask(&p, "example.org"));
	assert_false(policy_may_ask(&p, "anything.example"));
	assert_false(policy_may_ask(&p, ""));
	/* a denied port closes no names */
	p.n_deny = 0;
	assert_int_equal(policy_add(p.deny, &p.n_deny, "internet:25", &err), 0);
	assert_int_equal(policy_add(p.deny, &p.n_deny, "0.0.0.0/0:1-1024", &err), 0);
	assert_true(policy_may_ask(&p, "anything.example"));
	assert_int_equal(policy_add(p.deny, &p.n_deny, "internet:1-65535", &err), 0);
	assert_false(policy_may_ask(&p, "anything.example"));
	assert_int_equal(policy_add(p.allow, &p.n_allow, "all", &err), 0);
	assert_true(policy_may_ask(&p, "anything.example"));
}

static void a_denied_name_is_not_looked_up(void **state)
{
	(void)state;
	static struct policy p;
	struct mvm_error err;
	static const char *const deny[] = { "*.evil.example", "evil.example", "mail.example:25" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(deny); i++)
		assert_int_equal(policy_add(p.deny, &p.n_deny, deny[i], &err), 0);
	assert_int_equal(policy_add(p.allow, &p.n_allow, "good.evil.example:443", &err), 0);
	assert_false(policy_may_ask(&p, "evil.example"));
	assert_false(policy_may_ask(&p, "a.b.evil.example"));
	assert_true(policy_may_ask(&p, "good.evil.example"));
	assert_true(policy_may_ask(&p, "other.example"));
	assert_true(policy_may_ask(&p, "mail.example")); /* its other ports are open */
}

static void a_list_of_rules_has_an_end(void **state)
{
	(void)state;
	static struct policy p;
	struct mvm_error err;
	for (size_t i = 0; i < POLICY_RULES_MAX; i++)
		assert_int_equal(policy_add(p.allow, &p.n_allow, "1.1.1.1", &err), 0);
	assert_int_equal(policy_add(p.allow, &p.n_allow, "1.1.1.1", &err), -E2BIG);
	assert_int_equal(p.n_allow, POLICY_RULES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_taken_whole_or_not_at_all),
		cmocka_unit_test(a_word_alone_is_no_name),
		cmocka_unit_test(public_addresses_are_those_of_the_internet),
		cmocka_unit_test(without_rules_only_the_internet_is_reached),
		cmocka_unit_test(a_range_opens_no_special_address),
		cmocka_unit_test(ipv6_ranges_hold_no_ipv4_addresses),
		cmocka_unit_test(an_address_within_an_address_is_judged),
		cmocka_unit_test(the_host_opens_by_its_ports),
		cmocka_unit_test(denying_everything_denies_ipv6_too),
		cmocka_unit_test(a_domain_opens_the_addresses_that_dns_gave),
		cmocka_unit_test(a_closed_network_looks_up_allowed_names_only),
		cmocka_unit_test(a_denied_name_is_not_looked_up),
		cmocka_unit_test(a_list_of_rules_has_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
