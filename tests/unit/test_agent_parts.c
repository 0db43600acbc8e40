/* SPDX-License-Identifier: Apache-2.0 */
/* The pure functions of the guest's agent. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "boot.h"
#include "command.h"
#include "etc.h"
#include "freemem.h"
#include "http.h"
#include "identity.h"
#include "idle.h"
#include "net/agent.h"
#include "net/wire.h"
#include "network.h"
#include "request.h"
#include "user.h"
#include "warm.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "broken line\n"
			     "app:x:1000:1001:An, App:/home/app:/bin/sh\n"
			     "1234:x:50:51::/odd:\n"
			     "last:x:7:7:::";
static const char group[] = "root:x:0:\nwheel:x:10:root,app\nother:x:11:application\nweb:x:12:app";

static void users_are_found_by_name_and_number(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		unsigned uid, gid;
		size_t n_groups;
		const char *home;
	} cases[] = {
		{ NULL, 0, 0, 2, "/root" },
		{ "root", 0, 0, 2, "/root" },
		{ "app", 1000, 1001, 3, "/home/app" },
		{ "1000", 1000, 1001, 3, "/home/app" },
		{ "app:web", 1000, 12, 1, "/home/app" },
		{ "app:5", 1000, 5, 1, "/home/app" },
		{ "1234", 1234, 0, 1, "/" }, /* a number is never a name */
		{ "1000:", 1000, 1001, 3, "/home/app" },
		{ "app:", 1000, 1001, 3, "/home/app" },
		{ "4321:", 4321, 0, 1, "/" },
		{ ":1001", 0, 1001, 1, "/root" },
		{ ":web", 0, 12, 1, "/root" },
		{ ":", 0, 0, 2, "/root" },
		{ "app:web:more", 1000, 12, 1, "/home/app" },
		{ "4321", 4321, 0, 1, "/" },
		{ "4321:4", 4321, 4, 1, "/" },
		{ "last", 7, 7, 1, "/" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct user u;
		struct mvm_error err = { 0 };
		assert_int_equal(user_parse(passwd, group, cases[i].spec, &u, &err), 0);
		assert_int_equal(u.uid, cases[i].uid);
		assert_int_equal(u.gid, cases[i].gid);
		assert_int_equal(u.n_groups, cases[i].n_groups);
		assert_int_equal(u.groups[0], cases[i].gid);
		assert_string_equal(u.home, cases[i].home);
	}
}

static void unknown_users_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *spec, *says;
	} cases[] = {
		{ "nobody", "the guest has no user 'nobody'" },
		{ "app:none", "the guest has no group 'none'" },
		{ ":none", "the guest has no group 'none'" },
		{ "none:", "the guest has no user 'none'" },
		{ "-1", "the guest has no user '-1'" },
		{ "4294967295", "the guest has no user '4294967295'" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct user u;
		struct mvm_error err = { 0 };
		assert_int_equal(user_parse(passwd, group, cases[i].spec, &u, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].says);
	}
}

static void own_variables_replace_the_workloads_and_the_defaults(void **state)
{
	(void)state;
	struct user u = { .home = "/home/app", .name = "app" };
	AUTO_DONE(strv) base = { 0 };
	AUTO_DONE(strv) more = { 0 };
	AUTO_DONE(strv) env = { 0 };

	char host_name[HOST_NAME_MAX + 1] = "";
	assert_int_equal(gethostname(host_name, sizeof(host_name) - 1), 0);
	strv_add(&base, "PORT=80");
	strv_add(&base, "HOME=/data");
	strv_add(&more, "PORT=81");
	strv_add(&more, "PORTS=1");
	assert_int_equal(command_env(&u, true, &base, &more, &env), 0);
	assert_true(strv_has(&env, "PORT=81"));
	assert_true(strv_has(&env, "PORTS=1"));
	assert_true(strv_has(&env, "HOME=/data"));
	assert_true(strv_has(&env, "USER=app"));
	assert_true(strv_has(&env, "TERM=xterm"));
	AUTO_FREE char *host = str_printf("HOSTNAME=%s", host_name);
	assert_true(strv_has(&env, host));
	assert_int_equal(env.n, 7);
}

static void urls_become_requests(void **state)
{
	(void)state;
	static const struct {
		const char *url, *start;
		int family;
	} cases[] = {
		{ "http://127.0.0.1:8080/a?b#c", "GET /a?b HTTP/1.0\r\nHost: 127.0.0.1:8080\r\n",
		  AF_INET },
		{ "http://localhost", "GET / HTTP/1.0\r\nHost: localhost\r\n", AF_INET },
		{ "http://[::1]:81?x", "GET /?x HTTP/1.0\r\nHost: [::1]:81\r\n", AF_INET6 },
		{ "http://[::1]/y", "GET /y HTTP/1.0\r\nHost: [::1]\r\n", AF_INET6 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct http_target t = { .request = NULL };
		struct mvm_error err = { 0 };
		assert_int_equal(http_parse_url(cases[i].url, &t, &err), 0);
		assert_int_equal(t.address.ss_family, cases[i].family);
		assert_memory_equal(t.request, cases[i].start, strlen(cases[i].start));
		free(t.request);
	}
}

static void bad_urls_are_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"",
		"https://127.0.0.1/",
		"http://",
		"http://example.com/",
		"http://127.0.0.1:0/",
		"http://127.0.0.1:65536/",
		"http://127.0.0.1:/",
		"http://127.0.0.1:123456789/",
		"http://127.0.0.1/a b",
		"http://[::1/",
		"http://127.0.0.1/\r\nX: y",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct http_target t = { .request = NULL };
		struct mvm_error err = { 0 };
		assert_int_equal(http_parse_url(cases[i], &t, &err), -EINVAL);
		assert_true(err.text[0]);
	}
}

static void status_lines_are_read_when_complete(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int expected;
	} cases[] = {
		{ "", 0 },
		{ "HTT", 0 },
		{ "HTTP/1.1 200", 0 },
		{ "HTTP/1.1 200 OK\r\n", 200 },
		{ "HTTP/1.0 404\r\n\r\nbody", 404 },
		{ "HTTP/1.1 2000\r\n", -EPROTO },
		{ "HTTP/1.1 999 X\r\n", -EPROTO },
		{ "HTTP/2 200\r\n", -EPROTO },
		{ "SSH-2.0", -EPROTO },
		{ "\n", -EPROTO },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++)
		assert_int_equal(http_status(cases[i].text, strlen(cases[i].text)),
				 cases[i].expected);
	char endless[HTTP_STATUS_LINE_MAX];
	memset(endless, 'x', sizeof(endless));
	memcpy(endless, "HTTP/1.1 200 ", 13);
	assert_int_equal(http_status(endless, sizeof(endless) - 1), 0);
	assert_int_equal(http_status(endless, sizeof(endless)), -EPROTO);
}

static void addresses_have_a_prefix_length(void **state)
{
	(void)state;
	struct in_addr address, mask;
	static const char *const bad[] = {
		"",	     "10.0.2.15", "10.0.2.15/", "10.0.2.15/0", "10.0.2.15/33",
		"10.0.2/24", "::1/64",	  "x/24"
	};

	assert_int_equal(network_parse_cidr("10.0.2.15/24", &address, &mask), 0);
	assert_int_equal(ntohl(address.s_addr), 0x0a00020f);
	assert_int_equal(ntohl(mask.s_addr), 0xffffff00);
	assert_int_equal(network_parse_cidr("10.0.2.15/32", &address, &mask), 0);
	assert_int_equal(mask.s_addr, 0xffffffff);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++)
		assert_int_equal(network_parse_cidr(bad[i], &address, &mask), -EINVAL);
}

static char *hosts_for(const char *old, const char *hostname)
{
	struct strbuf text = { 0 };
	etc_hosts_common(old, &text);
	etc_hosts_add(&text, hostname);
	return strbuf_take(&text);
}

#define PAD_61 "                                                             "

static void hosts_has_one_line_of_one_length_for_the_hostname(void **state)
{
	(void)state;
	AUTO_FREE char *first = hosts_for("1.2.3.4 db", "one");
	assert_string_equal(first, "1.2.3.4 db\n127.0.1.1\tone" PAD_61 " # mvm\n");
	AUTO_FREE char *second = hosts_for(first, "two");
	assert_string_equal(second, "1.2.3.4 db\n127.0.1.1\ttwo" PAD_61 " # mvm\n");
	AUTO_FREE char *fresh = hosts_for(NULL, "three");
	assert_true(str_starts(fresh, "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tthree "));
}

/* A guest that has run since may have added lines; a fork writes over the end of the file only. */
static void lines_behind_the_one_for_the_hostname_are_noticed(void **state)
{
	(void)state;
	AUTO_FREE char *hosts = hosts_for("1.2.3.4 db\n", "one");
	assert_true(etc_hosts_in_order(hosts));
	AUTO_FREE char *more = str_printf("%s5.6.7.8 cache\n", hosts);
	assert_false(etc_hosts_in_order(more));
	assert_true(etc_hosts_in_order("1.2.3.4 db\n"));
	assert_false(etc_hosts_in_order("1.2.3.4 db")); /* ours would be on its line */
	assert_true(etc_hosts_in_order(""));
}

static void boot_ids_are_uuids(void **state)
{
	(void)state;
	assert_true(identity_boot_id_ok("01234567-89ab-4def-8123-456789abcdef"));
	assert_false(identity_boot_id_ok("01234567-89AB-4def-8123-456789abcdef"));
	assert_false(identity_boot_id_ok("0123456789ab4def8123456789abcdef"));
	assert_false(identity_boot_id_ok("01234567-89ab-4def-8123-456789abcde"));
	assert_false(identity_boot_id_ok("01234567-89ab-4def-8123-456789abcdef0"));
	assert_false(identity_boot_id_ok("01234567089ab-4def-8123-456789abcdef"));
	assert_false(identity_boot_id_ok(""));
}

static void names_and_ids_are_checked(void **state)
{
	(void)state;
	assert_true(identity_hostname_ok("web-1.example"));
	assert_false(identity_hostname_ok(""));
	assert_false(identity_hostname_ok("-web"));
	assert_false(identity_hostname_ok("a b"));
	assert_false(identity_hostname_ok("a\n127.0.0.1 evil"));
	assert_true(identity_machine_id_ok("0123456789abcdef0123456789abcdef"));
	assert_false(identity_machine_id_ok("0123456789ABCDEF0123456789abcdef"));
	assert_false(identity_machine_id_ok("0123"));
}

static void kernel_options_are_whole_words(void **state)
{
	(void)state;
	char value[16];
	assert_int_equal(boot_option("a mvm.root=/dev/vdb quiet\n", "mvm.root", value, 16), 1);
	assert_string_equal(value, "/dev/vdb");
	assert_int_equal(boot_option("xmvm.root=/dev/vdb", "mvm.root", value, 16), 0);
	assert_int_equal(boot_option("mvm.rootfstype=xfs", "mvm.root", value, 16), 0);
	assert_int_equal(boot_option("mvm.root", "mvm.root", value, 16), 0);
	assert_int_equal(boot_option("", "mvm.root", value, 16), 0);
}

static void requests_are_checked_once(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) b = { 0 };
	AUTO_DONE(request) q = { 0 };
	struct mvm_error err = { 0 };

	wire_put_u64(&b, FIELD_CALL, CALL_EXEC);
	wire_put_str(&b, FIELD_ARG, "sh");
	wire_put_str(&b, FIELD_ARG, "");
	wire_put_str(&b, FIELD_USER, "first");
	wire_put_str(&b, FIELD_USER, "second");
	wire_put_u64(&b, FIELD_TTY, 1);
	wire_put_str(&b, 60000, "from the future");
	assert_int_equal(request_parse(b.data, b.len, &q, &err), 0);
	assert_int_equal(q.call, CALL_EXEC);
	assert_int_equal(q.args.n, 2);
	assert_string_equal(q.user, "second");
	assert_int_equal(q.tty, 1);
}

static void requests_out_of_range_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint16_t tag;
		uint64_t number; /* used if text is NULL */
		const char *text;
		int code;
		const char *says;
	} cases[] = {
		{ FIELD_TTY, 2, NULL, -EINVAL, "TTY: bad value" },
		{ FIELD_ROWS, 65536, NULL, -EINVAL, "ROWS: bad value" },
		{ FIELD_HEALTH_TCP, 65536, NULL, -EINVAL, "HEALTH_TCP: bad value" },
		{ FIELD_TIMEOUT_MS, UINT64_MAX, NULL, -EINVAL, "TIMEOUT_MS: bad value" },
		{ FIELD_TIMEOUT_MS, 0, "7", -EPROTO, "TIMEOUT_MS: bad value" },
		{ FIELD_ENTROPY, 0, "short", -EINVAL, "ENTROPY has 5 bytes, expected 32 to 512" },
		{ FIELD_ENV, 0, "NOVALUE", -EINVAL, "ENV: 'NOVALUE' is not NAME=VALUE" },
		{ FIELD_ENV, 0, "=x", -EINVAL, "ENV: '=x' is not NAME=VALUE" },
		{ FIELD_MACHINE_ID, 0, "0123456789abcdef0123456789abcdef0", -EINVAL,
		  "MACHINE_ID: bad value" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(strbuf) b = { 0 };
		AUTO_DONE(request) q = { 0 };
		struct mvm_error err = { 0 };
		wire_put_u64(&b, FIELD_CALL, CALL_EXEC);
		if (cases[i].text)
			wire_put_str(&b, cases[i].tag, cases[i].text);
		else
			wire_put_u64(&b, cases[i].tag, cases[i].number);
		assert_int_equal(request_parse(b.data, b.len, &q, &err), cases[i].code);
		assert_string_equal(err.text, cases[i].says);
	}
}

static void free_memory_is_zeroed_up_to_the_asked_size(void **state)
{
	(void)state;
	assert_int_equal(freemem_zero(0), 0);
	assert_int_equal(freemem_zero((1u << 20) - 1), 0);

	/* a sixteenth of the memory is left alone, and a busy host may have no more that is free */
	struct sysinfo info;
	assert_int_equal(sysinfo(&info), 0);
	if (info.freeram < info.totalram / 8)
		skip();
	assert_int_equal(freemem_zero((3u << 20) + 4096), 3u << 20);
}

static void a_loaders_list_names_libraries(void **state)
{
	(void)state;
	static const struct {
		const char *line, *path;
	} cases[] = {
		{ "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
		  "/lib/x86_64-linux-gnu/libc.so.6" },
		{ "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", "/lib64/ld-linux-x86-64.so.2" },
		{ "\tlinux-vdso.so.1 (0x00007ffd)", NULL },
		{ "\tlibx.so => not found", NULL },
		{ "\tstatically linked", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		char line[128];
		snprintf(line, sizeof(line), "%s", cases[i].line);
		const char *path = warm_library(line);
		assert_int_equal(path == NULL, cases[i].path == NULL);
		if (path)
			assert_string_equal(path, cases[i].path);
	}
}

static void idle_time_is_read_in_hundredths(void **state)
{
	(void)state;
	uint64_t up, idle;
	assert_true(idle_parse("12.34 1056.07\n", &up, &idle));
	assert_int_equal(up, 1234);
	assert_int_equal(idle, 105607);
	assert_false(idle_parse("", &up, &idle));
	assert_false(idle_parse("12 10\n", &up, &idle));
	assert_false(idle_parse("12.34", &up, &idle));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_are_found_by_name_and_number),
		cmocka_unit_test(unknown_users_are_named),
		cmocka_unit_test(own_variables_replace_the_workloads_and_the_defaults),
		cmocka_unit_test(urls_become_requests),
		cmocka_unit_test(bad_urls_are_refused),
		cmocka_unit_test(status_lines_are_read_when_complete),
		cmocka_unit_test(addresses_have_a_prefix_length),
		cmocka_unit_test(hosts_has_one_line_of_one_length_for_the_hostname),
		cmocka_unit_test(lines_behind_the_one_for_the_hostname_are_noticed),
		cmocka_unit_test(boot_ids_are_uuids),
		cmocka_unit_test(a_loaders_list_names_libraries),
		cmocka_unit_test(idle_time_is_read_in_hundredths),
		cmocka_unit_test(names_and_ids_are_checked),
		cmocka_unit_test(kernel_options_are_whole_words),
		cmocka_unit_test(requests_are_checked_once),
		cmocka_unit_test(requests_out_of_range_are_refused),
		cmocka_unit_test(free_memory_is_zeroed_up_to_the_asked_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
