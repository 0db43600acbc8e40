/* SPDX-License-Identifier: Apache-2.0 */
/* What a Firecracker without its jailer can open: a shell tries it in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
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

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(the_files_of_its_vm_are_opened_and_no_others) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
