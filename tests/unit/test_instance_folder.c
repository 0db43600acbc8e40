/* SPDX-License-Identifier: Apache-2.0 */
/* Folders among the instances: which folders and files in them are mvm's. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/sock.h"
#include "base/wait.h"
#include "instance/control.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "net/agent.h"
#include "net/message.h"
#include "scratch.h"

#define TEXT(s)		 ((char[]){ s })
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

static int make(int instances_fd, const char *name, enum record_purpose purpose,
		struct instance_folder *ret)
{
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
	return instance_folder_make(instances_fd, &record, ret);
}

/* Make a lost instance: a folder whose lock is free. */
static int make_lost(int instances_fd, const char *name, enum record_purpose purpose)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	int r = make(instances_fd, name, purpose, &f);
	return r < 0 ? r : TAKE_FD(f.dir_fd);
}

static int settle(int instances_fd, const char *name)
{
	AUTO_FREE char *why = NULL;
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
		assert_int_equal(instance_remove(fd, "one", false, false, NULL, &err), -ENOTEMPTY);
		assert_string_equal(err.reason, "instance-not-alone");
		assert_non_null(strstr(err.text, top ? top : foreign[i].file));
		assert_int_equal(
			faccessat(dir, foreign[i].file ? file : top, F_OK, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(instance_remove(fd, "one", false, true, NULL, NULL), 0);
		assert_names(fd, 0);
	}
}

static void write_ended(int dir_fd, bool removes_itself)
{
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(record_load(dir_fd, &rec, NULL), 0);
	rec.state = RECORD_EXITED;
	rec.remove_at_end = removes_itself;
	assert_int_equal(record_save(dir_fd, &rec, NULL), 0);
}

/* Its supervisor was killed between its last record and the removal. */
static void an_ended_instance_that_removes_itself_does_not_stay(void **state)
{
	static const struct {
		enum record_purpose purpose;
		bool removes_itself, is_copy, stays;
	} cases[] = {
		{ RECORD_FOR_USER, false, false, true },
		{ RECORD_FOR_USER, true, false, false },
		{ RECORD_FOR_USER, true, true, true },
		{ RECORD_FOR_POOL, false, false, false },
		{ RECORD_FOR_CAPTURE, false, false, false },
	};
	int fd = scratch_fd(state);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
		assert_int_equal(make(fd, "one", cases[i].purpose, &f), 0);
		write_ended(f.dir_fd, cases[i].removes_itself);
		assert_int_equal(file_create_at(f.dir_fd, "console.log", "x", 1, 0600), 0);
		if (cases[i].is_copy) { /* a file takes the next inode */
			AUTO_DONE(record) rec = { 0 };
			assert_int_equal(record_load(f.dir_fd, &rec, NULL), 0);
			rec.folder_inode++;
			assert_int_equal(record_save(f.dir_fd, &rec, NULL), 0);
		}
		assert_int_equal(settle(fd, "one"), 0); /* its supervisor holds the lock */
		assert_names(fd, 1);
		auto_close(&f.lock_fd);
		f.lock_fd = -1;
		assert_int_equal(settle(fd, "one"), 0);
		assert_names(fd, cases[i].stays);
		if (cases[i].stays)
			assert_int_equal(instance_remove(fd, "one", false, true, NULL, NULL), 0);
	}
}

static void a_file_that_is_being_replaced_is_not_foreign(void **state)
{
	int fd = scratch_fd(state);
	static const char temporary[] = "file.0123456789abcdef";
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_POOL);
	int foreign = 0;
	assert_int_equal(file_create_at(dir, temporary, "x", 1, 0600), 0);
	pid_t child = fork();
	while (child == 0)
		if (renameat(dir, temporary, dir, INSTANCE_WANTED_NAME) < 0 ||
		    renameat(dir, INSTANCE_WANTED_NAME, dir, temporary) < 0)
			_exit(1);
	for (int i = 0; i < 5000; i++)
		foreign += instance_folder_is_pure(dir, true, NULL) != 1;
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(foreign, 0);
}

/* A start that takes a VM of a pool while the VM's supervisor removes it. */
static void a_removed_folder_takes_no_further_file(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_POOL);
	assert_int_equal(instance_folder_put(fd, "one", dir, INSTANCE_WANTED_NAME, "{}"), 0);
	assert_names(dir, 4);
	assert_int_equal(unlinkat(dir, INSTANCE_WANTED_NAME, 0), 0);
	assert_int_equal(renameat(fd, "one", fd, ".vm.0123456789abcdef"), 0);
	assert_int_equal(instance_folder_put(fd, "one", dir, INSTANCE_WANTED_NAME, "{}"), -ENOENT);
	assert_names(dir, 3);
	instance_folder_sweep(fd, ".vm.0123456789abcdef");
	assert_names(fd, 0);
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
		assert_int_equal(instance_remove(fd, "mine", force, true, NULL, &err), -ENOENT);
		assert_string_equal(err.reason, "instance-copy");
	}
	assert_names(user, 3);
	assert_int_equal(instance_remove(fd, "taken", true, true, NULL, NULL), 0);
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

static bool is_child_of(int pid, pid_t parent)
{
	AUTO_FREE char *stat = NULL;
	char path[32];
	int found = 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return file_read_at(AT_FDCWD, path, 4096, &stat, NULL) == 0 &&
	       sscanf(stat, "%*d %*s %*c %d", &found) == 1 && found == parent;
}

/* Does a child of this process wait for a lock? */
static bool waits(pid_t pid)
{
	AUTO_FREE char *locks = NULL;
	assert_int_equal(file_read_at(AT_FDCWD, "/proc/locks", 1 << 20, &locks, NULL), 0);
	for (char *line = strtok(locks, "\n"); line; line = strtok(NULL, "\n")) {
		int waiter;
		if (sscanf(line, "%*s -> %*s %*s %*s %d", &waiter) == 1 && is_child_of(waiter, pid))
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
			int r = instance_connect(fd, "one", NULL, &i, &err);
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
		assert_int_equal(instance_remove(fd, "one", false, true, NULL, NULL), 0);
	}
}

static void a_record_that_cannot_be_read_is_damaged(void **state)
{
	int fd = scratch_fd(state);
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
	for (int is_folder = 0; is_folder < 2; is_folder++) {
		struct mvm_error err = { 0 };
		struct record rec = { 0 };
		AUTO_CLOSE int file = openat(dir, RECORD_NAME, O_WRONLY | O_CLOEXEC);
		assert_int_equal(ftruncate(file, 900000), 0);
		if (is_folder) {
			assert_int_equal(unlinkat(dir, RECORD_NAME, 0), 0);
			assert_int_equal(mkdirat(dir, RECORD_NAME, 0700), 0);
		}
		int r = instance_load(fd, "one", &rec, NULL, &err);
		assert_true(is_folder ? r < 0 : r == -EBADMSG);
		assert_string_equal(err.reason, "instance-damaged");
		assert_string_equal(err.subject, "one");
	}
}

/* How a supervisor whose shut-in part is broken into treats a client that wants it to end. */
enum lie { HANGS_UP, PROMISES, STOPS_LISTENING, IS_NO_SUPERVISOR };

/* This many calls, or until the client has what it wants. */
static void answer_done(int fd, unsigned n)
{
	struct channel ch = { .fd = fd };
	struct frame f;
	while (n-- > 0 && wait_readable(fd, -1, DEADLINE_NONE) == 0 &&
	       channel_receive(&ch, &f) == 1) {
		AUTO_DONE(strbuf) b = { 0 };
		if (f.type != FRAME_CALL || message_put_reply(&b, 0, NULL, NULL) < 0)
			_exit(1);
		if (channel_send(&ch, FRAME_REPLY, f.stream, b.data, b.len) < 0)
			break;
	}
	channel_done(&ch);
}

static _Noreturn void lie_on(const struct instance_folder *f, enum lie lie, int ready_fd)
{
	if (lie != IS_NO_SUPERVISOR && fchdir(f->dir_fd) < 0)
		_exit(1);
	lock_sign(f->lock_fd, "mvm-supervisor");
	if (lie == STOPS_LISTENING)
		unlinkat(f->dir_fd, INSTANCE_SOCKET_NAME, 0);
	(void)!write(ready_fd, "x", 1);
	for (;;) {
		wait_readable(f->listen_fd, -1, DEADLINE_NONE);
		AUTO_CLOSE int fd = sock_accept(f->listen_fd);
		if (fd >= 0 && lie == PROMISES)
			answer_done(fd, UINT_MAX);
	}
}

static pid_t start_lying(int instances_fd, enum lie lie, int *ret_dir_fd)
{
	AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
	int ready[2];
	char byte;
	assert_int_equal(make(instances_fd, "one", RECORD_FOR_USER, &f), 0);
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		lie_on(&f, lie, ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	*ret_dir_fd = TAKE_FD(f.dir_fd);
	return child;
}

static void whatever_a_supervisor_answers_it_ends_or_is_killed(void **state)
{
	int fd = scratch_fd(state);
	for (enum lie lie = HANGS_UP; lie <= IS_NO_SUPERVISOR; lie++) {
		struct mvm_error err = { 0 };
		int status, dir_fd = -1;
		char pid[24];
		pid_t child = start_lying(fd, lie, &dir_fd);
		AUTO_CLOSE int dir = dir_fd;
		snprintf(pid, sizeof(pid), "process %d ", (int)child);
		/* a wait without force ends as well, and says who holds it up */
		assert_int_equal(
			instance_folder_await(dir, "one", -1, clock_deadline_ns(50), NULL, &err),
			-ETIMEDOUT);
		assert_string_equal(err.reason, "supervisor-silent");
		assert_string_equal(err.subject, "one");
		assert_non_null(strstr(err.text, pid));
		err = (struct mvm_error){ 0 };
		int r = instance_folder_kill(dir, "one", 200, NULL, &err);
		if (lie == IS_NO_SUPERVISOR) {
			assert_int_equal(r, -EBUSY);
			assert_non_null(strstr(err.text, pid));
			assert_int_equal(kill(child, SIGKILL), 0);
		} else {
			assert_int_equal(r, 0);
			assert_false(lock_is_held_at(dir, INSTANCE_LOCK_NAME));
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_int_equal(instance_remove(fd, "one", true, true, NULL, NULL), 0);
	}
}

/* Another process looks whether it runs, as `ps` does. */
static void a_look_at_an_instance_keeps_no_start_from_it(void **state)
{
	int fd = scratch_fd(state);
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir = make_lost(fd, "one", RECORD_FOR_USER);
	int failed = 0;
	write_ended(dir, false);
	assert_int_equal(record_load(dir, &rec, NULL), 0);
	pid_t child = fork();
	while (child == 0)
		lock_is_held_at(dir, INSTANCE_LOCK_NAME);
	for (int i = 0; i < 500; i++) {
		AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
		failed += instance_folder_take(fd, dir, &rec, &f) < 0;
	}
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(failed, 0);
}

/* The next supervisor, in the same folder. */
static void start_again(const struct instance_folder *f)
{
	pid_t next = fork();
	if (next != 0)
		_exit(next < 0);
	if (unlinkat(f->dir_fd, INSTANCE_SOCKET_NAME, 0) < 0 && errno != ENOENT)
		_exit(1);
	if (sock_listen_at(f->dir_fd, INSTANCE_SOCKET_NAME) < 0)
		_exit(1);
	lock_sign(f->lock_fd, "mvm-supervisor");
	sleep(90);
}

static pid_t holder_of(int dir_fd)
{
	char text[LOCK_HOLDER_SIZE];
	lock_read_holder_at(dir_fd, INSTANCE_LOCK_NAME, text);
	return (pid_t)strtol(text, NULL, 10);
}

/* Somebody starts it the moment after its supervisor has ended, and before the waiting client has
 * seen that. */
static void no_client_waits_for_the_end_of_the_next_start(void **state)
{
	int fd = scratch_fd(state);
	for (int stops = 0; stops < 2; stops++) {
		AUTO_DONE(instance_folder) f = INSTANCE_FOLDER_NONE;
		AUTO(mvm_instance) found = NULL;
		struct mvm_error err = { 0 };
		assert_int_equal(make(fd, "one", RECORD_FOR_USER, &f), 0);
		lock_sign(f.lock_fd, "mvm-supervisor");
		if (!stops) /* it is at its last steps */
			assert_int_equal(unlinkat(f.dir_fd, INSTANCE_SOCKET_NAME, 0), 0);
		pid_t child = fork();
		if (child == 0) {
			if (stops && wait_readable(f.listen_fd, -1, DEADLINE_NONE) == 0)
				answer_done(sock_accept(f.listen_fd), 1);
			usleep(100000);
			start_again(&f);
			_exit(0);
		}
		auto_close(&f.lock_fd);
		auto_close(&f.listen_fd);
		f.lock_fd = f.listen_fd = -1;
		int64_t began_ns = clock_now_ns();
		if (stops)
			assert_int_equal(instance_stop(fd, "one", 0, NULL, &err), 0);
		else
			assert_int_equal(instance_connect(fd, "one", NULL, &found, &err), 0);
		assert_true(clock_now_ns() - began_ns < 30 * NS_PER_S);
		assert_int_equal(waitpid(child, NULL, 0), child);
		pid_t next;
		while ((next = holder_of(f.dir_fd)) == 0 || next == getpid())
			usleep(1000); /* it signs the lock at this moment */
		assert_int_equal(kill(next, SIGKILL), 0);
		assert_int_equal(instance_remove(fd, "one", true, true, NULL, NULL), 0);
	}
}

/* A command that continues it has read its record by then. */
static void a_start_of_an_instance_that_was_renamed_says_so(void **state)
{
	struct mvm_error err = { 0 };
	struct mvm_instance *vm = NULL;
	struct record record = { .name = TEXT("gone"), .template_id = TEXT("web") };
	const struct instance_launch launch = { .record = &record, .again = &record };
	assert_int_equal(instance_launch_begin(scratch_fd(state), &launch, &vm, &err), -ENOENT);
	assert_null(vm);
	assert_string_equal(err.text, "instance 'gone' was removed or renamed meanwhile");
	assert_string_equal(err.reason, "no-instance");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(a_name_in_use_leaves_nothing_behind),
		IN_SCRATCH(a_foreign_file_keeps_a_lost_instance),
		IN_SCRATCH(an_ended_instance_that_removes_itself_does_not_stay),
		IN_SCRATCH(a_file_that_is_being_replaced_is_not_foreign),
		IN_SCRATCH(a_removed_folder_takes_no_further_file),
		IN_SCRATCH(files_that_firecracker_leaves_are_removed),
		IN_SCRATCH(only_a_vm_of_a_pool_may_have_another_name),
		IN_SCRATCH(a_renamed_folder_is_not_removed_as_an_instance),
		IN_SCRATCH(an_instance_of_a_newer_mvm_is_no_stray),
		IN_SCRATCH(a_connection_waits_until_the_instance_is_settled),
		IN_SCRATCH(a_record_that_cannot_be_read_is_damaged),
		IN_SCRATCH(whatever_a_supervisor_answers_it_ends_or_is_killed),
		IN_SCRATCH(a_look_at_an_instance_keeps_no_start_from_it),
		IN_SCRATCH(no_client_waits_for_the_end_of_the_next_start),
		IN_SCRATCH(a_start_of_an_instance_that_was_renamed_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
