/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "vmm/netns/wall.h"

static struct wall *compile(const struct policy *p)
{
	static struct wall w;
	struct mvm_error err = { 0 };
	if (wall_compile(p, &w, &err) < 0)
		fail_msg("%s", err.text);
	return &w;
}

static bool matches(const struct wall_step *s, const uint8_t to[4], uint16_t port)
{
	uint32_t mask = s->to.bits ? UINT32_MAX << (32 - s->to.bits) : 0, a, b;
	memcpy(&a, to, 4);
	memcpy(&b, s->to.address, 4);
	bool all = s->first == 0 && s->last == UINT16_MAX;
	return ((ntohl(a) ^ ntohl(b)) & mask) == 0 &&
	       (all || (port != 0 && port >= s->first && port <= s->last));
}

/* What the packet filter does with a packet. */
static bool passes(const struct wall_step *steps, size_t n, const uint8_t to[4], uint16_t port)
{
	struct policy_address a = policy_address_v4(to);
	for (size_t i = 0; i < n; i++) {
		if (!matches(&steps[i], to, port))
			continue;
		if (steps[i].verdict == WALL_ACCEPT)
			return true;
		if (steps[i].verdict == WALL_REFUSE || steps[i].verdict == WALL_DROP)
			return false;
		if (policy_is_public(&a))
			return steps[i].verdict == WALL_ACCEPT_IF_PUBLIC;
	}
	return false;
}

static const char *const rules[] = {
	"10.0.0.0/8",
	"10.1.2.3",
	"10.1.2.3:443",
	"192.168.0.0/16:80",
	"8.8.8.0/24",
	"8.8.8.8",
	"169.254.169.254",
	"169.254.0.0/16",
	"127.0.0.1",
	"224.0.0.0/4",
	"0.0.0.0/0",
	"0.0.0.0/0:1-1024",
	"all",
	"all:1-1024",
	"::/0",
	"2606::/16",
	"internet",
	"internet:443",
	"internet:1-100",
	"203.0.113.7",
	"203.0.113.0/24",
	"host:5432",
	"198.18.0.0/15:443",
	"1.0.0.0/9",
	"[::/0]:25",
	"255.255.255.255",
};
static const char *const addresses[] = {
	"10.1.2.3",   "10.1.2.4",	 "11.0.0.1",	    "192.168.1.1", "8.8.8.8",
	"8.8.9.8",    "1.1.1.1",	 "169.254.169.254", "169.254.0.1", "127.0.0.1",
	"224.0.0.1",  "0.0.0.0",	 "198.18.0.2",	    "203.0.113.7", "203.0.113.8",
	"172.16.0.1", "255.255.255.255", "240.0.0.1",	    "100.64.0.1",  "192.0.2.1",
	"1.127.0.1",  "1.128.0.1",
};
static const uint16_t ports[] = { 0, 1, 25, 80, 100, 101, 443, 1024, 5432, 65535 };

static void compare(const struct policy *p, const struct wall *w, const char *text, uint16_t port)
{
	uint8_t to[4];
	assert_int_equal(inet_pton(AF_INET, text, to), 1);
	struct policy_peer peer = { .address = policy_address_v4(to), .port = port };
	bool allowed = policy_judge(p, &peer, NULL, NULL) == POLICY_ALLOWED;
	bool leaves = passes(w->steps, w->n, to, port);
	if (leaves != allowed)
		fail_msg("%s:%u passes: %d", text, port, leaves);
	peer.is_hosts = true;
	allowed = policy_judge(p, &peer, NULL, NULL) == POLICY_ALLOWED;
	bool arrives = passes(w->host, w->n_host, to, port);
	if ((leaves && arrives) != allowed)
		fail_msg("%s:%u of the host passes: %d", text, port, leaves && arrives);
}

static void the_steps_decide_as_the_policy_does(void **state)
{
	(void)state;
	static struct policy p;
	srand(1);
	for (unsigned round = 0; round < 3000; round++) {
		struct mvm_error err;
		p.n_allow = p.n_deny = 0;
		for (unsigned i = (unsigned)rand() % 4; round && i > 0; i--)
			assert_int_equal(policy_add(p.allow, &p.n_allow,
						    rules[(size_t)rand() % MVM_ARRAY_SIZE(rules)],
						    &err),
					 0);
		for (unsigned i = (unsigned)rand() % 3; round && i > 0; i--)
			assert_int_equal(policy_add(p.deny, &p.n_deny,
						    rules[(size_t)rand() % MVM_ARRAY_SIZE(rules)],
						    &err),
					 0);
		struct wall *w = compile(&p);
		for (size_t a = 0; a < MVM_ARRAY_SIZE(addresses); a++)
			for (size_t i = 0; i < MVM_ARRAY_SIZE(ports); i++)
				compare(&p, w, addresses[a], ports[i]);
	}
}

static void the_most_rules_have_room(void **state)
{
	(void)state;
	static struct policy p;
	struct mvm_error err;
	for (unsigned i = 0; i < POLICY_RULES_MAX; i++) {
		assert_int_equal(policy_add(p.allow, &p.n_allow, "8.8.8.8", &err), 0);
		assert_int_equal(policy_add(p.deny, &p.n_deny, "8.8.0.0/16", &err), 0);
	}
	assert_true(compile(&p)->n <= WALL_STEPS_MAX);
}

static void rules_that_cannot_be_held_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *allow, *deny;
		int r;
		const char *says;
	} cases[] = {
		{ "*.example.org:443", NULL, -EOPNOTSUPP, "domains, such as '*.example.org'" },
		{ NULL, "example.org", -EOPNOTSUPP, "domains, such as 'example.org'" },
		{ "host:1-2", NULL, -EOPNOTSUPP, "single ports of the host, not 1 to 2" },
		{ "nowhere/8", NULL, -EINVAL, "'nowhere/8' is no network rule" },
		{ "host:5432", "0.0.0.0/0", 0, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		static struct wall w;
		struct mvm_error err = { 0 };
		char *allow[] = { strdup(cases[i].allow ? cases[i].allow : "") };
		char *deny[] = { strdup(cases[i].deny ? cases[i].deny : "") };
		assert_int_equal(wall_read(allow, cases[i].allow != NULL, deny,
					   cases[i].deny != NULL, &w, &err),
				 cases[i].r);
		if (cases[i].says && !strstr(err.text, cases[i].says))
			fail_msg("'%s'", err.text);
		if (cases[i].r == 0) {
			assert_int_equal(w.n_ports, 1);
			assert_int_equal(w.ports[0], 5432);
			assert_false(w.names); /* it could carry words out where all is denied */
		}
		free(allow[0]);
		free(deny[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_steps_decide_as_the_policy_does),
		cmocka_unit_test(the_most_rules_have_room),
		cmocka_unit_test(rules_that_cannot_be_held_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
