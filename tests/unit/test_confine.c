/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups with limits for VMMs, on this host's cgroup v2.
 *
 * Needs root and /sys/fs/cgroup with the controllers memory and pids; tests/long/test_nested_kvm.py
 * runs it in a VM that has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "instance/confine.h"

#define OURS	CONFINE_MOUNT "/mvm-test"
#define USER_ID 12345
#define MIB	(1ULL << 20)

static char *read_at(const char *folder, const char *name)
{
	char *text = NULL;
	AUTO_FREE char *path = str_printf("%s/%s", folder, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_read_fd(fd, 65536, &text, NULL), 0);
	return text;
}

static int write_at(const char *folder, const char *name, const char *text)
{
	AUTO_FREE char *path = str_printf("%s/%s", folder, name);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

static const char *why_not(void)
{
	struct statfs fs;
	if (geteuid() != 0)
		return "only root can make cgroups";
	if (statfs(CONFINE_MOUNT, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		return "there is no cgroup v2 at " CONFINE_MOUNT;
	if (access(CONFINE_MOUNT "/cgroup.type", F_OK) == 0)
		return "this is a container's cgroup";
	AUTO_FREE char *enabled = read_at(CONFINE_MOUNT, "cgroup.subtree_control");
	return strstr(enabled, "memory") && strstr(enabled, "pids")
		       ? NULL
		       : "memory and pids are not enabled at " CONFINE_MOUNT;
}

/* A process that does nothing. */
static pid_t begin_vmm(void)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What a supervisor in that cgroup does for a VMM and its network; 0: it has none. */
static void confine_with(const char *cgroup, pid_t vmm, pid_t network, uid_t uid,
			 struct record *ret)
{
	int result[2];
	char text[1024] = "";
	assert_int_equal(pipe(result), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct record r = {
			.name = strdup("web"), .vmm_pid = vmm, .mem_mib = 128, .vcpus = 1
		};
		if (write_at(cgroup, "cgroup.procs", "0") < 0)
			_exit(1);
		if (uid && setresuid(uid, uid, uid) < 0)
			_exit(2);
		confine(&r, network);
		dprintf(result[1], "%s\n%s\n", r.cgroup ? r.cgroup : "",
			r.cgroup_limits ? r.cgroup_limits : "");
		_exit(0);
	}
	close(result[1]);
	ssize_t n = read(result[0], text, sizeof(text) - 1);
	close(result[0]);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(n > 0);
	char *limits = strchr(text, '\n');
	*limits++ = '\0';
	limits[strcspn(limits, "\n")] = '\0';
	*ret = (struct record){ .cgroup = *text ? strdup(text) : NULL,
				.cgroup_limits = strdup(limits) };
}

static void confine_in(const char *cgroup, pid_t vmm, uid_t uid, struct record *ret)
{
	confine_with(cgroup, vmm, 0, uid, ret);
}

static void forget(struct record *r)
{
	free(r->cgroup);
	free(r->cgroup_limits);
}

static void assert_holds(const char *cgroup, pid_t pid)
{
	AUTO_FREE char *procs = read_at(cgroup, "cgroup.procs");
	AUTO_FREE char *line = str_printf("%d\n", (int)pid);
	assert_string_equal(procs, line);
}

static void make(const char *path)
{
	assert_int_equal(mkdir(path, 0755), 0);
}

static int clean_up(void **state)
{
	(void)state;
	static const char *const paths[] = { OURS "/app/shell", OURS "/app", OURS "/mvm-others",
					     OURS };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(paths); i++)
		rmdir(paths[i]); /* a test may not have made it */
	rmdir(CONFINE_MOUNT "/mvm.slice");
	return 0;
}

/* As many processes as that cgroup lets a process have. */
static int count_forks(const char *cgroup)
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int n = 0;
		if (setpgid(0, 0) < 0 || write_at(cgroup, "cgroup.procs", "0") < 0)
			_exit(255);
		for (pid_t child = 1; n < 250 && child > 0; n += child > 0) {
			child = fork();
			if (child == 0) {
				pause();
				_exit(0);
			}
		}
		_exit(n);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	kill(-pid, SIGKILL);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void wait_until_alone(const char *cgroup, pid_t pid)
{
	AUTO_FREE char *line = str_printf("%d\n", (int)pid);
	for (bool alone = false; !alone;) { /* killed processes leave the cgroup by themselves */
		AUTO_FREE char *procs = read_at(cgroup, "cgroup.procs");
		alone = str_eq(procs, line);
	}
}

static void roots_vmm_is_limited_below_a_cgroup_of_mvms(void **state)
{
	(void)state;
	struct record r = { 0 };
	pid_t vmm = begin_vmm();
	confine_in(CONFINE_MOUNT, vmm, 0, &r);
	assert_non_null(r.cgroup);
	assert_true(str_starts(r.cgroup, CONFINE_MOUNT "/mvm.slice/mvm-web-"));
	assert_non_null(strstr(r.cgroup_limits, "memory"));
	assert_non_null(strstr(r.cgroup_limits, "pids"));
	assert_holds(r.cgroup, vmm);
	AUTO_FREE char *memory = read_at(r.cgroup, "memory.max");
	AUTO_FREE char *pids = read_at(r.cgroup, "pids.max");
	assert_int_equal(strtoull(memory, NULL, 10), (128 + 512) * MIB);
	assert_int_equal(strtoul(pids, NULL, 10), 161);
	assert_in_range(count_forks(r.cgroup), 100, 160);
	wait_until_alone(r.cgroup, vmm);
	end(vmm);
	confine_end(r.cgroup);
	assert_int_equal(access(r.cgroup, F_OK), -1);
	forget(&r);
}

static void mvm_net_is_in_the_cgroup_and_its_share_in_the_limits(void **state)
{
	(void)state;
	struct record r = { 0 };
	pid_t vmm = begin_vmm(), network = begin_vmm(), next = begin_vmm();
	confine_with(CONFINE_MOUNT, vmm, network, 0, &r);
	assert_non_null(r.cgroup);
	end(vmm);
	wait_until_alone(r.cgroup, network);
	AUTO_FREE char *memory = read_at(r.cgroup, "memory.max");
	AUTO_FREE char *pids = read_at(r.cgroup, "pids.max");
	assert_int_equal(strtoull(memory, NULL, 10), (128 + 512 + 512) * MIB);
	assert_int_equal(strtoul(pids, NULL, 10), 165);
	end(network);
	confine_network(&r, next); /* it was started again */
	assert_holds(r.cgroup, next);
	end(next);
	confine_end(r.cgroup);
	forget(&r);
}

static void a_limit_of_whoever_starts_it_is_not_left(void **state)
{
	(void)state;
	struct record r = { 0 };
	make(OURS);
	pid_t vmm = begin_vmm();
	assert_int_equal(write_at(OURS, "memory.max", "1000000000"), 0);
	confine_in(OURS, vmm, 0, &r);
	assert_null(r.cgroup);
	forget(&r);
	end(vmm);
}

static void processes_in_a_delegated_cgroup_make_room(void **state)
{
	(void)state;
	make(OURS);
	assert_int_equal(write_at(OURS, "memory.max", "1000000000"), 0);
	assert_int_equal(setxattr(OURS, "trusted.delegate", "1", 1, 0), 0);
	pid_t other = begin_vmm();
	AUTO_FREE char *pid = str_printf("%d", (int)other);
	assert_int_equal(write_at(OURS, "cgroup.procs", pid), 0);
	static const char *const from[] = { OURS, OURS "/mvm-others" }; /* then we are there */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(from); i++) {
		struct record r = { 0 };
		pid_t vmm = begin_vmm();
		confine_in(from[i], vmm, 0, &r);
		assert_non_null(r.cgroup);
		assert_true(str_starts(r.cgroup, OURS "/mvm-web-"));
		assert_true(str_starts(r.cgroup_limits, "memory"));
		assert_holds(r.cgroup, vmm);
		assert_holds(OURS "/mvm-others", other);
		end(vmm);
		confine_end(r.cgroup);
		assert_int_equal(access(r.cgroup, F_OK), -1);
		forget(&r);
	}
	end(other);
}

static void a_users_cgroup_may_be_further_up(void **state)
{
	(void)state;
	struct record r = { 0 };
	make(OURS);
	make(OURS "/app");
	make(OURS "/app/shell");
	static const char *const given[] = { OURS, OURS "/cgroup.procs",
					     OURS "/cgroup.subtree_control" };
	pid_t vmm = begin_vmm();
	AUTO_FREE char *pid = str_printf("%d", (int)vmm);
	assert_int_equal(write_at(OURS "/app/shell", "cgroup.procs", pid), 0);

	confine_in(OURS "/app/shell", vmm, USER_ID, &r);
	assert_null(r.cgroup); /* nothing is delegated */
	forget(&r);
	assert_int_equal(setxattr(OURS, "user.delegate", "1", 1, 0), 0);
	confine_in(OURS "/app/shell", vmm, USER_ID, &r);
	assert_null(r.cgroup); /* to root */
	forget(&r);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(given); i++)
		assert_int_equal(chown(given[i], USER_ID, USER_ID), 0);
	confine_in(OURS "/app/shell", vmm, USER_ID, &r);
	assert_non_null(r.cgroup);
	assert_true(str_starts(r.cgroup, OURS "/mvm-web-"));
	assert_true(str_starts(r.cgroup_limits, "memory"));
	assert_holds(r.cgroup, vmm);
	end(vmm);
	confine_end(r.cgroup);
	forget(&r);
}

#define T(test) cmocka_unit_test_teardown(test, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(roots_vmm_is_limited_below_a_cgroup_of_mvms),
		T(mvm_net_is_in_the_cgroup_and_its_share_in_the_limits),
		T(a_limit_of_whoever_starts_it_is_not_left),
		T(processes_in_a_delegated_cgroup_make_room),
		T(a_users_cgroup_may_be_further_up),
	};
	const char *reason = why_not();
	if (reason) {
		printf("skipped: %s\n", reason);
		return 77; /* Meson's for a skip */
	}
	unsetenv("MVM_CGROUP");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
