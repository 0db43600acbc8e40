/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "vmm/net_helper.h"

/* mvm-net is this test: it has the other end of the newest control socket. */
static struct {
	struct loop *loop;
	struct net_helper helper;
	struct vmm_keeper keeper;
	int theirs;
	unsigned n_started, n_down, n_up;
	char why[128];
} T;

static int new_control(void)
{
	int control[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	if (T.theirs >= 0)
		close(T.theirs);
	T.theirs = control[1];
	return control[0];
}

static int start_network(void *arg, int *ret_control_fd, struct mvm_error *err)
{
	(void)arg;
	(void)err;
	T.n_started++;
	*ret_control_fd = new_control();
	return 0;
}

static int seal_network(void *arg, struct mvm_error *err)
{
	(void)arg;
	(void)err;
	return 0;
}

static void on_news(void *arg, const struct vmm_network_news *news)
{
	(void)arg;
	T.n_down += news->problem != NULL;
	T.n_up += news->is_back;
	snprintf(T.why, sizeof(T.why), "%s", news->problem ? news->problem : "");
}

static void say(const char *text)
{
	assert_int_equal(send(T.theirs, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static const char *hear(void)
{
	static char text[4096];
	ssize_t n = recv(T.theirs, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void run_until(const unsigned *n, unsigned wanted)
{
	while (*n < wanted)
		assert_int_equal(loop_run_once(T.loop, clock_deadline_ns(60000)), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&T, 0, sizeof(T));
	T.theirs = -1;
	T.helper = (struct net_helper)NET_HELPER_NONE;
	T.keeper = (struct vmm_keeper){ .start_network = start_network,
					.seal_network = seal_network };
	assert_int_equal(loop_new(&T.loop), 0);
	int fd = new_control();
	assert_int_equal(net_helper_take(&T.helper, fd, &T.keeper, T.loop, on_news, NULL), 0);
	say("{\"ready\":true}");
	assert_int_equal(net_helper_ready(&T.helper, clock_deadline_ns(60000), NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_helper_done(&T.helper);
	loop_free(T.loop);
	close(T.theirs);
	return 0;
}

static int set_rule(const char *rule, int64_t deadline_ns)
{
	char *rules[] = { (char *)(uintptr_t)rule };
	const struct vmm_network n = { .deny = rules, .n_deny = 1 };
	return net_helper_policy(&T.helper, &n, deadline_ns, NULL);
}

static void rules_wait_for_the_one_that_comes_back(void **state)
{
	(void)state;
	close(T.theirs);
	T.theirs = -1;
	run_until(&T.n_down, 1);
	assert_int_equal(set_rule("192.0.2.1", clock_deadline_ns(60000)), 0);
	run_until(&T.n_started, 1);
	assert_int_equal(set_rule("192.0.2.2", clock_deadline_ns(60000)), 0); /* the last counts */
	say("{\"ready\":true}");
	run_until(&T.n_up, 1);
	assert_non_null(strstr(hear(), "192.0.2.2"));
	/* its answer is none to what is asked later */
	say("{\"error\":\"no\",\"code\":-22}");
	say("{\"ready\":true}");
	assert_int_equal(set_rule("192.0.2.3", clock_deadline_ns(60000)), 0);
	assert_non_null(strstr(hear(), "192.0.2.3"));
	assert_string_equal(hear(), "");
}

static void one_that_does_not_answer_is_replaced(void **state)
{
	(void)state;
	assert_int_equal(set_rule("192.0.2.1", clock_now_ns()), 0);
	assert_int_equal(T.n_down, 1);
	assert_string_equal(T.why, "mvm-net does not answer");
	run_until(&T.n_started, 1);
	say("{\"ready\":true}");
	run_until(&T.n_up, 1);
	assert_non_null(strstr(hear(), "192.0.2.1"));
}

static void a_forward_that_is_not_answered_is_an_error(void **state)
{
	(void)state;
	const struct vmm_forward f = { .host_address = "127.0.0.1",
				       .host_port = 1,
				       .guest_port = 1 };
	assert_int_equal(net_helper_forward(&T.helper, &f, clock_now_ns(), NULL), -ETIMEDOUT);
	assert_int_equal(T.n_down, 1);
}

static void rules_that_are_refused_are_an_error(void **state)
{
	(void)state;
	say("{\"error\":\"no\",\"code\":-22}");
	assert_int_equal(set_rule("192.0.2.1", clock_deadline_ns(60000)), -EINVAL);
	assert_int_equal(T.n_down, 0);
}

#define with_helper(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_helper(rules_wait_for_the_one_that_comes_back),
		with_helper(one_that_does_not_answer_is_replaced),
		with_helper(a_forward_that_is_not_answered_is_an_error),
		with_helper(rules_that_are_refused_are_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
