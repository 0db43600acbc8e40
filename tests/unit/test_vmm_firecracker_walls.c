/* SPDX-License-Identifier: Apache-2.0 */
/* What a Firecracker without its jailer can open: a shell tries it in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sock.h"
#include "scratch.h"
#include "vmm/firecracker/firecracker.h"

/* Folders as the backend has them: a revision, the instance, the memory's, the working folder. */
struct place {
	int fds[FC_FD_COUNT], work_fd;
};

static int make_folder(int at_fd, const char *name, const char *const files[])
{
	int fd = dir_make_at(at_fd, name);
	assert_true(fd >= 0);
	for (; *files; files++)
		assert_int_equal(file_create_at(fd, *files, "x\n", 2, 0600), 0);
	return fd;
}

static void prepare(int at_fd, struct place *p)
{
	p->fds[0] = make_folder(
		at_fd, "revision",
		(const char *const[]){ "vmlinux", "initrd", "rootfs.ext4", "revision.json", NULL });
	p->fds[1] = make_folder(at_fd, "instance",
				(const char *const[]){ "data.ext4", "instance.json", NULL });
	p->fds[2] = make_folder(at_fd, "memory", (const char *const[]){ "mem.bin", NULL });
	p->work_fd = make_folder(p->fds[1], "firecracker-1", (const char *const[]){ NULL });
}

/* Does the script succeed in Firecracker's place? */
static bool works(const struct place *p, struct vmm_config *c, const char *script)
{
	int status = -1;
	struct process process = { 0 };
	struct fc_walls walls = { .binary = "/bin/sh", .config = c };
	const struct process_spec spec = {
		.argv = (char *const[]){ (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char *)script,
					 NULL },
		.cwd_fd = p->work_fd,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.fds = p->fds,
		.n_fds = FC_FD_COUNT,
		.before_exec = fc_walls_enter,
		.in_child_arg = &walls,
	};
	assert_int_equal(process_spawn(&spec, &process), 0);
	assert_int_equal(process_wait(&process, clock_deadline_ns(60000), &status), 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static struct vmm_config config_of(enum vmm_memory memory)
{
	return (struct vmm_config){
		.kernel = "vmlinux",
		.initrd = "initrd",
		.drives = { { .name = "rootfs.ext4", .read_only = true },
			    { .name = "data.ext4", .own = true } },
		.n_drives = 2,
		.memory = memory,
		.memory_name = "mem.bin",
	};
}

static void the_files_of_its_vm_are_opened_and_no_others(void **state)
{
	static const struct {
		const char *script;
		bool works, captures; /* in a clone; and in a VM that is captured */
	} cases[] = {
		{ "read x < /proc/self/fd/3/vmlinux", true, true },
		{ "read x < /proc/self/fd/3/initrd", true, true },
		{ "read x < /proc/self/fd/3/rootfs.ext4", true, true },
		{ "echo >> /proc/self/fd/3/rootfs.ext4", false, false },
		{ "read x < /proc/self/fd/3/revision.json", false, false },
		{ "echo >> /proc/self/fd/4/data.ext4", true, true },
		{ "read x < /proc/self/fd/4/instance.json", false, false },
		{ "echo > /proc/self/fd/4/new", false, false },
		{ "read x < /proc/self/fd/5/mem.bin", true, true },
		{ "echo >> /proc/self/fd/5/mem.bin", false, true },
		{ "echo > vmstate.bin && rm vmstate.bin", true, true },
		{ "read x < ../instance.json", false, false },
		{ "read x < /etc/passwd", false, false },
		{ "echo > /tmp/mvm-unit-firecracker", false, false },
		{ "read x < /dev/null; echo > /dev/null", true, true },
	};
	if (fc_walls_there_are() == 0) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	struct place p;
	struct vmm_config clone = config_of(VMM_MEMORY_CLONE);
	struct vmm_config captured = config_of(VMM_MEMORY_CAPTURE);
	prepare(scratch_fd(state), &p);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (works(&p, &clone, cases[i].script) != cases[i].works ||
		    works(&p, &captured, cases[i].script) != cases[i].captures)
			fail_msg("%s", cases[i].script);
	}
	for (size_t i = 0; i < FC_FD_COUNT; i++)
		close(p.fds[i]);
	close(p.work_fd);
}

/* ---- local sockets ---- */

static bool reaches(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

/* In Firecracker's place: try to reach its own socket and another VM's, at first and once sealed.
 * arg: the whole path of the other's. */
static _Noreturn void try_to_reach(const char *other)
{
	for (int sealed = 0; sealed < 2; sealed++) {
		char found[8] = "", byte;
		char *to = found;
		*to++ = reaches("own.sock") ? 'o' : '-';
		*to++ = reaches(other) ? 'a' : '-';
		*to++ = reaches("../../control.sock") ? 'c' : '-';
		*to++ = reaches("/proc/self/fd/4/../control.sock") ? 'p' : '-';
		*to++ = reaches("/proc/self/fd/3/../control.sock") ? 'r' : '-';
		if (write(1, found, 5) != 5 || read(0, &byte, 1) != 1)
			_exit(1);
		/* with more system calls than Firecracker's filter leaves it */
		for (int fd = 3; sealed && fd < 6; fd++)
			if (fchdir(fd) < 0 || reaches("../control.sock") || reaches("control.sock"))
				_exit(2);
	}
	_exit(0);
}

static void assert_reached(int fd, const char *expected)
{
	char found[6] = "";
	assert_int_equal(recv(fd, found, 5, MSG_WAITALL), 5);
	assert_string_equal(found, expected);
}

static void other_sockets_of_the_user_cannot_be_reached(void **state)
{
	struct place p;
	struct vmm_config clone = config_of(VMM_MEMORY_CLONE);
	struct fc_walls walls = { .binary = "/proc/self/exe", .config = &clone };
	AUTO_DONE(box) box = BOX_NONE;
	struct process process = { 0 };
	unsigned isolation = 0;
	int status = -1, pair[2], at_fd = scratch_fd(state);
	char link[FD_PATH_SIZE], other[PATH_MAX];
	if (!fc_walls_namespaces()) {
		print_message("skipped: this host refuses namespaces\n");
		skip();
	}
	prepare(at_fd, &p);
	AUTO_CLOSE int own = sock_listen_at(p.work_fd, "own.sock");
	AUTO_CLOSE int control = sock_listen_at(at_fd, "control.sock");
	assert_true(own >= 0 && control >= 0);
	fd_path(at_fd, link);
	ssize_t len = readlink(link, other, sizeof(other) - sizeof("/control.sock"));
	assert_true(len > 0);
	memcpy(other + len, "/control.sock", sizeof("/control.sock"));
	assert_int_equal(sock_pair(pair), 0);
	const struct process_spec spec = {
		.argv = (char *const[]){ (char[]){ "/proc/self/exe" }, other, NULL },
		.cwd_fd = p.work_fd,
		.stdin_fd = pair[1],
		.stdout_fd = pair[1],
		.stderr_fd = 2,
		.fds = p.fds,
		.n_fds = FC_FD_COUNT,
		.before_exec = fc_walls_enter,
		.in_child_arg = &walls,
	};
	assert_int_equal(fc_walls_spawn(&box, &isolation, &spec, &process), 0);
	assert_int_equal(isolation, VMM_ISOLATION_NAMESPACES | VMM_ISOLATION_NETWORK);
	assert_reached(pair[0], "oa---"); /* its folders lead nowhere from its start */
	assert_int_equal(box_seal(&box), 0);
	assert_int_equal(send(pair[0], "", 1, 0), 1);
	assert_reached(pair[0], "o----");
	assert_int_equal(send(pair[0], "", 1, 0), 1);
	assert_int_equal(process_wait(&process, clock_deadline_ns(60000), &status), 0);
	assert_int_equal(status, 0);
	close(pair[0]);
	close(pair[1]);
	for (size_t i = 0; i < FC_FD_COUNT; i++)
		close(p.fds[i]);
	close(p.work_fd);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(int argc, char **argv)
{
	if (argc > 1)
		try_to_reach(argv[1]);
	const struct CMUnitTest tests[] = { T(the_files_of_its_vm_are_opened_and_no_others),
					    T(other_sockets_of_the_user_cannot_be_reached) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
