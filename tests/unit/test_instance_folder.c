/* SPDX-License-Identifier: Apache-2.0 */
/* Folders among the instances: which folders and files in them are mvm's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include "instance/folder.h"
#include "instance/instance.h"
#include "scratch.h"

#define TEXT(s)		 ((char[]){ s })
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

/* Make a lost instance: a folder whose lock is free. */
static int make_lost(int instances_fd, const char *name, enum record_purpose purpose)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	const struct record record = {
		.name = (char *)(uintptr_t)name,
		.template_id = TEXT("web"),
		.revision = TEXT("r1"),
		.state = RECORD_RUNNING,
		.backend = TEXT("qemu"),
		.cmdline = TEXT(""),
		.created_at = TEXT("2026-01-31T12:00:00Z"),
		.remove_at_end = true,
		.purpose = purpose,
		.vcpus = 1,
		.mem_mib = 1,
	};
	int r = instance_folder_make(instances_fd, &record, &f);
	return r < 0 ? r : TAKE_FD(f.dir_fd);
}

static int settle(int instances_fd, const char *name)
{
	const char *why;
	return instance_settle(instances_fd, name, -1, &why, NULL);
}

static void assert_names(int dir_fd, size_t n)
{
	AUTO_DONE(strv) names = { 0 };
	assert_int_equal(dir_list(dir_fd, &names), 0);
	assert_int_equal(names.n, n);
}

static void a_name_in_use_leaves_nothing_behind(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
	assert_true(dir >= 0);
	assert_int_equal(make_lost(fd, "one", RECORD_FOR_USER), -EEXIST);
	assert_int_equal(mkdirat(fd, "empty", 0700), 0);
	assert_int_equal(make_lost(fd, "empty", RECORD_FOR_USER), -EEXIST);
	assert_names(fd, 2);
	assert_int_equal(settle(fd, "one"), INSTANCE_LOST);
	assert_int_equal(settle(fd, "empty"), INSTANCE_STRAY);
	assert_names(fd, 1);
}

static void a_foreign_file_keeps_a_lost_instance(void **state)
{
	static const struct {
		const char *folder, *deeper, *file;
	} foreign[] = {
		{ NULL, NULL, "notes" },
		{ "console.log", NULL, NULL },
		{ "lock.d", NULL, NULL },
		{ "firecracker-0123456789abcdef", NULL, "file" },
		{ "firecracker-0123456789abcdef", "firecracker-0123456789abcdef/deep", "file" },
		{ "firecracker-mine", NULL, NULL },
	};
	int fd = scratch_fd(state);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(foreign); i++) {
		AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
		const char *top = foreign[i].folder, *deep = foreign[i].deeper;
		const char *folder = deep ? deep : top;
		AUTO_FREE char *file = str_printf("%s%s%s", folder ? folder : "", top ? "/" : "",
						  foreign[i].file);
		if (top)
			assert_int_equal(mkdirat(dir, top, 0700), 0);
		if (deep)
			assert_int_equal(mkdirat(dir, deep, 0700), 0);
		if (foreign[i].file)
			assert_int_equal(file_create_at(dir, file, "x", 1, 0600), 0);
		assert_int_equal(settle(fd, "one"), INSTANCE_LOST);
		assert_int_equal(settle(fd, "one"), 0); /* a failed instance, which stays */
		struct mvm_error err = { 0 };
		assert_int_equal(instance_remove(fd, "one", false, false, &err), -ENOTEMPTY);
		assert_string_equal(err.reason, "instance-not-alone");
		assert_non_null(strstr(err.text, top ? top : foreign[i].file));
		assert_int_equal(
			faccessat(dir, foreign[i].file ? file : top, F_OK, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(instance_remove(fd, "one", false, true, NULL), 0);
		assert_names(fd, 0);
	}
}

static void files_that_firecracker_leaves_are_removed(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
	AUTO_CLOSE int work = dir_make_at(dir, "firecracker-0123456789abcdef");
	AUTO_CLOSE int program = dir_make_at(work, "firecracker");
	AUTO_CLOSE int root = dir_make_at(program, "root");
	assert_int_equal(symlinkat("/proc/self/fd/3/vmlinux", work, "vmlinux"), 0);
	assert_int_equal(file_create_at(work, "vmstate.bin", "x", 1, 0600), 0);
	assert_int_equal(file_create_at(root, "firecracker", "x", 1, 0600), 0);
	assert_int_equal(file_create_at(root, "rootfs.ext4", "", 0, 0600), 0);
	assert_int_equal(settle(fd, "one"), INSTANCE_LOST);
	assert_names(fd, 0);
}

/* When a VM of a pool is taken, its folder gets the new name before its record does. */
static void only_a_vm_of_a_pool_may_have_another_name(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int user = make_lost(fd, "one", RECORD_FOR_USER);
	AUTO_CLOSE int pool = make_lost(fd, "two", RECORD_FOR_POOL);
	assert_int_equal(renameat(fd, "one", fd, "mine"), 0);
	assert_int_equal(renameat(fd, "two", fd, "taken"), 0);
	assert_int_equal(settle(fd, "mine"), INSTANCE_STRAY);
	assert_int_equal(settle(fd, "taken"), INSTANCE_LOST);
	assert_names(fd, 1);
	assert_names(user, 3);
	assert_names(pool, 0);
}

static void a_renamed_folder_is_not_removed_as_an_instance(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int user = make_lost(fd, "one", RECORD_FOR_USER);
	AUTO_CLOSE int pool = make_lost(fd, "two", RECORD_FOR_POOL);
	struct mvm_error err = { 0 };
	assert_int_equal(renameat(fd, "one", fd, "mine"), 0);
	assert_int_equal(renameat(fd, "two", fd, "taken"), 0);
	for (int force = 0; force < 2; force++) {
		assert_int_equal(instance_remove(fd, "mine", force, true, &err), -ENOENT);
		assert_string_equal(err.reason, "instance-copy");
	}
	assert_names(user, 3);
	assert_int_equal(instance_remove(fd, "taken", true, true, NULL), 0);
	assert_names(pool, 0);
}

static void an_instance_of_a_newer_mvm_is_no_stray(void **state)
{
	static const char text[] = "{\"schema_version\": 2}\n";
	int fd = scratch_fd(state);
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
	assert_int_equal(file_replace_unsynced_at(dir, RECORD_NAME, text, strlen(text), 0600), 0);
	assert_int_equal(settle(fd, "one"), 0);
	assert_names(dir, 3);
}

/* Does the process wait for a lock? */
static bool waits(pid_t pid)
{
	AUTO_FREE char *locks = NULL;
	char blocked[32];
	snprintf(blocked, sizeof(blocked), " %d ", (int)pid);
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/locks", 1 << 20, &locks, NULL), 0);
	for (char *line = strtok(locks, "\n"); line; line = strtok(NULL, "\n")) {
		if (strstr(line, "->") && strstr(line, blocked))
			return true;
	}
	return false;
}

/* The supervisor was killed, and another command is about to record that. */
static void a_connection_waits_until_the_instance_is_settled(void **state)
{
	int fd = scratch_fd(state);
	for (int socket_is_gone = 0; socket_is_gone < 2; socket_is_gone++) {
		AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
		AUTO_CLOSE int lock = instance_folder_lock(fd, dir, "settle");
		int answer[2];
		char text[256] = "";
		assert_true(lock >= 0);
		assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
		if (socket_is_gone)
			assert_int_equal(unlinkat(dir, INSTANCE_SOCKET_NAME, 0), 0);
		pid_t child = fork();
		if (child == 0) {
			struct mvm_instance *i;
			struct mvm_error err = { 0 };
			close(lock);
			int r = instance_connect(fd, "one", &i, &err);
			dprintf(answer[1], "%d %s", r, err.text);
			_exit(0);
		}
		close(answer[1]);
		struct pollfd said = { .fd = answer[0], .events = POLLIN };
		while (!waits(child) && poll(&said, 1, 1) == 0)
			;
		close(TAKE_FD(lock)); /* no supervisor updates the record any more */
		assert_true(read(answer[0], text, sizeof(text) - 1) > 0);
		close(answer[0]);
		assert_int_equal(waitpid(child, NULL, 0), child);
		assert_non_null(strstr(text, "-16 instance 'one' does not run: it failed: "));
		assert_int_equal(instance_remove(fd, "one", false, true, NULL), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(a_name_in_use_leaves_nothing_behind),
		IN_SCRATCH(a_foreign_file_keeps_a_lost_instance),
		IN_SCRATCH(files_that_firecracker_leaves_are_removed),
		IN_SCRATCH(only_a_vm_of_a_pool_may_have_another_name),
		IN_SCRATCH(a_renamed_folder_is_not_removed_as_an_instance),
		IN_SCRATCH(an_instance_of_a_newer_mvm_is_no_stray),
		IN_SCRATCH(a_connection_waits_until_the_instance_is_settled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
