/* SPDX-License-Identifier: Apache-2.0 */
#include <mvm/progress.h>
#include <sys/eventfd.h>

#include "model/strings.h"
#include "store/cache.h"
#include "store/gc.h"
#include "store_fixture.h"

#define KEY "c2d559a37bda0c3c18e0d02c6e2294a1d0caa177b334e95af6e6210ca7af33fc"

static void equal_files_become_one_blob(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest a, b, c;
	struct stat sa, sb;
	uint64_t bytes = 0;

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "same");
	put_file(st.fd, "b", "same");
	put_file(st.fd, "c", "other");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &a, &bytes, NULL), 1);
	assert_int_equal(bytes, 4);
	assert_int_equal(store_blob_take(f->store, st.fd, "b", &b, NULL, NULL), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "b", &b, NULL, NULL), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "c", &c, NULL, NULL), 1);
	assert_true(digest_equal(&a, &b));
	assert_false(digest_equal(&a, &c));
	assert_int_equal(fstatat(st.fd, "a", &sa, 0), 0);
	assert_int_equal(fstatat(st.fd, "b", &sb, 0), 0);
	assert_int_equal(sa.st_ino, sb.st_ino);
	assert_int_equal(sa.st_nlink, 3);
	assert_int_equal(sa.st_mode & 07777, 0444);

	assert_int_equal(store_blob_link(f->store, &c, st.fd, "d", NULL), 0);
	assert_file(st.fd, "d", "other");
	struct mvm_error err = { 0 };
	c.bytes[0] ^= 1;
	assert_int_equal(store_blob_link(f->store, &c, st.fd, "e", &err), -ENOENT);
	assert_false(store_blobs_copied(f->store));
}

static void a_blob_that_was_cut_short_is_replaced(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest d;
	char hex[DIGEST_HEX_SIZE];

	sha256_buf("whole", 5, &d);
	digest_hex(&d, hex);
	put_file(store_dir(f->store, STORE_BLOBS), hex, "wh");
	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "whole");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &d, NULL, NULL), 1);
	assert_file(store_dir(f->store, STORE_BLOBS), hex, "whole");
}

static void only_regular_files_become_blobs(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	struct mvm_digest d;

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	assert_int_equal(symlinkat("/etc/passwd", st.fd, "link"), 0);
	assert_int_equal(mkfifoat(st.fd, "fifo", 0600), 0);
	assert_int_equal(mkdirat(st.fd, "dir", 0700), 0);
	assert_int_equal(store_blob_take(f->store, st.fd, "link", &d, NULL, NULL), -ELOOP);
	assert_int_equal(store_blob_take(f->store, st.fd, "fifo", &d, NULL, NULL), -EINVAL);
	assert_int_equal(store_blob_take(f->store, st.fd, "dir", &d, NULL, NULL), -EINVAL);
}

static void a_cache_hit_needs_the_fingerprint(void **state)
{
	struct fixture *f = *state;
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_DONE(store_build) got = { 0 };
	struct mvm_digest d;
	char *command[] = { (char[]){ "/bin/sh" }, NULL };
	char *facts[] = { (char[]){ "lock=x" }, NULL };
	struct store_build build = {
		.fingerprint = (char[]){ "f1" },
		.built_at = 7,
		.n_artifacts = 1,
		.run = { .command = { command, 1 } },
		.facts = { facts, 1 },
	};

	assert_int_equal(store_stage(f->store, &st, NULL), 0);
	put_file(st.fd, "a", "root");
	assert_int_equal(store_blob_take(f->store, st.fd, "a", &d, NULL, NULL), 1);
	strcpy(build.artifacts[0].name, "rootfs");
	build.artifacts[0].digest = d;

	assert_int_equal(store_cache_get(f->store, KEY, "f1", &got, NULL), 0);
	assert_int_equal(store_cache_put(f->store, KEY, &build, NULL, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f2", &got, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f1", &got, NULL), 1);
	assert_int_equal(got.n_artifacts, 1);
	assert_string_equal(got.artifacts[0].name, "rootfs");
	assert_true(digest_equal(&got.artifacts[0].digest, &d));
	assert_string_equal(got.run.command.v[0], "/bin/sh");
	assert_string_equal(got.facts.v[0], "lock=x");
	store_build_done(&got);

	assert_int_equal(store_cache_get(f->store, "../x", "f1", &got, NULL), -EINVAL);
}

static void the_cache_keeps_the_latest_builds_and_outlives_damage(void **state)
{
	struct fixture *f = *state;
	char name[16];
	struct store_build build = { .fingerprint = name };

	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(store_cache_put(f->store, KEY, &build, NULL, NULL), 0);
	}
	for (int i = 0; i < 10; i++) {
		AUTO_DONE(store_build) got = { 0 };
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(store_cache_get(f->store, KEY, name, &got, NULL), i >= 2);
	}

	AUTO_DONE(store_build) got = { 0 };
	int dir = store_dir(f->store, STORE_BUILDS);
	assert_int_equal(unlinkat(dir, KEY ".json", 0), 0);
	put_file(dir, KEY ".json", "{\"builds\": 3");
	assert_int_equal(store_cache_get(f->store, KEY, "f9", &got, NULL), 0);
	assert_int_equal(store_cache_put(f->store, KEY, &build, NULL, NULL), 0);
	assert_int_equal(store_cache_get(f->store, KEY, "f9", &got, NULL), 1);
}

static void a_wait_for_the_stores_lock_can_be_cancelled(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSE int cancel = eventfd(1, EFD_CLOEXEC); /* readable */
	const struct mvm_progress progress = { .cancel_fd = &cancel };
	struct store_build build = { .fingerprint = (char[]){ "f1" } };
	struct gc gc = { .store = f->store, .progress = &progress };
	struct mvm_error err = { 0 };
	AUTO_CLOSE int held = store_lock(f->store, "x", NULL);

	assert_true(held >= 0);
	assert_int_equal(store_cache_put(f->store, KEY, &build, &progress, &err), -ECANCELED);
	assert_string_equal(err.text, "the wait for another command was cancelled");
	assert_int_equal(gc_collect(&gc, &err), -ECANCELED);
	close(TAKE_FD(held));
	assert_int_equal(store_cache_put(f->store, KEY, &build, &progress, &err), 0);
	assert_int_equal(gc_collect(&gc, &err), 0);
	gc_done(&gc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(equal_files_become_one_blob),
		TEST(a_blob_that_was_cut_short_is_replaced),
		TEST(only_regular_files_become_blobs),
		TEST(a_cache_hit_needs_the_fingerprint),
		TEST(the_cache_keeps_the_latest_builds_and_outlives_damage),
		TEST(a_wait_for_the_stores_lock_can_be_cancelled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
