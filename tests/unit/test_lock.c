/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/lock.h"
#include "scratch.h"

static void an_exclusive_lock_keeps_others_out_and_names_its_holder(void **state)
{
	int dir = scratch_fd(state);
	char holder[LOCK_HOLDER_SIZE] = "", mine[LOCK_HOLDER_SIZE];
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "template build web", NULL);

	assert_true(held >= 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	(void)snprintf(mine, sizeof(mine), "%d template build web", (int)getpid());
	assert_string_equal(holder, mine);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT | LOCK_SHARED, NULL, NULL), -EBUSY);
	assert_true(lock_is_held_at(dir, "l"));

	(void)close(TAKE_FD(held));
	assert_false(lock_is_held_at(dir, "l"));
	AUTO_CLOSE int again = lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder);
	assert_true(again >= 0);
}

static void shared_locks_share_and_keep_writers_out(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int a = lock_take_at(dir, "l", LOCK_SHARED, NULL, NULL);
	AUTO_CLOSE int b = lock_take_at(dir, "l", LOCK_SHARED | LOCK_NOWAIT, NULL, NULL);
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -EBUSY);
	assert_false(lock_is_held_at(dir, "l")); /* asks for exclusive holders only */
}

static void a_longer_holder_is_cut_and_a_shorter_replaces_it(void **state)
{
	int dir = scratch_fd(state);
	char holder[LOCK_HOLDER_SIZE] = "", name[300];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, name, NULL);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	assert_int_equal(strlen(holder), LOCK_HOLDER_SIZE - 1);
	(void)close(TAKE_FD(held));

	held = lock_take_at(dir, "l", 0, "short", NULL);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	assert_string_equal(strchr(holder, ' '), " short");
}

static void a_missing_lock_file_is_not_locked(void **state)
{
	assert_false(lock_is_held_at(scratch_fd(state), "none"));
}

static void a_link_is_no_lock_file(void **state)
{
	int dir = scratch_fd(state);
	assert_int_equal(symlinkat("/etc/passwd", dir, "l"), 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -ELOOP);
}

static void a_killed_holder_leaves_no_lock_behind(void **state)
{
	int dir = scratch_fd(state);
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (lock_take_at(dir, "l", 0, "dying", NULL) >= 0)
			(void)!write(ready[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	assert_true(lock_is_held_at(dir, "l"));
	assert_int_equal(kill(child, SIGKILL), 0);

	/* waits for the end of the holder, without a sleep */
	AUTO_CLOSE int mine = lock_take_at(dir, "l", 0, "next", NULL);
	assert_true(mine >= 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_exclusive_lock_keeps_others_out_and_names_its_holder),
		T(shared_locks_share_and_keep_writers_out),
		T(a_longer_holder_is_cut_and_a_shorter_replaces_it),
		T(a_missing_lock_file_is_not_locked),
		T(a_link_is_no_lock_file),
		T(a_killed_holder_leaves_no_lock_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
