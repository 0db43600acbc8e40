/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as a server checks them, and files that are none. */
#include <errno.h>
#include <fcntl.h>
#include <mvm/token.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "scratch.h"

#define SECRET_LEN (MVM_TOKEN_SECRET_SIZE - 1)

static int read_fails; /* errno; 0: it does not */

int __real_file_read_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len);
int __wrap_file_read_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len);

int __wrap_file_read_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len)
{
	return read_fails ? -read_fails : __real_file_read_at(dir_fd, name, max, ret, ret_len);
}

struct world {
	struct mvm *mvm;
	struct mvm_tokens *tokens;
	char dir[96];
};

static void open_world(void **state, struct world *w)
{
	snprintf(w->dir, sizeof(w->dir), "%s/data", scratch_path(state));
	assert_int_equal(mvm_open(w->dir, &w->mvm, NULL), 0);
	assert_int_equal(mvm_tokens_open(w->mvm, &w->tokens, NULL), 0);
}

static void close_world(struct world *w)
{
	mvm_tokens_close(w->tokens);
	mvm_close(w->mvm);
}

static int find(struct world *w, const char *secret, const struct mvm_token_info **ret)
{
	return mvm_tokens_find(w->tokens, secret, strlen(secret), ret, NULL);
}

static void a_secret_finds_its_token_until_it_is_removed(void **state)
{
	struct world w;
	char one[MVM_TOKEN_SECRET_SIZE], two[MVM_TOKEN_SECRET_SIZE], e2b[MVM_TOKEN_SECRET_SIZE];
	const struct mvm_token_info *found = NULL;
	struct mvm_token_options options = MVM_TOKEN_OPTIONS_INIT;

	open_world(state, &w);
	options.scope = MVM_TOKEN_EXEC;
	options.max_instances = 3;
	assert_int_equal(mvm_token_add(w.mvm, "one", &options, one, NULL, NULL), 0);
	assert_int_equal(strlen(one), SECRET_LEN);
	assert_int_equal(find(&w, one, &found), 0);
	assert_string_equal(found->name, "one");
	assert_int_equal(found->scope, MVM_TOKEN_EXEC);
	assert_int_equal(found->max_instances, 3);
	/* one that is made while the server runs */
	assert_int_equal(mvm_token_add(w.mvm, "two", NULL, two, NULL, NULL), 0);
	assert_int_equal(find(&w, two, &found), 0);
	assert_int_equal(found->scope, MVM_TOKEN_READ);
	snprintf(e2b, sizeof(e2b), "e2b_%s", two + 4);
	assert_int_equal(find(&w, e2b, &found), 0);
	assert_int_equal(find(&w, two + 4, &found), 0);

	assert_int_equal(mvm_token_remove(w.mvm, "one", NULL), 0);
	assert_int_equal(find(&w, one, &found), -EACCES);
	assert_int_equal(find(&w, two, &found), 0);
	assert_int_equal(mvm_token_remove(w.mvm, "one", NULL), -ENOENT);
	close_world(&w);
}

static void other_texts_are_no_tokens(void **state)
{
	struct world w;
	char secret[MVM_TOKEN_SECRET_SIZE], other[MVM_TOKEN_SECRET_SIZE + 1];
	const struct mvm_token_info *found = NULL;

	open_world(state, &w);
	assert_int_equal(mvm_token_add(w.mvm, "one", NULL, secret, NULL, NULL), 0);
	for (size_t len = 0; len < SECRET_LEN; len++)
		assert_int_equal(mvm_tokens_find(w.tokens, secret, len, &found, NULL), -EACCES);
	for (size_t i = 0; i < SECRET_LEN; i++) {
		memcpy(other, secret, sizeof(secret));
		other[i] = (char)(other[i] ^ 1);
		assert_int_equal(find(&w, other, &found), -EACCES);
	}
	snprintf(other, sizeof(other), "%sa", secret);
	assert_int_equal(find(&w, other, &found), -EACCES);
	for (size_t i = 0; i < SECRET_LEN; i++)
		other[i] = (char)(secret[i] >= 'a' && secret[i] <= 'f' ? secret[i] - 32
								       : secret[i]);
	other[SECRET_LEN] = '\0';
	other[0] = 'm';
	if (strcmp(other, secret) != 0)
		assert_int_equal(find(&w, other, &found), -EACCES);
	assert_null(found);
	close_world(&w);
}

static void a_token_expires(void **state)
{
	struct world w;
	char secret[MVM_TOKEN_SECRET_SIZE];
	const struct mvm_token_info *found = NULL;
	struct mvm_token_info *made = NULL;
	struct mvm_token_options options = MVM_TOKEN_OPTIONS_INIT;

	open_world(state, &w);
	options.ttl_ms = 1;
	assert_int_equal(mvm_token_add(w.mvm, "short", &options, secret, &made, NULL), 0);
	assert_int_equal(made->expires_at, made->created_at + 1);
	mvm_token_info_free(made);
	int r = 0;
	for (int i = 0; i < 300 && r == 0; i++) {
		r = find(&w, secret, &found);
		usleep(10000);
	}
	assert_int_equal(r, -EACCES);
	options.ttl_ms = INT64_MAX;
	assert_int_equal(mvm_token_add(w.mvm, "long", &options, secret, NULL, NULL), 0);
	assert_int_equal(find(&w, secret, &found), 0);
	close_world(&w);
}

/* A limit that this version does not know must not be lost. */
static void a_file_that_is_not_understood_is_good_for_nothing(void **state)
{
	static const char good[] =
		"{\"scope\":\"exec\",\"sha256\":"
		"\"ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb\","
		"\"created_at\":\"2026-01-01T00:00:00Z\",\"limits\":{\"vcpus\":4}}";
	static const struct {
		const char *from, *to;
	} faults[] = {
		{ "exec", "root" },
		{ "\"vcpus\":4", "\"vcpus\":0" },
		{ "\"vcpus\":4", "\"vcpus\":4294967296" },
		{ "\"vcpus\":4", "\"gpus\":4" },
		{ "\"limits\"", "\"only_from\":\"10.0.0.0/8\",\"limits\"" },
		{ ",\"limits\":{\"vcpus\":4}", "" },
		{ "ffe054", "FFE054" },
		{ "2026-01-01T00:00:00Z", "now" },
		{ "}}", "}" },
	};
	struct world w;
	struct mvm_token_info **list = NULL;
	const struct mvm_token_info *found = NULL;
	char path[160], a[65];
	size_t n;

	open_world(state, &w);
	memset(a, 'a', 64); /* whose digest the file has */
	a[64] = '\0';
	assert_int_equal(find(&w, a, &found), -EACCES);
	snprintf(path, sizeof(path), "%s/tokens", w.dir);
	int dir = dir_open_at(AT_FDCWD, path);
	assert_true(dir >= 0);
	assert_int_equal(file_create_at(dir, "t.json", good, strlen(good), 0600), 0);
	assert_int_equal(file_create_at(dir, "t.json.old", good, strlen(good), 0600), 0);
	assert_int_equal(find(&w, a, &found), 0);
	assert_int_equal(found->max_vcpus, 4);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		char text[1024];
		const char *at = strstr(good, faults[i].from);
		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, faults[i].to,
			 at + strlen(faults[i].from));
		assert_int_equal(unlinkat(dir, "t.json", 0), 0);
		assert_int_equal(file_create_at(dir, "t.json", text, strlen(text), 0600), 0);
		if (find(&w, a, &found) != -EACCES)
			fail_msg("%s", text);
	}
	assert_int_equal(mvm_token_list(w.mvm, &list, &n, NULL), 0);
	assert_int_equal(n, 0);
	mvm_token_list_free(list, n);
	assert_int_equal(mvm_token_remove(w.mvm, "t", NULL), -ENOENT); /* it may be a user's */
	close(dir);
	close_world(&w);
}

static void options_are_checked(void **state)
{
	struct world w;
	char secret[MVM_TOKEN_SECRET_SIZE] = "unchanged";
	struct mvm_token_options options = MVM_TOKEN_OPTIONS_INIT;

	open_world(state, &w);
	assert_int_equal(mvm_token_add(w.mvm, "a/b", NULL, secret, NULL, NULL), -EINVAL);
	options.scope = (enum mvm_token_scope)3;
	assert_int_equal(mvm_token_add(w.mvm, "a", &options, secret, NULL, NULL), -EINVAL);
	options.scope = MVM_TOKEN_READ;
	options.ttl_ms = -1;
	assert_int_equal(mvm_token_add(w.mvm, "a", &options, secret, NULL, NULL), -EINVAL);
	assert_string_equal(secret, "unchanged");
	assert_int_equal(mvm_token_add(w.mvm, "a", NULL, secret, NULL, NULL), 0);
	assert_int_equal(mvm_token_add(w.mvm, "a", NULL, secret, NULL, NULL), -EEXIST);
	close_world(&w);
}

static void a_token_that_cannot_be_read_now_is_not_taken_for_none(void **state)
{
	static const int numbers[] = { EMFILE, ENFILE, ENOMEM, EIO };
	struct world w;
	char secret[MVM_TOKEN_SECRET_SIZE];
	const struct mvm_token_info *found = NULL;

	open_world(state, &w);
	assert_int_equal(mvm_token_add(w.mvm, "one", NULL, secret, NULL, NULL), 0);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		read_fails = numbers[i];
		assert_int_equal(find(&w, secret, &found), -numbers[i]);
	}
	read_fails = 0;
	assert_int_equal(find(&w, secret, &found), 0);
	close_world(&w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_secret_finds_its_token_until_it_is_removed),
		TEST(other_texts_are_no_tokens),
		TEST(a_token_expires),
		TEST(a_file_that_is_not_understood_is_good_for_nothing),
		TEST(a_token_that_cannot_be_read_now_is_not_taken_for_none),
		TEST(options_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
