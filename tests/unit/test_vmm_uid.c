/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/error.h"
#include "scratch.h"
#include "vmm/privilege.h"
#include "vmm/uid.h"
#include "vmm/uid_lock.h"

#define NOBODY 65534

static void need_root(void)
{
	if (own_uid_obstacle()) {
		print_message("skipped: %s\n", own_uid_obstacle());
		skip();
	}
}

static void no_two_vms_have_the_same_uid(void **state)
{
	(void)state;
	struct own_uid users[20];
	need_root();
	for (size_t i = 0; i < MVM_ARRAY_SIZE(users); i++) {
		assert_int_equal(own_uid_take(&users[i]), 0);
		assert_true(users[i].uid >= 0x70000000u && users[i].uid < 0x70010000u);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(users[i].uid, users[j].uid);
	}
	for (size_t i = 0; i < MVM_ARRAY_SIZE(users); i++) {
		own_uid_done(&users[i]);
		assert_int_equal(users[i].fd, -1);
	}
}

/* ---- attacks ---- */

/* Run a child, and return its exit status. */
static int in_child(int (*run)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0)
		_exit(run(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

#define NAMES 256u

/* Hold names that every user can bind: uids were once taken by such names. */
static _Noreturn void hold_names(int fd)
{
	char byte = 'x';
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(1);
	for (unsigned i = 0; i < NAMES; i++) {
		struct sockaddr_un name = { .sun_family = AF_UNIX };
		int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		int n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "mvm-uid-%u",
				 0x70000000u + i);
		if (sock < 0 || bind(sock, (const struct sockaddr *)&name,
				     (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)n)) < 0)
			_exit(1);
	}
	(void)!write(fd, &byte, 1);
	(void)!read(fd, &byte, 1); /* wait until our starter ends */
	_exit(0);
}

static int take_names_that_nobody_holds(void *arg)
{
	const char *folder = arg;
	char byte;
	int fds[2];

	if (unshare(CLONE_NEWNET) < 0) /* so that the names do not disturb other processes */
		return 77;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 1;
	if (fork() == 0) {
		close(fds[0]);
		hold_names(fds[1]);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		return 2;
	int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned taken = 0;
	for (unsigned i = 0; i < NAMES; i++)
		taken += uid_lock_take(folder_fd, 0x70000000u + i) >= 0;
	return taken > NAMES / 2 ? 0 : 3; /* VMs of this host may run as some of the users */
}

static void names_of_another_user_block_nobody(void **state)
{
	need_root();
	int status = in_child(take_names_that_nobody_holds, (void *)scratch_path(state));
	if (status == 77)
		skip(); /* no namespaces here */
	assert_int_equal(status, 0);
}

static int take_as_nobody(void *arg)
{
	(void)arg;
	int folder_fd = uid_lock_open();
	struct own_uid u = OWN_UID_NONE;
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return 1;
	if (uid_lock_take(folder_fd, 0x70000000u) != -EACCES)
		return 2;
	if (openat(folder_fd, "mvm-uids.lock", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 3;
	if (unlinkat(folder_fd, "mvm-uids.lock", 0) == 0)
		return 4;
	return own_uid_take(&u) == 0 ? 5 : 0;
}

static void another_user_takes_no_uid(void **state)
{
	(void)state;
	struct own_uid u = OWN_UID_NONE;
	need_root();
	assert_int_equal(own_uid_take(&u), 0); /* so that the file exists */
	assert_int_equal(in_child(take_as_nobody, NULL), 0);
	own_uid_done(&u);
}

static int take_elsewhere(void *arg)
{
	const struct own_uid *u = arg;
	if (unshare(CLONE_NEWNET) < 0)
		return 77;
	int folder_fd = uid_lock_open();
	return uid_lock_take(folder_fd, u->uid) == -EBUSY ? 0 : 1;
}

static void a_uid_is_taken_in_every_network_namespace(void **state)
{
	(void)state;
	struct own_uid u = OWN_UID_NONE;
	need_root();
	assert_int_equal(own_uid_take(&u), 0);
	int status = in_child(take_elsewhere, &u);
	own_uid_done(&u);
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static void a_uid_with_a_process_left_is_not_free(void **state)
{
	(void)state;
	struct own_uid u = OWN_UID_NONE;
	int fds[2];
	char byte;
	need_root();
	AUTO_CLOSE int folder_fd = uid_lock_open();
	assert_int_equal(own_uid_take(&u), 0);
	uid_t uid = u.uid;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	pid_t pid = fork();
	if (pid == 0) { /* like a process that broke out of a VM, not tied to its supervisor */
		close(fds[0]);
		own_uid_done(&u);
		if (setresuid(uid, uid, uid) == 0)
			(void)!write(fds[1], "x", 1);
		(void)!read(fds[1], &byte, 1);
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	own_uid_done(&u);
	assert_int_equal(uid_lock_take(folder_fd, uid), -EBUSY);
	close(fds[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	AUTO_CLOSE int fd = uid_lock_take(folder_fd, uid);
	assert_true(fd >= 0);
}

static void only_a_folder_of_roots_alone_is_fit(void **state)
{
	static const struct {
		const char *name;
		mode_t mode;
		uid_t owner;
	} unfit[] = { { "shared", 0777, 0 },
		      { "sticky", 01777, 0 },
		      { "group", 0775, 0 },
		      { "foreign", 0755, NOBODY } };
	char path[128], fit[128], link[128];
	need_root();
	snprintf(fit, sizeof(fit), "%s/fit", scratch_path(state));
	snprintf(link, sizeof(link), "%s/link", scratch_path(state));
	assert_int_equal(mkdir(fit, 0755), 0);
	assert_int_equal(symlink(fit, link), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(unfit); i++) {
		snprintf(path, sizeof(path), "%s/%s", scratch_path(state), unfit[i].name);
		const char *const alone[] = { path, NULL }, *const both[] = { path, fit, NULL };
		assert_int_equal(mkdir(path, 0700), 0);
		assert_int_equal(chown(path, unfit[i].owner, 0), 0);
		assert_int_equal(chmod(path, unfit[i].mode), 0);
		assert_int_equal(uid_lock_folder(alone), -ENOENT);
		AUTO_CLOSE int fd = uid_lock_folder(both);
		assert_true(fd >= 0);
	}
	const char *const linked[] = { link, NULL };
	assert_int_equal(uid_lock_folder(linked), -ENOENT);
	snprintf(path, sizeof(path), "%s/missing", scratch_path(state));
	const char *const missing[] = { path, NULL };
	AUTO_CLOSE int made = uid_lock_folder(missing);
	assert_true(made >= 0);
	AUTO_CLOSE int taken = uid_lock_take(made, 0x70000000u);
	assert_true(taken >= 0);
	assert_int_equal(uid_lock_take(made, 0x70000000u), -EBUSY);
	/* a mistake of root's that would let others take uids */
	assert_int_equal(fchmodat(made, "mvm-uids.lock", 0666, 0), 0);
	assert_int_equal(uid_lock_take(made, 0x70000001u), -EPERM);
}

/* Runs in the child.  Returns the number of the first wrong step, or 0. */
static int look_at_myself(const struct own_uid *u, gid_t group, bool bind_ports, bool had_it)
{
	uid_t r, e, s;
	gid_t groups[2];
	if (getresuid(&r, &e, &s) < 0 || r != u->uid || e != u->uid || s != u->uid)
		return 1;
	if (getresgid(&r, &e, &s) < 0 || r != u->uid || e != u->uid || s != u->uid)
		return 2;
	int n = getgroups(2, groups);
	if (n != (group != 0) || (n == 1 && groups[0] != group))
		return 3;
	for (unsigned c = 0; c <= CAP_LAST_CAP; c++) {
		bool wanted = c == CAP_NET_BIND_SERVICE && bind_ports && had_it;
		if (privilege_has(c) != wanted ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == !wanted)
			return 4;
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 5;
	return setresuid(0, 0, 0) == 0 || setgroups(0, NULL) == 0 ? 6 : 0;
}

static void a_process_that_takes_a_uid_has_no_other_rights(void **state)
{
	(void)state;
	static const struct {
		gid_t group;
		bool bind_ports;
	} cases[] = { { 0, false }, { 0, true }, { 4711, false }, { 4711, true } };
	struct own_uid u = OWN_UID_NONE;
	bool had_it = privilege_has(CAP_NET_BIND_SERVICE);
	need_root();
	assert_int_equal(own_uid_take(&u), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		int status = -1;
		pid_t pid = fork();
		if (pid == 0)
			_exit(own_uid_become(&u, cases[i].group, cases[i].bind_ports) < 0
				      ? 100
				      : look_at_myself(&u, cases[i].group, cases[i].bind_ports,
						       had_it));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	own_uid_done(&u);
}

static void a_file_is_given_and_taken_back(void **state)
{
	struct own_uid u = OWN_UID_NONE;
	struct stat st;
	if (own_uid_obstacle())
		skip();
	assert_int_equal(own_uid_take(&u), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "f", "x", 1, 0600), 0);
	AUTO_CLOSE int fd = openat(scratch_fd(state), "f", O_PATH | O_CLOEXEC);
	assert_int_equal(own_uid_give(&u, fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_uid == u.uid && st.st_gid == u.uid);
	own_uid_take_back(fd);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_uid == 0 && st.st_gid == 0);
	own_uid_done(&u);
}

static void a_device_is_used_by_its_group_unless_that_is_roots(void **state)
{
	static const struct {
		mode_t mode;
		gid_t group;
		int result;
	} cases[] = {
		{ 0666, 0, 0 },	      { 0606, 4711, 0 },       { 0660, 4711, 1 },
		{ 0660, 0, -EACCES }, { 0640, 4711, -EACCES }, { 0600, 4711, -EACCES },
	};
	AUTO_CLOSE int fd = openat(scratch_fd(state), "d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char path[96];
	snprintf(path, sizeof(path), "%s/d", scratch_path(state));
	if (own_uid_obstacle())
		skip(); /* only root can choose a file's group */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		gid_t group = 0;
		assert_int_equal(fchown(fd, 0, cases[i].group), 0);
		assert_int_equal(fchmod(fd, cases[i].mode), 0);
		assert_int_equal(own_uid_device_group(path, &group), cases[i].result);
		assert_int_equal(group, cases[i].result == 1 ? cases[i].group : 0);
	}
	gid_t group = 0;
	assert_int_equal(own_uid_device_group("/no/such/device", &group), -ENOENT);
}

/* Runs in the process that is killed; a process with another user is tied to it. */
static _Noreturn void be_the_killed_one(int report_fd)
{
	struct own_uid u = OWN_UID_NONE;
	pid_t pid;
	if (own_uid_take(&u) < 0)
		_exit(1);
	pid = fork();
	if (pid == 0) {
		close(u.life_fds[0]);
		close(u.life_fds[1]);
		if (geteuid() == 0 && setresuid(u.uid, u.uid, u.uid) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	if (pid < 0 || own_uid_tie(&u, pid) < 0 ||
	    write(report_fd, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
		_exit(1);
	close(report_fd);
	raise(SIGKILL);
	_exit(1);
}

static void a_tied_process_dies_with_us_as_another_user_too(void **state)
{
	(void)state;
	int fds[2], status = 0;
	char byte;
	need_root();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0)
		be_the_killed_one(fds[1]);
	close(fds[1]);
	pid_t tied = 0;
	assert_int_equal(read(fds[0], &tied, sizeof(tied)), sizeof(tied));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(read(fds[0], &byte, 1), 0); /* the tied process held the pipe, too */
	close(fds[0]);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_two_vms_have_the_same_uid),
		T(names_of_another_user_block_nobody),
		cmocka_unit_test(another_user_takes_no_uid),
		cmocka_unit_test(a_uid_is_taken_in_every_network_namespace),
		cmocka_unit_test(a_uid_with_a_process_left_is_not_free),
		T(only_a_folder_of_roots_alone_is_fit),
		cmocka_unit_test(a_process_that_takes_a_uid_has_no_other_rights),
		cmocka_unit_test(a_tied_process_dies_with_us_as_another_user_too),
		T(a_file_is_given_and_taken_back),
		T(a_device_is_used_by_its_group_unless_that_is_roots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
