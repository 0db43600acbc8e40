/* SPDX-License-Identifier: Apache-2.0 */
/* An instance gets another name, whether it runs or has ended, and whoever is killed meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/lock.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "supervisor_world.h"

/* In a child: end it before or after this many renames. */
static int kill_before, kill_after;

int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

static void count_down(int *left)
{
	if (*left > 0 && --*left == 0)
		_exit(9);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	count_down(&kill_before);
	int r = __real_renameat(from_fd, from, to_fd, to);
	count_down(&kill_after);
	return r;
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	count_down(&kill_before);
	int r = __real_renameat2(from_fd, from, to_fd, to, flags);
	count_down(&kill_after);
	return r;
}

/* Make an instance that has ended. */
static void make_ended(struct world *x, const char *name)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	struct record rec = x->record; /* borrows */
	rec.name = (char *)(uintptr_t)name;
	rec.state = RECORD_EXITED;
	assert_int_equal(instance_folder_make(x->instances_fd, &rec, &f), 0);
}

static int rename_it(struct world *x, const char *from, const char *to, struct mvm_error *err)
{
	return instance_rename(x->instances_fd, from, to, x->logs_fd, NULL, err);
}

static int look(struct world *x, const char *name, struct record *ret)
{
	return instance_load(x->instances_fd, name, ret, NULL, NULL);
}

static void one_that_has_ended_is_renamed(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) rec = { 0 };
	struct mvm_error err = { 0 };
	make_ended(x, "one");
	make_ended(x, "other");
	assert_int_equal(rename_it(x, "one", "other", &err), -EEXIST);
	assert_string_equal(err.reason, "instance-exists");
	assert_int_equal(rename_it(x, "one", "one", &err), -EEXIST);
	assert_string_equal(err.text, "instance 'one' has that name already");
	assert_int_equal(rename_it(x, "one", "Two!", &err), -EINVAL);
	assert_int_equal(rename_it(x, "none", "two", &err), -ENOENT);
	assert_int_equal(mkdirat(x->instances_fd, "foreign", 0700), 0);
	assert_int_equal(rename_it(x, "one", "foreign", &err), -EEXIST);
	assert_int_equal(events(x, "renamed", NULL), 0);

	assert_int_equal(rename_it(x, "one", "two", &err), 0);
	assert_false(has_folder(x, "one"));
	assert_int_equal(look(x, "two", &rec), 0);
	assert_string_equal(rec.name, "two");
	assert_string_equal(rec.former_name, "one");
	assert_int_equal(events(x, "renamed", "it was 'one'"), 1);
	make_ended(x, "one"); /* the name is free again */
	assert_int_equal(rename_it(x, "two", "three", &err), 0);
	assert_int_equal(instance_remove(x->instances_fd, "three", false, false, NULL, &err), 0);
}

/* Rename "one" in a child, which ends at that step.  Returns false when it got through. */
static bool killed_at(struct world *x, int before, int after)
{
	int status = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		kill_before = before;
		kill_after = after;
		_exit(rename_it(x, "one", "two", NULL) < 0 ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9));
	return WEXITSTATUS(status) == 9;
}

static void a_kill_leaves_the_old_or_the_new_name(void **state)
{
	struct world *x = *state;
	unsigned cut_short = 0;
	for (int i = 0;; i++) {
		AUTO_DONE(record) rec = { 0 };
		struct mvm_error err = { 0 };
		AUTO_FREE char *why = NULL;
		make_ended(x, "one");
		bool killed = killed_at(x, i % 2 ? 0 : i / 2 + 1, i % 2 ? i / 2 + 1 : 0);
		bool old = has_folder(x, "one");
		const char *name = old ? "one" : "two", *other = old ? "two" : "one";
		assert_int_equal(look(x, name, &rec), 0);
		assert_string_equal(rec.name, name);
		assert_false(has_folder(x, other));
		assert_int_equal(look(x, other, &rec), -ENOENT);
		assert_int_equal(instance_settle(x->instances_fd, name, -1, &why, &err), 0);
		if (rec.former_name && old)
			cut_short++; /* the record has the new name */
		/* and it can be renamed and removed */
		assert_int_equal(rename_it(x, name, "three", &err), 0);
		assert_int_equal(
			instance_remove(x->instances_fd, "three", false, false, NULL, &err), 0);
		if (!killed) {
			assert_false(old);
			break;
		}
	}
	assert_int_equal(cut_short, 2); /* after the record, and before the folder */
}

static void a_copy_has_no_right_to_a_former_name(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) rec = { 0 };
	make_ended(x, "one");
	assert_true(killed_at(x, 0, 1)); /* the record has both names */
	AUTO_CLOSE int dir_fd = dir_open_at(x->instances_fd, "one");
	assert_int_equal(record_load(dir_fd, &rec, NULL), 0);
	assert_string_equal(rec.name, "two");
	assert_int_equal(renameat(x->instances_fd, "one", x->instances_fd, "moved"), 0);
	AUTO_CLOSE int copy_fd = dir_make_at(x->instances_fd, "one");
	assert_int_equal(record_save(copy_fd, &rec, NULL), 0);
	AUTO_CLOSE int lock_fd = lock_take_at(copy_fd, INSTANCE_LOCK_NAME, 0, "test", NULL);
	auto_close(&lock_fd);
	AUTO_DONE(record) found = { 0 };
	assert_int_equal(look(x, "one", &found), -ENOENT);
	assert_int_equal(look(x, "moved", &found), -ENOENT);
}

static void one_that_runs_is_renamed(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) rec = { 0 };
	struct mvm_error err = { 0 };
	struct control before, after;
	x->record.remove_at_end = true;
	start_up(x);
	make_ended(x, "other");
	connect_client(x, &before);
	assert_int_equal(rename_it(x, "web-1", "other", &err), -EEXIST);
	assert_int_equal(rename_it(x, "web-1", "Two!", &err), -EINVAL);
	assert_int_equal(faccessat(x->folder.dir_fd, INSTANCE_RENAME_NAME, F_OK, 0), -1);
	if (rename_it(x, "web-1", "web-2", &err) < 0)
		fail_msg("%s", err.text);
	assert_false(has_folder(x, "web-1"));
	inspect(x, &rec); /* by the supervisor */
	assert_string_equal(rec.name, "web-2");
	assert_string_equal(rec.former_name, "web-1");
	assert_string_equal(rec.hostname, "web-1");
	record_done(&rec);
	load_record(x, &rec);
	assert_string_equal(rec.name, "web-2");
	assert_int_equal(rec.state, RECORD_RUNNING);
	assert_int_equal(events(x, "renamed", "it was 'web-1'"), 1);

	/* open connections go on, and the socket has moved along */
	connect_client(x, &after);
	pause_vm(x, &before);
	assert_int_equal(rename_it(x, "web-2", "web-1", &err), 0); /* a paused one, too */
	uint32_t stop = begin_stop(&after, 0);
	expect_killed(x);
	assert_int_equal(wait_reply(&after, stop, NULL), 0);
	control_done(&before);
	control_done(&after);
	expect_end(x, 0);
	assert_false(has_folder(x, "web-1")); /* it has removed itself */
	assert_int_equal(events(x, "removed", NULL), 1);
}

static void a_restart_keeps_the_new_name_and_the_old_host_name(void **state)
{
	struct world *x = *state;
	AUTO_DONE(record) rec = { 0 };
	struct mvm_error err = { 0 };
	x->record.restart = RECORD_RESTART_ALWAYS;
	start_up(x);
	assert_int_equal(rename_it(x, "web-1", "web-2", &err), 0);
	power_off(x);
	boot_again(x);
	inspect(x, &rec);
	assert_string_equal(rec.name, "web-2");
	assert_string_equal(rec.hostname, "web-1");
	kill(x->supervisor, SIGKILL);
	expect_killed(x);
}

static void an_attached_or_held_one_keeps_its_name(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	x->record.attached = true;
	start_up(x);
	assert_int_equal(rename_it(x, "web-1", "web-2", &err), -EINVAL);
	assert_non_null(strstr(err.text, "the command that started it"));
	assert_true(has_folder(x, "web-1"));
}

static void one_that_starts_is_not_renamed(void **state)
{
	struct world *x = *state;
	struct mvm_error err = { 0 };
	launch(x);
	expect_spawn(x);
	assert_int_equal(rename_it(x, "web-1", "web-2", &err), -EBUSY);
	assert_true(has_folder(x, "web-1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_that_has_ended_is_renamed),
		TEST(a_kill_leaves_the_old_or_the_new_name),
		TEST(a_copy_has_no_right_to_a_former_name),
		TEST(one_that_runs_is_renamed),
		TEST(a_restart_keeps_the_new_name_and_the_old_host_name),
		TEST(an_attached_or_held_one_keeps_its_name),
		TEST(one_that_starts_is_not_renamed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
