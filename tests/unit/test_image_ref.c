/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codec/sha256.h"
#include "model/image_ref.h"

#define HEX    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TEN    "abcdefghij"
#define SIXTY  TEN TEN TEN TEN TEN TEN
#define MAX128 SIXTY SIXTY "12345678"

static void names_mean_what_they_mean_to_docker(void **state)
{
	static const struct {
		const char *text, *host, *path, *tag;
		bool digest;
	} cases[] = {
		{ "debian", "docker.io", "library/debian", "latest", false },
		{ "debian:12", "docker.io", "library/debian", "12", false },
		{ "docker.io/debian:12", "docker.io", "library/debian", "12", false },
		{ "index.docker.io/debian", "docker.io", "library/debian", "latest", false },
		{ "team/web", "docker.io", "team/web", "latest", false },
		{ "localhost/web", "localhost", "web", "latest", false },
		{ "localhost:5000/web:v1", "localhost:5000", "web", "v1", false },
		{ "reg.example/a/b/c", "reg.example", "a/b/c", "latest", false },
		{ "reg:5000/web", "reg:5000", "web", "latest", false },
		{ "reg:5000", "docker.io", "library/reg", "5000", false },
		{ "Reg/web", "reg", "web", "latest", false },
		{ "REG.EXAMPLE:5000/web", "reg.example:5000", "web", "latest", false },
		{ "[::1]:5000/web:v1", "[::1]:5000", "web", "v1", false },
		{ "[2001:db8::1]/web", "[2001:db8::1]", "web", "latest", false },
		{ "web@sha256:" HEX, "docker.io", "library/web", "latest", true },
		{ "reg.example:5000/web:v1@sha256:" HEX, "reg.example:5000", "web", "v1", true },
		{ "a_b/c__d/e.f/g---h", "docker.io", "a_b/c__d/e.f/g---h", "latest", false },
		{ "web:" MAX128, "docker.io", "library/web", MAX128, false },
		{ "web:_A.b-C", "docker.io", "library/web", "_A.b-C", false },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(image_ref) ref = { 0 };
		struct mvm_error err = { 0 };
		if (image_ref_parse(cases[i].text, &ref, &err) != 0)
			fail_msg("'%s': %s", cases[i].text, err.text);
		assert_string_equal(ref.host, cases[i].host);
		assert_string_equal(ref.path, cases[i].path);
		assert_string_equal(ref.tag, cases[i].tag);
		assert_int_equal(ref.has_digest, cases[i].digest);
	}
}

static void other_text_names_no_image(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"web/",
		"/web",
		"a//b",
		"Web",
		"we b",
		"web\n",
		"web:",
		"web:-v",
		"web:.v",
		"web:v/1",
		"web:" MAX128 "9",
		"web@",
		"web@sha256:",
		"web@sha256:" TEN,
		"web@sha256:" HEX "0",
		"web@sha256:" HEX "@sha256:" HEX,
		"reg.example/",
		"reg..example/web",
		"-reg.example/web",
		"reg.example:0/web",
		"reg.example:65536/web",
		"reg.example:/web",
		"reg.example:x/web",
		"[::1/web",
		"[::g]/web",
		"[::1]x/web",
		"user@reg.example/web",
		"a._b",
		"a.-b",
		"a___b",
		".a",
		"a.",
		"a-",
		"../etc",
		"a/../b",
		"\xc3\xa4",
		"http://reg.example/web",
		"web?x",
		"web#x",
		"web%2f",
		"reg.example/" SIXTY SIXTY SIXTY SIXTY SIXTY,
		"reg.example/" SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY,
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		AUTO_DONE(image_ref) ref = { 0 };
		struct mvm_error err = { 0 };
		if (image_ref_parse(bad[i], &ref, &err) != -EINVAL || !err.text[0] || !err.hint[0])
			fail_msg("'%s' is accepted as %s/%s:%s", bad[i], ref.host, ref.path,
				 ref.tag);
	}
}

static void only_sha256_is_known(void **state)
{
	AUTO_DONE(image_ref) ref = { 0 };
	(void)state;
	assert_int_equal(image_ref_parse("web@sha512:" HEX HEX, &ref, NULL), -EOPNOTSUPP);
}

static void loopback_is_this_machine(void **state)
{
	static const char *const here[] = { "localhost",    "localhost:5000", "127.0.0.1",
					    "127.1.2.3:80", "[::1]",	      "[::1]:5000" };
	static const char *const there[] = { "localhost.example", "127.0.0.1.example",
					     "128.0.0.1",	  "[::2]",
					     "127.example:5000",  "" };
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(here); i++)
		assert_true(image_ref_is_loopback(here[i]));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(there); i++)
		assert_false(image_ref_is_loopback(there[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_mean_what_they_mean_to_docker),
		cmocka_unit_test(other_text_names_no_image),
		cmocka_unit_test(only_sha256_is_known),
		cmocka_unit_test(loopback_is_this_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
