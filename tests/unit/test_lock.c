/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/progress.h"
#include "scratch.h"

static void an_exclusive_lock_keeps_others_out_and_names_its_holder(void **state)
{
	int dir = scratch_fd(state);
	char holder[LOCK_HOLDER_SIZE] = "", mine[LOCK_HOLDER_SIZE];
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "template build web", NULL);

	assert_true(held >= 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	snprintf(mine, sizeof(mine), "%d template build web", (int)getpid());
	assert_string_equal(holder, mine);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT | LOCK_SHARED, NULL, NULL), -EBUSY);
	assert_true(lock_is_held_at(dir, "l"));

	close(TAKE_FD(held));
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
	assert_false(lock_is_held_at(dir, "l")); /* only exclusive holders count */
}

/* A holder is told at once; whoever only looks is waited for. */
static void a_lock_is_taken_past_looks(void **state)
{
	int dir = scratch_fd(state), ends[2];
	char byte = 0;
	assert_int_equal(pipe(ends), 0);
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "x", NULL);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT | LOCK_PAST_LOOKS, "y", NULL), -EBUSY);
	close(TAKE_FD(held));

	pid_t looks = fork();
	if (looks == 0) {
		int fd = lock_take_at(dir, "l", LOCK_SHARED, NULL, NULL);
		if (fd < 0 || write(ends[1], &byte, 1) != 1)
			_exit(1);
		usleep(200000);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	AUTO_CLOSE int taken = lock_take_at(dir, "l", LOCK_NOWAIT | LOCK_PAST_LOOKS, "y", NULL);
	assert_true(taken >= 0);
	assert_true(lock_is_held_at(dir, "l"));
	assert_int_equal(waitpid(looks, NULL, 0), looks);
	close(ends[0]);
	close(ends[1]);
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
	close(TAKE_FD(held));

	held = lock_take_at(dir, "l", 0, "short", NULL);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	assert_string_equal(strchr(holder, ' '), " short");
}

static void a_missing_lock_file_is_not_locked(void **state)
{
	assert_false(lock_is_held_at(scratch_fd(state), "none"));
}

static void a_process_that_inherits_a_lock_may_name_itself(void **state)
{
	int dir = scratch_fd(state);
	char holder[LOCK_HOLDER_SIZE], mine[LOCK_HOLDER_SIZE];
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "somebody with a longer name", NULL);
	lock_sign(held, "heir");
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", holder), -EBUSY);
	snprintf(mine, sizeof(mine), "%d heir", (int)getpid());
	assert_string_equal(holder, mine);
}

static void a_link_is_no_lock_file(void **state)
{
	int dir = scratch_fd(state);
	assert_int_equal(symlinkat("/etc/passwd", dir, "l"), 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -ELOOP);
	assert_true(lock_is_foreign(-ELOOP));
	assert_string_equal(lock_why(-ELOOP), "it is a symbolic link");
}

static void a_folder_is_no_lock_file(void **state)
{
	int dir = scratch_fd(state);
	assert_int_equal(mkdirat(dir, "l", 0700), 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -EISDIR);
	assert_true(lock_is_foreign(-EISDIR));
	assert_string_equal(lock_why(-EISDIR), "it is a folder");
}

/* After `cp -al` of a data folder, both copies have the same lock file. */
static void a_lock_file_with_two_names_is_told_from_a_foreign_one(void **state)
{
	int dir = scratch_fd(state);
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "x", NULL);
	assert_int_equal(linkat(dir, "l", dir, "copy", 0), 0);
	auto_close(&held);
	held = -1;
	assert_int_equal(lock_take_at(dir, "copy", LOCK_NOWAIT, "x", NULL), -EMLINK);
	assert_false(lock_is_foreign(-EMLINK));
	assert_int_equal(unlinkat(dir, "l", 0), 0);
	held = lock_take_at(dir, "copy", LOCK_NOWAIT, "x", NULL);
	assert_true(held >= 0);
}

/* A crash may cut the holder's text anywhere. */
static void a_half_written_lock_file_is_taken(void **state)
{
	static const char *const texts[] = { "", "1", "123", "123 ", "123 pu" };
	int dir = scratch_fd(state);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(file_create_at(dir, "half", texts[i], strlen(texts[i]), 0600), 0);
		AUTO_CLOSE int fd = lock_take_at(dir, "half", LOCK_NOWAIT, "x", NULL);
		assert_true(fd >= 0);
		assert_true(lock_is_own_at(dir, "half"));
		lock_remove_at(dir, "half");
	}
}

static void another_users_file_is_not_overwritten(void **state)
{
	static const char precious[] = "precious\n";
	int dir = scratch_fd(state);
	char text[64] = "";
	AUTO_CLOSE int fd = openat(dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, precious, strlen(precious)), strlen(precious));
	assert_int_equal(linkat(dir, "file", dir, "l", 0), 0);
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -EPERM);
	assert_int_equal(unlinkat(dir, "file", 0), 0); /* one name again, but no holder's text */
	assert_int_equal(lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL), -EPERM);
	assert_false(lock_is_own_at(dir, "l"));
	assert_int_equal(pread(fd, text, sizeof(text), 0), strlen(precious));
	assert_string_equal(text, precious);
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
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	assert_true(lock_is_held_at(dir, "l"));
	assert_int_equal(kill(child, SIGKILL), 0);

	/* waits for the end of the holder, without a sleep */
	AUTO_CLOSE int mine = lock_take_at(dir, "l", 0, "next", NULL);
	assert_true(mine >= 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/*
 * Start a child that waits for the lock l, reports when it has the lock, and ends when told to.
 * Returns once the child has opened the file that exists now.
 */
static pid_t start_waiting(int dir, int held, int (*take)(int dir), int ret_has[2], int ret_end[2])
{
	struct inotify_event event;
	AUTO_CLOSE int opened = inotify_init1(IN_CLOEXEC);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/l", dir);
	assert_true(inotify_add_watch(opened, path, IN_OPEN) >= 0);
	assert_int_equal(pipe(ret_has), 0);
	assert_int_equal(pipe(ret_end), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char byte;
		close(held);
		close(ret_end[1]);
		if (take(dir) >= 0 && write(ret_has[1], "x", 1) == 1)
			(void)!read(ret_end[0], &byte, 1);
		_exit(0);
	}
	assert_int_equal(read(opened, &event, sizeof(event)), sizeof(event));
	return child;
}

/* Tell the child that has the lock to end, and wait for it. */
static void end_waiting(pid_t child, const int has[2], const int end[2])
{
	close(end[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(end[0]);
	close(has[0]);
	close(has[1]);
}

static int take_l(int dir)
{
	return lock_take_at(dir, "l", 0, "waited", NULL);
}

static int take_span_l(int dir)
{
	static const struct lock_span third = { .first = 3, .n = 1 };
	return lock_span_at(dir, "l", &third, LOCK_SHARED);
}

static void a_waiter_for_a_removed_lock_gets_the_new_lock(void **state)
{
	static const struct lock_span all = { 0 };
	static const struct {
		int (*take)(int dir);
		bool span;
	} cases[] = { { take_l, false }, { take_span_l, true } };
	int dir = scratch_fd(state);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int has[2], end[2];
		char byte;
		AUTO_CLOSE int held = cases[i].span ? lock_span_at(dir, "l", &all, 0)
						    : lock_take_at(dir, "l", 0, "remove", NULL);
		assert_true(held >= 0);
		pid_t child = start_waiting(dir, held, cases[i].take, has, end);
		lock_remove_at(dir, "l");
		assert_int_equal(faccessat(dir, "l", F_OK, 0), -1);
		close(TAKE_FD(held));
		assert_int_equal(read(has[0], &byte, 1), 1);
		/* the waiter's lock keeps out later processes */
		assert_int_equal(cases[i].span ? lock_span_at(dir, "l", &all, LOCK_NOWAIT)
					       : lock_take_at(dir, "l", LOCK_NOWAIT, "x", NULL),
				 -EBUSY);
		end_waiting(child, has, end);
	}
}

static void locks_of_one_file_are_told_apart_by_their_number(void **state)
{
	static const struct lock_span all = { 0 }, one = { 1, 1 }, two = { 2, 1 },
				      far = { UINT64_MAX >> 2, 1 };
	int dir = scratch_fd(state);

	assert_false(lock_span_is_held_at(dir, "l", &all));
	AUTO_CLOSE int a = lock_span_at(dir, "l", &one, LOCK_SHARED);
	AUTO_CLOSE int b = lock_span_at(dir, "l", &one, LOCK_SHARED | LOCK_NOWAIT);
	AUTO_CLOSE int c = lock_span_at(dir, "l", &far, LOCK_NOWAIT);
	assert_true(a >= 0 && b >= 0 && c >= 0);
	assert_true(lock_span_is_held_at(dir, "l", &one));
	assert_true(lock_span_is_held_at(dir, "l", &far));
	assert_false(lock_span_is_held_at(dir, "l", &two));
	assert_int_equal(lock_span_at(dir, "l", &one, LOCK_NOWAIT), -EBUSY);
	assert_int_equal(lock_span_at(dir, "l", &all, LOCK_NOWAIT), -EBUSY);
	close(TAKE_FD(a));
	assert_true(lock_span_is_held_at(dir, "l", &one));
	close(TAKE_FD(b));
	close(TAKE_FD(c));
	AUTO_CLOSE int d = lock_span_at(dir, "l", &all, LOCK_NOWAIT);
	assert_true(d >= 0);
	assert_true(lock_span_is_held_at(dir, "l", &two));
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

static int wait_l(int dir)
{
	return lock_await_at(dir, "l", -1, DEADLINE_NONE, NULL);
}

static void a_wait_ends_with_the_holder_and_creates_nothing(void **state)
{
	int dir = scratch_fd(state);
	int has[2], end[2];
	char byte;

	assert_int_equal(wait_l(dir), 0);
	assert_int_equal(faccessat(dir, "l", F_OK, 0), -1);
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "x", NULL);
	assert_true(held >= 0);
	pid_t child = start_waiting(dir, held, wait_l, has, end);
	close(TAKE_FD(held));
	assert_int_equal(read(has[0], &byte, 1), 1);
	end_waiting(child, has, end);
}

static void waiting_for_a_lock_can_be_cancelled(void **state)
{
	int dir = scratch_fd(state), pipe_fds[2];
	assert_int_equal(pipe(pipe_fds), 0);
	AUTO_CLOSE int cancel = pipe_fds[0];
	AUTO_CLOSE int fire = pipe_fds[1];
	const struct mvm_progress to = { .cancel_fd = &cancel };

	assert_int_equal(lock_await_at(dir, "missing", -1, DEADLINE_NONE, &to), 0);
	AUTO_CLOSE int held = lock_take_at(dir, "l", 0, "x", NULL);
	assert_int_equal(write(fire, "x", 1), 1);
	assert_int_equal(lock_await_at(dir, "l", -1, DEADLINE_NONE, &to), -ECANCELED);
	assert_int_equal(lock_await_at(dir, "l", -1, clock_now_ns() + NS_PER_MS, NULL), -ETIMEDOUT);
	assert_true(lock_is_held_at(dir, "l")); /* the cancelled waiter has not taken it */
	close(TAKE_FD(held));
	char c;
	assert_int_equal(read(cancel, &c, 1), 1);
	assert_int_equal(lock_await_at(dir, "l", -1, DEADLINE_NONE, &to), 0);
	assert_false(lock_is_held_at(dir, "l"));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static int take_folder(int dir)
{
	AUTO_CLOSE int fd = openat(dir, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return lock_take_fd(fd, DEADLINE_NONE, NULL);
}

static void a_folder_is_locked_until_a_deadline(void **state)
{
	int dir = scratch_fd(state), has[2], end[2];
	char byte;
	assert_int_equal(mkdirat(dir, "l", 0700), 0);
	AUTO_CLOSE int held = openat(dir, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int other = openat(dir, "l", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(lock_take_fd(held, DEADLINE_NONE, NULL), 0);
	assert_int_equal(lock_take_fd(other, clock_now_ns() + NS_PER_MS, NULL), -EBUSY);
	pid_t child = start_waiting(dir, held, take_folder, has, end);
	close(TAKE_FD(held));
	assert_int_equal(read(has[0], &byte, 1), 1);
	end_waiting(child, has, end);
	assert_int_equal(lock_take_fd(other, DEADLINE_NONE, NULL), 0);
}

static void *wait_for_it(void *arg)
{
	int *fd = arg;
	*fd = lock_take_fd(*fd, clock_deadline_ns(100000), NULL);
	return NULL;
}

/* mvmd's threads wait in children, which have copies of all its descriptors. */
static void what_is_let_go_of_is_free_although_another_thread_waits(void **state)
{
	int dir = scratch_fd(state), waiting;
	pthread_t thread;
	siginfo_t info;
	AUTO_CLOSE int held = lock_take_at(dir, "held", 0, "x", NULL);
	AUTO_CLOSE int awaited = lock_take_at(dir, "awaited", 0, "x", NULL);
	AUTO_CLOSE int other = openat(dir, "awaited", O_RDWR | O_CLOEXEC);
	assert_true(held >= 0 && awaited >= 0 && other >= 0);
	waiting = other;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_it, &waiting), 0);
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		assert_int_equal(errno, ECHILD); /* it has no child yet */
	close(TAKE_FD(held));
	AUTO_CLOSE int again = openat(dir, "held", O_RDWR | O_CLOEXEC);
	assert_int_equal(lock_take_fd(again, clock_deadline_ns(60000), NULL), 0);
	close(TAKE_FD(awaited));
	pthread_join(thread, NULL);
	assert_int_equal(waiting, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_exclusive_lock_keeps_others_out_and_names_its_holder),
		T(shared_locks_share_and_keep_writers_out),
		T(a_lock_is_taken_past_looks),
		T(a_longer_holder_is_cut_and_a_shorter_replaces_it),
		T(a_missing_lock_file_is_not_locked),
		T(a_link_is_no_lock_file),
		T(a_folder_is_no_lock_file),
		T(a_lock_file_with_two_names_is_told_from_a_foreign_one),
		T(a_half_written_lock_file_is_taken),
		T(a_process_that_inherits_a_lock_may_name_itself),
		T(another_users_file_is_not_overwritten),
		T(a_wait_ends_with_the_holder_and_creates_nothing),
		T(a_killed_holder_leaves_no_lock_behind),
		T(a_waiter_for_a_removed_lock_gets_the_new_lock),
		T(locks_of_one_file_are_told_apart_by_their_number),
		T(a_folder_is_locked_until_a_deadline),
		T(what_is_let_go_of_is_free_although_another_thread_waits),
		cmocka_unit_test_setup_teardown(waiting_for_a_lock_can_be_cancelled, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
