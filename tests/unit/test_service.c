/* SPDX-License-Identifier: Apache-2.0 */
/* mvmd's limits and numbers, and what it reads of a request's head. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "code.h"
#include "inherit.h"
#include "limits.h"
#include "metrics.h"
#include "scratch.h"
#include "site.h"

static void a_bucket_refills_with_time(void **state)
{
	struct limits *l = NULL;
	struct client a = { .token = "a", .max_rate = 3 }, b = { .token = "b", .max_rate = 1 };
	const struct client owner = { 0 };
	int64_t now = 1;
	unsigned wait_s = 0;
	(void)state;

	assert_int_equal(limits_new(&l, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), 0);
	assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), -EDQUOT);
	assert_int_equal(wait_s, 1);
	assert_int_equal(limits_take_request(l, &b, now, &wait_s, NULL), 0);
	assert_int_equal(limits_take_request(l, &owner, now, &wait_s, NULL), 0);
	now += NS_PER_S / 3 + 1;
	assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), 0);
	assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), -EDQUOT);
	assert_int_equal(limits_take_request(l, &b, now, &wait_s, NULL), -EDQUOT);
	now += 3600 * NS_PER_S; /* no more than a second's requests are kept */
	for (int i = 0; i < 3; i++)
		assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), 0);
	assert_int_equal(limits_take_request(l, &a, now, &wait_s, NULL), -EDQUOT);
	limits_free(l);
}

static void a_failure_that_is_not_mvmds_says_so(void **state)
{
	static const struct {
		int number;
		unsigned status;
		const char *word;
	} known[] = {
		{ EADDRNOTAVAIL, 400, "invalid" },
		{ ELOOP, 400, "invalid" },
		{ EALREADY, 409, "busy" },
		{ ETXTBSY, 409, "busy" },
		{ EPIPE, 409, "not_running" },
		{ EAFNOSUPPORT, 422, "not_supported" },
		{ ENODEV, 422, "not_supported" },
		{ ENXIO, 422, "not_supported" },
		{ EHOSTDOWN, 502, "peer_failed" },
		{ ENETDOWN, 502, "peer_failed" },
		{ ENETUNREACH, 502, "peer_failed" },
		{ ENOBUFS, 503, "overloaded" },
		{ EIO, 500, "internal" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const struct mvm_error err = { .code = -known[i].number };
		assert_int_equal(code_status(&err), known[i].status);
		assert_string_equal(code_word(&err), known[i].word);
	}
}

static void starts_under_way_count_until_they_are_over(void **state)
{
	struct limits *l = NULL;
	struct mvm *mvm = NULL;
	struct limits_claim one, two, three;
	struct mvm_error err = { 0 };
	const struct client a = { .token = "a", .max_instances = 3, .max_mem_mib = 1000 };
	const struct client b = { .token = "b", .max_vcpus = 4 };
	const struct client owner = { 0 };
	char data[96];

	snprintf(data, sizeof(data), "%s/data", scratch_path(state));
	assert_int_equal(mvm_open(data, &mvm, NULL), 0);
	assert_int_equal(limits_new(&l, NULL), 0);
	assert_int_equal(limits_claim(l, &a, mvm, 2, 1, 100, &one, &err), 0);
	assert_int_equal(limits_claim(l, &a, mvm, 2, 1, 100, &two, &err), -EDQUOT);
	assert_string_equal(err.text,
			    "the token 'a' may have 3 instances, has 2 and would need 2 more");
	assert_int_equal(limits_claim(l, &a, mvm, 1, 1, 801, &two, &err), -EDQUOT);
	assert_int_equal(limits_claim(l, &a, mvm, 1, 99, 800, &two, &err), 0);
	assert_int_equal(limits_claim(l, &b, mvm, 2, 2, 9999, &three, &err), 0);
	limits_release(l, &one);
	assert_int_equal(limits_claim(l, &a, mvm, 2, 1, 100, &one, &err), 0);
	limits_release(l, &one);
	limits_release(l, &two);
	limits_release(l, &three);
	assert_int_equal(limits_claim(l, &owner, mvm, 1000, 32, 99999, &one, &err), 0);
	limits_release(l, &one);
	limits_free(l);
	mvm_close(mvm);
}

static const char *line_of(const struct strbuf *b, const char *name)
{
	const char *at = strstr(b->data, name);
	return at ? at + strlen(name) : "";
}

static void a_start_is_counted_by_kind_stage_and_reason(void **state)
{
	struct metrics *m = calloc(1, sizeof(*m));
	AUTO_DONE(strbuf) b = { 0 };
	(void)state;

	assert_non_null(m);
	metrics_start(m,
		      "{\"start\":\"restore\",\"from_pool\":false,\"reason\":null,"
		      "\"stages_ns\":{\"spawn\":40000000,\"load\":44000000,\"agent\":80000000}}");
	metrics_start(m, "{\"start\":\"restore\",\"from_pool\":true,\"stages_ns\":{}}");
	for (int i = 0; i < 40; i++) {
		char text[128];
		snprintf(text, sizeof(text),
			 "{\"start\":\"cold\",\"reason\":\"why %c%c: it has %d\",\"stages_ns\":{}}",
			 'a' + i / 2 % 26, 'a' + i / 2 / 26, i);
		metrics_start(m, text);
	}
	metrics_start(m, "no JSON");
	assert_int_equal(m->restored.count, 1);
	assert_int_equal(m->pool.count, 1);
	assert_int_equal(m->booted.count, 41);
	assert_int_equal(m->n_reasons, METRICS_REASONS_MAX);
	assert_string_equal(m->reasons[0].name, "why aa");
	assert_int_equal(m->reasons[0].count, 2);
	assert_string_equal(m->reasons[METRICS_REASONS_MAX - 1].name, "other");
	assert_int_equal(m->n_stages, 3);
	histogram_text(&m->stages[2].seconds, "x", "stage=\"agent\"", &b);
	assert_memory_equal(line_of(&b, "le=\"0.025\"} "), "0\n", 2);
	assert_memory_equal(line_of(&b, "le=\"0.05\"} "), "1\n", 2); /* 36 ms */
	assert_memory_equal(line_of(&b, "x_sum{stage=\"agent\"} "), "0.036\n", 6);
	free(m);
}

static void other_sites_are_told_from_this_host(void **state)
{
	AUTO_DONE(strv) more = { 0 };
	(void)state;
	strv_add(&more, "mvm.example");
	assert_true(site_host_is_ours("mvm.example", &more));
	assert_true(site_host_is_ours("80-vm.MVM.example.:443", &more));
	assert_false(site_host_is_ours("evilmvm.example", &more));
	assert_false(site_host_is_ours("mvm.example.evil", &more));
	assert_false(site_host_is_ours("localhost:80:80", &more));
	assert_true(site_origin_is_host("https://mvm.example", "mvm.example"));
	assert_false(site_origin_is_host("ftp://mvm.example", "mvm.example"));
	assert_null(site_bearer(NULL));
	assert_string_equal(site_bearer("bearer  x"), "x");
}

static void a_child_has_no_socket_of_mvmd(void **state)
{
	int fd = dup(STDIN_FILENO), other = dup(STDIN_FILENO), status = 0;
	(void)state;

	for (int i = 0; i < 100; i++) { /* what is forgotten takes no room */
		assert_int_equal(inherit_not(other), 0);
		inherit_forget(other);
	}
	assert_int_equal(inherit_not(fd), 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(fcntl(fd, F_GETFD) >= 0 || fcntl(other, F_GETFD) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	inherit_forget(fd);
	close(fd);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_refills_with_time),
		cmocka_unit_test(a_failure_that_is_not_mvmds_says_so),
		cmocka_unit_test_setup_teardown(starts_under_way_count_until_they_are_over,
						scratch_setup, scratch_teardown),
		cmocka_unit_test(a_start_is_counted_by_kind_stage_and_reason),
		cmocka_unit_test(other_sites_are_told_from_this_host),
		cmocka_unit_test(a_child_has_no_socket_of_mvmd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
