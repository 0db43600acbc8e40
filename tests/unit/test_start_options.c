/* SPDX-License-Identifier: Apache-2.0 */
/* Options of mvm_instance_start() that are refused before a template is looked for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include <mvm/instance.h>

#include "scratch.h"

static struct mvm *open_data(void **state)
{
	char path[96];
	struct mvm *mvm = NULL;
	struct mvm_error err;
	snprintf(path, sizeof(path), "%s/data", scratch_path(state));
	if (mvm_open(path, &mvm, &err) < 0)
		fail_msg("%s", err.text);
	return mvm;
}

/* There is no template 'web', so options that are fine end in -ENOENT. */
static void expect(struct mvm *mvm, struct mvm_start_options o, int code, const char *member)
{
	struct mvm_instance *vm = NULL;
	struct mvm_error err = { 0 };
	o.template_ref = "web";
	int r = mvm_instance_start(mvm, &o, NULL, &vm, &err);
	if (r != code)
		fail_msg("%s: %d (%s)", member, r, err.text);
	assert_int_equal(err.code, code);
	assert_null(vm);
	if (!strstr(err.text, member))
		fail_msg("'%s' does not name %s", err.text, member);
	assert_int_equal(mvm_instance_start(mvm, &o, NULL, &vm, NULL), code);
}

#define START(...)                                                                                 \
	(struct mvm_start_options)                                                                 \
	{                                                                                          \
		.size = sizeof(struct mvm_start_options), __VA_ARGS__                              \
	}

static void numbers_out_of_range_are_refused(void **state)
{
	struct mvm *mvm = open_data(state);
	expect(mvm, START(.ttl_ms = -1), -EINVAL, "ttl_ms");
	expect(mvm, START(.ttl_ms = INT64_MIN), -EINVAL, "ttl_ms");
	expect(mvm, START(.volume_timeout_ms = -3), -EINVAL, "volume_timeout_ms");
	expect(mvm, START(.log_max_bytes = (uint64_t)INT64_MAX + 1), -EINVAL, "log_max_bytes");
	expect(mvm, START(.log_max_bytes = UINT64_MAX), -EINVAL, "log_max_bytes");
	expect(mvm, START(.kind = (enum mvm_start_kind)77), -EINVAL, "kind");
	expect(mvm, START(.kind = (enum mvm_start_kind) - 1), -EINVAL, "kind");
	expect(mvm, START(.restart = (enum mvm_restart)4), -EINVAL, "restart");
	expect(mvm, START(.restart = (enum mvm_restart)99), -EINVAL, "restart");
	expect(mvm, START(.restart = (enum mvm_restart) - 1), -EINVAL, "restart");
	expect(mvm, START(.n_forwards = 1), -EINVAL, "forwards");
	expect(mvm, START(.n_volumes = 1), -EINVAL, "volumes");
	expect(mvm,
	       START(.ttl_ms = INT64_MAX, .volume_timeout_ms = INT64_MAX,
		     .log_max_bytes = INT64_MAX, .kind = MVM_START_REQUIRE_SNAPSHOT,
		     .restart = MVM_RESTART_UNLESS_STOPPED, .restart_max = UINT32_MAX),
	       -ENOENT, "web");
	mvm_close(mvm);
}

static void a_closed_network_takes_no_allowed_rules(void **state)
{
	static const char *const none[] = { NULL }, *const one[] = { "host:80", NULL };
	struct mvm *mvm = open_data(state);
	expect(mvm, START(.no_network = true, .network_allow = one), -EINVAL, "no_network");
	expect(mvm, START(.no_network = true, .network_allow = none, .network_deny = one), -ENOENT,
	       "web");
	mvm_close(mvm);
}

static void name_servers_are_checked(void **state)
{
	static const char *const fine[] = { "192.0.2.53", "2001:db8::53", NULL };
	static const char *const wrong[] = { "192.0.2.53", "dns.example", NULL };
	static const char *const many[] = { "1.1.1.1", "1.1.1.1", "1.1.1.1",
					    "1.1.1.1", "1.1.1.1", NULL };
	struct mvm *mvm = open_data(state);
	expect(mvm, START(.network_dns = fine), -ENOENT, "web");
	expect(mvm, START(.network_dns = wrong), -EINVAL, "'dns.example' is no address");
	expect(mvm, START(.network_dns = many), -EINVAL, "more than 4 name servers");
	mvm_close(mvm);
}

static void labels_are_checked(void **state)
{
	static const char *const fine[] = { "tier=web", "alone", NULL };
	static const char *const wrong[] = { "tier=web", "a b=c", NULL };
	struct mvm *mvm = open_data(state);
	expect(mvm, START(.labels = fine), -ENOENT, "web");
	expect(mvm, START(.labels = wrong), -EINVAL, "'a b=c' is no label");
	assert_int_equal(mvm_label_check("a b=c", NULL), -EINVAL);
	mvm_close(mvm);
}

static void forwards_are_checked(void **state)
{
	struct mvm *mvm = open_data(state);
	struct mvm_forward list[2] = { { .guest_port = 80, .host_address = "::1" } };
	const struct mvm_start_options one = START(.forwards = list, .n_forwards = 1);
	const struct mvm_start_options both = START(.forwards = list, .n_forwards = 2);

	expect(mvm, one, -ENOENT, "web");
	expect(mvm, both, -EINVAL, "forwards[1].guest_port");
	list[1].guest_port = 80;
	expect(mvm, both, -ENOENT, "web");
	list[1].reserved[1] = 1;
	expect(mvm, both, -EOPNOTSUPP, "forwards[1].reserved");
	snprintf(list[0].host_address, sizeof(list[0].host_address), "localhost");
	expect(mvm, one, -EINVAL, "forwards[0].host_address");
	memset(list[0].host_address, '1', sizeof(list[0].host_address)); /* without its end */
	expect(mvm, one, -EINVAL, "forwards[0].host_address");
	mvm_close(mvm);
}

static void room_of_later_volumes_must_be_empty(void **state)
{
	char host[] = "/", guest[] = "/srv";
	struct mvm *mvm = open_data(state);
	struct mvm_volume v = { .host = host, .guest = guest };
	struct mvm_error err = { 0 };

	assert_int_equal(mvm_volumes_check(&v, 1, NULL), 0);
	expect(mvm, START(.volumes = &v, .n_volumes = 1), -ENOENT, "web");
	v.reserved[0] = 1;
	assert_int_equal(mvm_volumes_check(&v, 1, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "volumes[0].reserved"));
	expect(mvm, START(.volumes = &v, .n_volumes = 1), -EOPNOTSUPP, "volumes[0].reserved");
	mvm_close(mvm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(numbers_out_of_range_are_refused),
		TEST(a_closed_network_takes_no_allowed_rules),
		TEST(name_servers_are_checked),
		TEST(labels_are_checked),
		TEST(forwards_are_checked),
		TEST(room_of_later_volumes_must_be_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
