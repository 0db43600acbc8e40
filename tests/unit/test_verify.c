/* SPDX-License-Identifier: Apache-2.0 */
/* mvm_template_verify() and mvm_template_rollback(), stopped in their checks. */
#include <inttypes.h>
#include <mvm/revisions.h>
#include <stdio.h>
#include <unistd.h>

#include "start/context.h"
#include "store/trust.h"
#include "store_fixture.h"

#define LARGE_BYTES                                                                                \
	((off_t)1 << 30) /* a hole, whose digest takes longer than a tenth of a second */

/* The store's fixture, seen through the library. */
static struct mvm seen(void **state)
{
	return (struct mvm){ .store = ((struct fixture *)*state)->store };
}

/* Publish two sound revisions; a start has checked the current one, r2.  Returns r2's folder. */
static int make_two(void **state)
{
	struct store *store = ((struct fixture *)*state)->store;
	save_spec(store, "web");
	assert_int_equal(publish(store, "web", "r1", "one"), 1);
	assert_int_equal(publish(store, "web", "r2", "two"), 1);
	assert_int_equal(store_current_set(store, "web", "r2", NULL), 0);
	int dir = store_revision_open(store, "web", "r2", NULL);
	assert_true(dir >= 0);
	put_file(dir, STORE_VERIFIED, "");
	return dir;
}

static enum mvm_progress_kind last_event;

static int stop_at(void *arg, const struct mvm_progress_event *event)
{
	last_event = event->kind;
	return event->kind == *(enum mvm_progress_kind *)arg;
}

static int open_readable(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A whole check, which a descriptor or the receiver stops. */
static void assert_verify_stops(struct mvm *mvm, const struct mvm_progress *progress)
{
	struct mvm_verify_result *result = NULL;
	struct mvm_error err = { 0 };
	assert_int_equal(mvm_template_verify(mvm, NULL, progress, &result, &err), -ECANCELED);
	assert_int_equal(err.code, -ECANCELED);
	assert_null(result);
}

static void a_cancelled_check_calls_nothing_damaged(void **state)
{
	enum mvm_progress_kind kind = MVM_PROGRESS_BEGIN;
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm_verify_result *result = NULL;
	struct mvm mvm = seen(state);
	AUTO_CLOSE int dir = make_two(state);
	AUTO_CLOSE int readable = open_readable();

	progress.cancel_fd = &readable;
	assert_verify_stops(&mvm, &progress);
	progress.cancel_fd = NULL;
	progress.fn = stop_at;
	progress.arg = &kind;
	assert_verify_stops(&mvm, &progress);
	assert_int_equal(faccessat(dir, STORE_VERIFIED, F_OK, 0), 0);

	assert_int_equal(mvm_template_verify(&mvm, NULL, NULL, &result, NULL), 0);
	assert_int_equal(result->n_revisions, 2);
	assert_int_equal(result->n_problems, 0);
	mvm_verify_result_free(result);
}

static uint64_t bytes_read(void)
{
	AUTO_FREE char *text = NULL;
	uint64_t n = 0;
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/self/io", 4096, &text, NULL), 0);
	assert_int_equal(sscanf(text, "rchar: %" SCNu64, &n), 1);
	return n;
}

static void a_check_stops_within_a_large_file(void **state)
{
	enum mvm_progress_kind kind = MVM_PROGRESS_UPDATE;
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm mvm = seen(state);
	AUTO_CLOSE int dir = make_two(state);

	/* its digest is wrong, but the check does not get that far */
	assert_int_equal(mkdirat(dir, "snapshot", 0700), 0);
	put_file(dir, "snapshot/mem.bin", "memory");
	assert_int_equal(unlinkat(dir, "checksums.json", 0), 0);
	assert_int_equal(store_checksums_write(dir, "web", "r2", NULL, 0, NULL, NULL), 0);
	AUTO_CLOSE int mem_fd = openat(dir, "snapshot/mem.bin", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(mem_fd, LARGE_BYTES), 0);

	progress.fn = stop_at;
	progress.arg = &kind;
	uint64_t before = bytes_read();
	assert_verify_stops(&mvm, &progress);
	assert_true(bytes_read() - before < (uint64_t)LARGE_BYTES);
	assert_int_equal(faccessat(dir, STORE_VERIFIED, F_OK, 0), 0);
}

/* ---- rollback ---- */

static void assert_current(void **state, const char *expected)
{
	char current[MVM_REVISION_SIZE];
	struct store *store = ((struct fixture *)*state)->store;
	assert_int_equal(store_current_get(store, "web", current, NULL), 0);
	assert_string_equal(current, expected);
}

static int roll_back(struct mvm *mvm, const struct mvm_progress *progress, struct mvm_error *err)
{
	char from[MVM_REVISION_SIZE], to[MVM_REVISION_SIZE];
	return mvm_template_rollback(mvm, "web", "r1", progress, from, to, err);
}

static void a_cancelled_rollback_leaves_the_current_revision(void **state)
{
	static const enum mvm_progress_kind kinds[] = { MVM_PROGRESS_BEGIN, MVM_PROGRESS_END };
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm_error err = { 0 };
	struct mvm mvm = seen(state);
	AUTO_CLOSE int readable = open_readable();

	close(make_two(state));
	progress.cancel_fd = &readable;
	assert_int_equal(roll_back(&mvm, &progress, &err), -ECANCELED);
	assert_int_equal(err.code, -ECANCELED);
	assert_string_equal(err.reason, ""); /* not that of damage */
	assert_current(state, "r2");
	progress.cancel_fd = NULL;
	progress.fn = stop_at;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(kinds); i++) {
		enum mvm_progress_kind kind = kinds[i];
		progress.arg = &kind;
		assert_int_equal(roll_back(&mvm, &progress, &err), -ECANCELED);
		assert_int_equal(last_event, kind == MVM_PROGRESS_END ? kind : MVM_PROGRESS_FAILED);
		assert_current(state, "r2");
	}
	assert_int_equal(roll_back(&mvm, NULL, NULL), 1);
	assert_current(state, "r1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_cancelled_check_calls_nothing_damaged),
		TEST(a_check_stops_within_a_large_file),
		TEST(a_cancelled_rollback_leaves_the_current_revision),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
