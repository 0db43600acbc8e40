/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "build/nix_explain.h"
#include "build/nix_hash.h"
#include "build/nix_ref.h"
#include "build/nix_report.h"

static void references_come_apart(void **state)
{
	(void)state;
	static const struct {
		const char *ref, *flake, *attribute, *folder;
	} cases[] = {
		{ "/srv/web", "/srv/web", NULL, "/srv/web" },
		{ "/srv/web#a.b", "/srv/web", "a.b", "/srv/web" },
		{ "/srv/web#", "/srv/web", NULL, "/srv/web" },
		{ "/srv/a%20b", "/srv/a%20b", NULL, "/srv/a b" },
		{ "path:/srv/a%20b#x", "path:/srv/a%20b", "x", "/srv/a b" },
		{ "path:/srv/a%2", "path:/srv/a%2", NULL, "/srv/a%2" },
		{ "path:/srv/a%00b", "path:/srv/a%00b", NULL, "/srv/a%00b" },
		{ "git+file:///srv/web?rev=1&dir=vm%2fx", "git+file:///srv/web?rev=1&dir=vm%2fx",
		  NULL, "/srv/web/vm/x" },
		{ "git+file:/srv/web?dir=vm#y", "git+file:/srv/web?dir=vm", "y", "/srv/web/vm" },
		{ "github:owner/repo/branch#vm", "github:owner/repo/branch", "vm", NULL },
		{ "git+ssh://host/repo", "git+ssh://host/repo", NULL, NULL },
		{ "nixpkgs", "nixpkgs", NULL, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(nix_ref) r = { 0 };
		struct mvm_error err = { 0 };

		assert_int_equal(nix_ref_parse(cases[i].ref, &r, &err), 0);
		assert_string_equal(r.flake, cases[i].flake);
		assert_true(str_eq(r.attribute, cases[i].attribute));
		assert_true(str_eq(r.folder, cases[i].folder));
	}
}

static void every_version_of_nix_gets_a_reference_that_it_understands(void **state)
{
	(void)state;
	static const struct {
		const char *ref, *arg;
		bool by_name, is_git;
	} cases[] = {
		{ "/srv/web?dir=vm#x", "/srv/web?dir=vm", true, false },
		{ "/srv/w%65b", "/srv/web", true, false },
		{ "path:/srv/web?dir=vm", "path:/srv/web?dir=vm", true, false },
		{ "git+file:/srv/web?submodules=1", "git+file:///srv/web?submodules=1", true,
		  false },
		{ "git+file:///srv/a%20b%3f", "git+file:///srv/a%20b%3F", true, true },
		{ "git+file:///srv/a b", "git+file:///srv/a%20b", true, true },
		{ "github:owner/a%20b", "github:owner/a%20b", true, false },
		{ "/nowhere/a%20b", "/nowhere/a b", false, false },
		{ "path:/nowhere/\xc3\xbc?dir=d", "path:/nowhere/\xc3\xbc?dir=d", false, false },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(nix_ref) r = { 0 };
		struct mvm_error err = { 0 };
		int cwd_fd = -1;

		assert_int_equal(nix_ref_parse(cases[i].ref, &r, &err), 0);
		assert_string_equal(r.arg, cases[i].arg);
		assert_int_equal(r.by_name, cases[i].by_name);
		assert_int_equal(r.git != NULL, cases[i].is_git);
		assert_int_equal(nix_ref_locate(&r, &cwd_fd, &err), cases[i].by_name ? 0 : -ENOENT);
		assert_int_equal(cwd_fd, -1);
	}
}

static void a_reference_cannot_be_an_option(void **state)
{
	(void)state;
	static const char *const cases[] = { "--help", "-", "#attribute", "", "path:web" };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct nix_ref r = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(nix_ref_parse(cases[i], &r, &err), -EINVAL);
		assert_null(r.flake);
	}
}

static void candidates_have_their_order(void **state)
{
	(void)state;
	static const struct {
		const char *role, *profile, *names;
	} cases[] = {
		{ "gw", "full", "tenant-gw-full gw-full tenant-full tenant-gw full gw" },
		{ "worker", "minimal",
		  "tenant-worker-minimal worker-minimal tenant-minimal tenant-worker minimal "
		  "worker default" },
		{ "default", "default",
		  "tenant-default-default default-default tenant-default default" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(strv) list = { 0 };
		AUTO_DONE(strbuf) joined = { 0 };

		nix_candidates(cases[i].role, cases[i].profile, &list);
		for (size_t k = 0; k < list.n; k++)
			strbuf_addf(&joined, "%s%s", k ? " " : "", list.v[k]);
		assert_false(list.failed);
		assert_string_equal(joined.data, cases[i].names);
	}
}

static void metadata_of_old_and_new_versions_is_read(void **state)
{
	(void)state;
	static const struct {
		const char *json, *source, *dir, *identity;
		bool has_inputs;
	} cases[] = {
		{ "{\"locked\":{\"narHash\":\"sha256-x\",\"rev\":\"abc\",\"dir\":\"vm\"},"
		  "\"path\":\"/nix/store/s\",\"locks\":{\"root\":\"root\",\"nodes\":{\"root\":"
		  "{\"inputs\":{\"a\":\"a\"}},\"a\":{}}}}",
		  "/nix/store/s", "vm", "sha256-x", true },
		{ "{\"locked\":{\"rev\":\"abc\"},\"locks\":{\"root\":\"r\",\"nodes\":{\"r\":{}}}}",
		  NULL, NULL, "abc", false },
		{ "{\"resolved\":{\"type\":\"git\"},\"path\":null,"
		  "\"locks\":{\"root\":\"r\",\"nodes\":{\"r\":{\"inputs\":{}}}}}",
		  NULL, NULL, NULL, false },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(nix_metadata) m = { 0 };
		struct mvm_error err = { 0 };

		assert_int_equal(nix_metadata_parse(cases[i].json, strlen(cases[i].json), &m, &err),
				 0);
		assert_true(str_eq(m.source, cases[i].source));
		assert_true(str_eq(m.dir, cases[i].dir));
		assert_true(str_eq(m.identity, cases[i].identity));
		assert_int_equal(m.has_inputs, cases[i].has_inputs);
	}
	AUTO_DONE(nix_metadata) m = { 0 };
	assert_int_equal(nix_metadata_parse(cases[0].json, strlen(cases[0].json), &m, NULL), 0);
	assert_string_equal(m.locks, "{\"nodes\":{\"a\":{},\"root\":{\"inputs\":{\"a\":\"a\"}}},"
				     "\"root\":\"root\"}");
}

static void damaged_metadata_is_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"",
		"[]",
		"{}",
		"{\"locked\":{}}",
		"{\"locked\":{},\"locks\":{\"nodes\":{}}}",
		"{\"locked\":{},\"locks\":{\"root\":\"r\",\"nodes\":{}}}",
		"{\"locked\":{\"narHash\":1},\"locks\":{\"root\":\"r\",\"nodes\":{\"r\":{}}}}",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct nix_metadata m = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(nix_metadata_parse(cases[i], strlen(cases[i]), &m, &err),
				 -EBADMSG);
		assert_non_null(strstr(err.text, "nix flake metadata"));
	}
}

static void builds_name_their_output(void **state)
{
	(void)state;
	static const struct {
		const char *json, *path;
	} cases[] = {
		{ "[{\"drvPath\":\"/s/d\",\"outputs\":{\"doc\":\"/s/x\",\"out\":\"/s/y\"}}]",
		  "/s/y" },
		{ "[{\"outputs\":{\"image\":\"/s/z\"},\"startTime\":1}]", "/s/z" },
		{ "[]", NULL },
		{ "[{\"outputs\":{\"out\":\"/s/a\"}},{\"outputs\":{\"out\":\"/s/b\"}}]", NULL },
		{ "[{\"outputs\":{}}]", NULL },
		{ "[{\"outputs\":{\"out\":\"s/a\"}}]", NULL },
		{ "[{\"outputs\":{\"out\":null}}]", NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *path = NULL;
		struct mvm_error err = { 0 };
		int r = nix_build_parse(cases[i].json, strlen(cases[i].json), &path, &err);
		assert_int_equal(r, cases[i].path ? 0 : -EBADMSG);
		assert_true(str_eq(path, cases[i].path));
	}
}

static void closures_of_old_and_new_versions_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		int64_t bytes; /* negative: an error */
	} cases[] = {
		{ "[{\"path\":\"/s/a\",\"closureSize\":123}]", 123 },
		{ "{\"/s/a\":{\"closureSize\":456}}", 456 },
		{ "[]", -EBADMSG },
		{ "{}", -EBADMSG },
		{ "{\"/s/a\":null}", -EBADMSG },
		{ "[{\"closureSize\":-1}]", -EBADMSG },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 0;
		struct mvm_error err = { 0 };
		int r = nix_closure_parse(cases[i].json, strlen(cases[i].json), &bytes, &err);
		assert_int_equal(r < 0 ? r : (int64_t)bytes, cases[i].bytes);
	}
}

static void names_are_a_list_of_strings(void **state)
{
	(void)state;
	AUTO_DONE(strv) names = { 0 };
	AUTO_DONE(strv) none = { 0 };

	assert_int_equal(nix_names_parse("[\"a\",\"b\"]", 9, &names, NULL), 0);
	assert_int_equal(names.n, 2);
	assert_string_equal(names.v[1], "b");
	assert_int_equal(nix_names_parse("[1]", 3, &none, NULL), -EBADMSG);
	assert_int_equal(nix_names_parse("{}", 2, &none, NULL), -EBADMSG);
}

static void usual_causes_have_a_code_and_a_hint(void **state)
{
	(void)state;
	static const struct {
		const char *says;
		int code;
		const char *hint;
	} cases[] = {
		{ "error: flake 'x' does not provide attribute 'y'", -ENOENT, "nix flake show" },
		{ "error: flake 'x' requires lock file changes but they're not allowed", -EINVAL,
		  "nix flake lock" },
		{ "error: writing to file: No space left on device", -ENOSPC,
		  "nix-collect-garbage" },
		{ "error: the group 'nixbld' specified in 'build-users-group' does not exist",
		  -EINVAL, "nixbld" },
		{ "error: unable to download 'https://x': Couldn't resolve host name (6)",
		  -EREMOTEIO, "network" },
		{ "error: experimental Nix feature 'ca-derivations' is disabled", -EOPNOTSUPP,
		  "experimental-features" },
		{ "fatal: unable to access 'https://x/': Could not resolve host: x\n"
		  "error: program 'git' failed with exit code 128",
		  -EREMOTEIO, "network" },
		{ "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: "
		  "Operation not permitted",
		  -EACCES, "Nix daemon" },
		{ "warning: Git tree '/x' is dirty\nerror: getting status of "
		  "'/nix/store/0-source/flake.nix': No such file or directory",
		  -ENOENT, "git add" },
		{ "error: something nobody has heard of", -EREMOTEIO, NULL },
		/* newer versions print their current step before it */
		{ "error:\n       while doing x\n       error: syntax error, unexpected '}'",
		  -EINVAL, "flake.nix" },
		/* text of builders is not Nix's own text */
		{ "guest> sh: syntax error\nerror: builder failed", -EREMOTEIO, NULL },
		{ "error: Cannot build 'x'.\n       Last 1 log lines:\n       > syntax error",
		  -EREMOTEIO, NULL },
		{ "guest> cp: No space left on device\nerror: builder failed", -ENOSPC,
		  "nix-collect-garbage" },
		{ "", -EREMOTEIO, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		assert_int_equal(nix_explain("nix build", cases[i].says, NULL, &err),
				 cases[i].code);
		assert_int_equal(err.code, cases[i].code);
		assert_non_null(strstr(err.text, cases[i].says));
		if (cases[i].hint)
			assert_non_null(strstr(err.hint, cases[i].hint));
		else
			assert_string_equal(err.hint, "");
	}
}

static void long_output_is_cut_to_its_last_whole_lines(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) text = { 0 };
	struct mvm_error err = { 0 };

	for (int i = 0; i < 1000; i++)
		strbuf_addf(&text, "line %d\n", i);
	strbuf_adds(&text, "\n(use '--show-trace' to show detailed location information)\n");
	nix_explain("nix build", text.data, "/log", &err);
	assert_non_null(strstr(err.text, "(log: /log)"));
	assert_non_null(strstr(err.text, ":\nline 990\n"));
	assert_string_equal(err.text + strlen(err.text) - strlen("line 999"), "line 999");

	/* one line that is too long for the error's text */
	strbuf_done(&text);
	for (int i = 0; i < 1000; i++)
		strbuf_adds(&text, "0123456789");
	nix_explain("nix build", text.data, NULL, &err);
	assert_true(strlen(err.text) < 900);
	assert_string_equal(err.text + strlen(err.text) - 10, "0123456789");
}

#define ZERO_SRI "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define ZERO_HEX "0000000000000000000000000000000000000000000000000000000000000000"
/* printf 'hello' | nix hash file, in its three forms */
#define HELLO_SRI "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define HELLO_HEX "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define HELLO_32  "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"

static void wrong_hashes_are_found_in_nixs_output(void **state)
{
	(void)state;
	char specified[NIX_HASH_SIZE], got[NIX_HASH_SIZE];

	assert_true(
		nix_wrong_hash("building\nerror: hash mismatch in fixed-output derivation 'x':\n"
			       "         specified: sha256-a=\n            got:    sha256-b=\nmore",
			       specified, got));
	assert_string_equal(specified, "sha256-a=");
	assert_string_equal(got, "sha256-b=");
	assert_false(nix_wrong_hash("specified: a got: b", specified, got));
	assert_false(nix_wrong_hash("hash mismatch in fixed-output derivation\n specified: a\n",
				    specified, got));
	assert_false(nix_wrong_hash(NULL, specified, got));

	/* a builder's text must not get into a flake */
	static const char *const fakes[] = {
		"guest> error: hash mismatch in fixed-output derivation 'x':\n"
		"guest>          specified: sha256-a=\nguest>             got:    sha256-b=\n",
		"error: hash mismatch in fixed-output derivation 'x':\n"
		"         specified: sha256-a=\n            got:    sha256-b=\";builtins.abort\n",
		"error: hash mismatch in fixed-output derivation 'x':\n"
		"         specified: 0\n            got:    sha256-b=\n",
		"error: hash mismatch in fixed-output derivation 'x':\n"
		"         specified: sha256-a=\n            got:    sha256-\n",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fakes); i++)
		assert_false(nix_wrong_hash(fakes[i], specified, got));
}

static void a_hash_is_exchanged_in_every_form(void **state)
{
	(void)state;
	static const struct {
		const char *text, *specified, *becomes;
	} cases[] = {
		{ "h = \"" HELLO_SRI "\";", HELLO_SRI, "h = \"GOT\";" },
		{ "h = \"" HELLO_HEX "\";", HELLO_SRI, "h = \"GOT\";" },
		{ "h = \"" HELLO_32 "\";", HELLO_SRI, "h = \"GOT\";" },
		{ "h = \"sha256:" HELLO_32 "\";", HELLO_SRI, "h = \"GOT\";" },
		{ "sha256:" HELLO_HEX, HELLO_SRI, "GOT" },
		{ ZERO_HEX, ZERO_SRI, "GOT" },
		{ HELLO_SRI, ZERO_SRI, NULL },
		{ HELLO_SRI " " HELLO_SRI, HELLO_SRI, NULL },
		{ "", HELLO_SRI, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *text = NULL;
		struct mvm_error err = { 0 };
		size_t len;
		int r = nix_hash_replace(cases[i].text, strlen(cases[i].text), cases[i].specified,
					 "GOT", &text, &len, &err);
		assert_int_equal(r == 0, cases[i].becomes != NULL);
		assert_true(str_eq(text, cases[i].becomes));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_come_apart),
		cmocka_unit_test(every_version_of_nix_gets_a_reference_that_it_understands),
		cmocka_unit_test(a_reference_cannot_be_an_option),
		cmocka_unit_test(candidates_have_their_order),
		cmocka_unit_test(metadata_of_old_and_new_versions_is_read),
		cmocka_unit_test(damaged_metadata_is_refused),
		cmocka_unit_test(builds_name_their_output),
		cmocka_unit_test(closures_of_old_and_new_versions_are_read),
		cmocka_unit_test(names_are_a_list_of_strings),
		cmocka_unit_test(usual_causes_have_a_code_and_a_hint),
		cmocka_unit_test(long_output_is_cut_to_its_last_whole_lines),
		cmocka_unit_test(wrong_hashes_are_found_in_nixs_output),
		cmocka_unit_test(a_hash_is_exchanged_in_every_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
