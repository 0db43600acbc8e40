/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "pull/credentials.h"
#include "pull/settings.h"

#define ME  "\"auth\": \"bWU6YTpi\"" /* me:a:b */
#define YOU "\"auth\": \"eW91OnB3\"" /* you:pw */
#define HUB "\"https://index.docker.io/v1/\""

static int find(const char *text, const char *host, const char *path, struct credentials *ret,
		char **ret_program)
{
	return credentials_parse(text, strlen(text), "config.json", host, path, ret, ret_program,
				 NULL);
}

static void the_longest_fitting_key_counts(void **state)
{
	static const struct {
		const char *auths, *host, *path, *user;
	} cases[] = {
		{ "\"r.io\": {" ME "}", "r.io", "a/b", "me" },
		{ "\"r.io\": {" ME "}", "r.io:5000", "a/b", NULL },
		{ "\"r.io\": {" ME "}", "r.iox", "a/b", NULL },
		{ "\"r.io:5000\": {" ME "}", "r.io:5000", "a", "me" },
		{ "\"https://r.io\": {" ME "}", "r.io", "a", "me" },
		{ "\"https://r.io/v1/\": {" ME "}", "r.io", "a", "me" },
		{ "\"http://r.io/v2\": {" ME "}", "r.io", "a", "me" },
		{ "\"r.io\": {" YOU "}, \"r.io/a\": {" ME "}", "r.io", "a/b", "me" },
		{ "\"r.io/a\": {" ME "}, \"r.io\": {" YOU "}", "r.io", "ab", "you" },
		{ "\"r.io/a/b\": {" ME "}", "r.io", "a/b", "me" },
		{ "\"r.io/a/b\": {" ME "}", "r.io", "a", NULL },
		{ HUB ": {" ME "}", "docker.io", "library/debian", "me" },
		{ "\"docker.io\": {" ME "}", "docker.io", "library/debian", "me" },
		{ "\"r.io\": {}", "r.io", "a", NULL },
		{ "", "r.io", "a", NULL },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(credentials) c = { 0 };
		AUTO_FREE char *program = NULL;
		AUTO_FREE char *text = str_printf("{\"auths\": {%s}}", cases[i].auths);
		assert_int_equal(find(text, cases[i].host, cases[i].path, &c, &program), 0);
		if (!str_eq(c.user, cases[i].user))
			fail_msg("%s for %s/%s: %s", cases[i].auths, cases[i].host, cases[i].path,
				 c.user);
		assert_int_equal(c.from != NULL, cases[i].user != NULL);
		if (str_eq(c.user, "me"))
			assert_string_equal(c.password, "a:b");
		assert_null(program);
	}
}

static void programs_are_named_without_a_path(void **state)
{
	static const struct {
		const char *text, *program;
		int code;
	} cases[] = {
		{ "{\"credsStore\": \"secretservice\"}", "secretservice", 0 },
		{ "{\"credsStore\": \"a\", \"credHelpers\": {\"r.io\": \"b\"}}", "b", 0 },
		{ "{\"credHelpers\": {\"x.io\": \"b\"}}", NULL, 0 },
		{ "{\"credHelpers\": null, \"credsStore\": null}", NULL, 0 },
		{ "{\"credsStore\": \"\"}", NULL, 0 },
		{ "{\"credsStore\": \"../x\"}", NULL, -EBADMSG },
		{ "{\"credsStore\": \"a b\"}", NULL, -EBADMSG },
		{ "{\"credsStore\": 5}", NULL, -EBADMSG },
		{ "{\"auths\": {\"r.io\": {\"auth\": \"!\"}}}", NULL, -EBADMSG },
		{ "{\"auths\": {\"r.io\": {\"auth\": \"bWU=\"}}}", NULL, -EBADMSG },
		{ "[]", NULL, -EBADMSG },
		{ "{", NULL, -EBADMSG },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(credentials) c = { 0 };
		AUTO_FREE char *program = NULL;
		assert_int_equal(find(cases[i].text, "r.io", "a", &c, &program), cases[i].code);
		if (!str_eq(program, cases[i].program))
			fail_msg("%s", cases[i].text);
	}
}

static void tokens_are_taken_as_they_are(void **state)
{
	AUTO_DONE(credentials) c = { 0 };
	AUTO_FREE char *program = NULL;
	(void)state;
	assert_int_equal(find("{\"auths\": {\"r.io\": {\"identitytoken\": \"i\", "
			      "\"registrytoken\": \"r\"}}}",
			      "r.io", "a", &c, &program),
			 0);
	assert_string_equal(c.identity, "i");
	assert_string_equal(c.bearer, "r");
	assert_string_equal(credentials_server("docker.io"), "https://index.docker.io/v1/");
	assert_string_equal(credentials_server("r.io"), "r.io");
}

static void settings_belong_to_one_host(void **state)
{
	static const char text[] = "[registry.\"r.io:5000\"]\ninsecure = true\nca = \"/ca.pem\"\n"
				   "mirrors = [\"m.io\", \"[::1]:80\"]\n[registry.\"s.io\"]\n";
	AUTO_DONE(settings) s = { 0 };
	struct mvm_error err = { 0 };
	bool found;
	(void)state;
	assert_int_equal(settings_parse(text, strlen(text), "f", "r.io:5000", &s, &found, &err), 0);
	assert_true(found && s.insecure);
	assert_string_equal(s.ca, "/ca.pem");
	assert_int_equal(s.mirrors.n, 2);
	assert_int_equal(settings_parse(text, strlen(text), "f", "s.io", &s, &found, &err), 0);
	assert_true(found && !s.insecure && !s.ca && s.mirrors.n == 0);
	assert_int_equal(settings_parse(text, strlen(text), "f", "r.io", &s, &found, &err), 0);
	assert_false(found);
}

static void wrong_settings_name_the_line(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "[registry.r]\nca = \"ca.pem\"\n",
		  "f:2: registry.r.ca: 'ca.pem' is no absolute path" },
		{ "[registry.r]\ninsecure = 1\n",
		  "f:2: registry.r.insecure: expected true or false" },
		{ "[registry.r]\nmirrors = [\"http://m\"]\n",
		  "f:2: registry.r.mirrors: 'http://m'" },
		{ "[registry.r]\nmirrors = [\"M.io\"]\n", "is no host" },
		{ "[registry.r]\nmirrors = [\"m.io/x\"]\n", "is no host" },
		{ "[registry.r]\nmirrors = [\"plain\"]\n", "is no host" },
		{ "[registry.r]\nmirror = []\n", "mirror" },
		{ "[registries.r]\n", "registries" },
		{ "registry = 5\n", "registry" },
		{ "[", "f:1" },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(settings) s = { 0 };
		struct mvm_error err = { 0 };
		bool found;
		int r = settings_parse(cases[i].text, strlen(cases[i].text), "f", "r", &s, &found,
				       &err);
		if (r != -EINVAL || !strstr(err.text, cases[i].says))
			fail_msg("%s: %d %s", cases[i].text, r, err.text);
	}
}

static void only_this_machine_is_plain_by_itself(void **state)
{
	(void)state;
	static const struct {
		const char *host;
		bool insecure;
	} cases[] = { { "127.0.0.1:5000", true }, { "localhost", true }, { "r.io", false } };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(settings) s = { 0 };
		assert_int_equal(settings_load("/nonexistent", cases[i].host, &s, NULL), 0);
		assert_int_equal(s.insecure, cases[i].insecure);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_fitting_key_counts),
		cmocka_unit_test(programs_are_named_without_a_path),
		cmocka_unit_test(tokens_are_taken_as_they_are),
		cmocka_unit_test(settings_belong_to_one_host),
		cmocka_unit_test(wrong_settings_name_the_line),
		cmocka_unit_test(only_this_machine_is_plain_by_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
