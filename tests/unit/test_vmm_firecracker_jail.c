/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "vmm/ask.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/privilege.h"

static void the_jailer_gets_folder_and_user(void **state)
{
	(void)state;
	AUTO_DONE(strv) args = { 0 };
	AUTO_DONE(strbuf) line = { 0 };
	char jailer[] = "/opt/fc/jailer";
	const struct fc_jail jail = { .jailer = jailer, .user = { .uid = 1879048195 } };
	fc_jail_args(&jail, "/opt/fc/firecracker", "web-1", &args);
	for (size_t i = 0; i < args.n; i++)
		strbuf_addf(&line, "%s%s", i ? " " : "", args.v[i]);
	assert_string_equal(line.data, "/opt/fc/jailer --id web-1 --exec-file /opt/fc/firecracker "
				       "--uid 1879048195 --gid 1879048195 --chroot-base-dir . --");
	AUTO_FREE char *root = fc_jail_root("/opt/fc/firecracker", "web-1");
	assert_string_equal(root, "firecracker/web-1/root");
}

static void the_jailer_is_named_or_lies_beside_firecracker(void **state)
{
	(void)state;
	char dir[] = "/tmp/mvm-jail-XXXXXX";
	assert_non_null(mkdtemp(dir));
	AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *files[] = { "jailer", "jailer-v1.16.1-x86_64" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++)
		assert_int_equal(file_create_at(dir_fd, files[i], "x", 1, 0755), 0);
	static const struct {
		const char *binary, *named;
		int result;
		const char *found;
	} cases[] = {
		{ "firecracker", NULL, 1, "jailer" },
		{ "firecracker-v1.16.1-x86_64", NULL, 1, "jailer-v1.16.1-x86_64" },
		{ "firecracker-v1.15.0-x86_64", NULL, 0, NULL },
		{ "my-vmm", NULL, 0, NULL },
		{ "firecracker", "none", 0, NULL },
		{ "firecracker", "", 0, NULL },
		{ "my-vmm", "/bin/sh", 1, "/bin/sh" },
		{ "firecracker", "/nowhere/jailer", -ENOENT, NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *found = NULL;
		AUTO_FREE char *binary = str_printf("%s/%s", dir, cases[i].binary);
		if (cases[i].named)
			assert_int_equal(setenv(FC_JAILER_ENV, cases[i].named, 1), 0);
		else
			assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
		assert_int_equal(fc_jailer_find(binary, &found), cases[i].result);
		if (cases[i].result == 1)
			assert_string_equal(found + (cases[i].named ? 0 : strlen(dir) + 1),
					    cases[i].found);
	}
	assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, dir), 0);
}

static void root_learns_why_there_is_no_jail(void **state)
{
	(void)state;
	char binary[] = "/nowhere/firecracker";
	const struct vmm_probe probe = { .binary = binary };
	static const struct {
		const char *named, *says;
	} cases[] = {
		{ NULL, "there is no jailer beside Firecracker" },
		{ "none", "MVM_JAILER names no jailer" },
		{ "/no/such/jailer", "MVM_JAILER names no jailer" },
	};
	if (geteuid() != 0)
		skip(); /* only root has a jailer */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		const char *how = NULL;
		if (cases[i].named)
			assert_int_equal(setenv(FC_JAILER_ENV, cases[i].named, 1), 0);
		assert_int_equal(vmm_firecracker.confines(&probe, -1, &how),
				 VMM_ISOLATION_SYSCALLS | fc_walls_there_are());
		assert_string_equal(how, cases[i].says);
	}
	assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
}

static void root_gets_no_firecracker_without_a_jail_unless_it_says_so(void **state)
{
	(void)state;
	static const struct {
		const char *named, *says; /* NULL: it may run */
	} cases[] = {
		{ NULL, "Firecracker would run as root: there is no jailer beside it "
			"(MVM_JAILER=none allows it)" },
		{ "none", NULL },
		{ "", NULL },
		{ "/no/such/jailer", "Firecracker would run as root: MVM_JAILER names no jailer "
				     "(MVM_JAILER=none allows it)" },
		{ "/proc/self/exe", "Firecracker would run as root: this Firecracker is not linked "
				    "statically, so it cannot run in a jail (MVM_JAILER=none "
				    "allows it)" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *why = NULL;
		if (cases[i].named)
			assert_int_equal(setenv(FC_JAILER_ENV, cases[i].named, 1), 0);
		bool refused = geteuid() == 0 && cases[i].says;
		assert_int_equal(fc_jail_refuses("/nowhere/firecracker", -1, &why), refused);
		if (refused && (i < 4 || !fc_jail_obstacle("/proc/self/exe", -1)))
			assert_string_equal(why, cases[i].says);
	}
	assert_int_equal(unsetenv(FC_JAILER_ENV), 0);
}

static bool may_mount(void)
{
	return geteuid() == 0 && privilege_has(CAP_SYS_ADMIN) && privilege_has(CAP_CHOWN);
}

static void a_program_that_needs_the_hosts_loader_cannot_be_jailed(void **state)
{
	(void)state;
	if (!may_mount() || !privilege_has(CAP_MKNOD) || !privilege_has(CAP_SYS_CHROOT) ||
	    !privilege_has(CAP_SETUID))
		skip(); /* the missing privilege would be reported first */
	assert_non_null(strstr(fc_jail_obstacle("/proc/self/exe", -1), "statically"));
	assert_non_null(strstr(fc_jail_obstacle("/nowhere", -1), "statically"));
}

/* A folder with a root for the jail, and files for it. */
struct fixture {
	char path[64];
	int fd, root_fd;
	struct fc_jail jail;
};

static void prepare(struct fixture *f)
{
	struct mvm_error err;
	snprintf(f->path, sizeof(f->path), "/tmp/mvm-jail-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int binary_fd = dir_make_at(f->fd, "firecracker");
	AUTO_CLOSE int id_fd = dir_make_at(binary_fd, "web");
	f->root_fd = dir_make_at(id_fd, "root");
	assert_true(f->root_fd >= 0);
	assert_int_equal(file_create_at(f->fd, "kernel", "KERNEL", 6, 0444), 0);
	assert_int_equal(file_create_at(f->fd, "disk", "DISK", 4, 0600), 0);
	f->jail = (struct fc_jail)FC_JAIL_NONE;
	assert_int_equal(fc_jail_open(&f->jail, "/bin/true", &err), 0);
	f->jail.root_fd = f->root_fd;
}

static void finish(struct fixture *f)
{
	fc_jail_done(&f->jail);
	close(f->root_fd);
	close(f->fd);
	assert_int_equal(tree_remove_at(AT_FDCWD, f->path), 0);
}

static uid_t owner_of(int dir_fd, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
	return st.st_uid;
}

/* Run a shell in Firecracker's place, and return its output. */
static void run_in_jail(struct fixture *f, const char *script, char ret[ASK_TEXT_MAX])
{
	int fds[2];
	AUTO_DONE(process) p = { 0 };
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	const struct process_spec spec = {
		.argv = (char *const[]){ (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char *)script,
					 NULL },
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = fds[1],
		.stderr_fd = fds[1],
		.in_child = fc_jail_enter,
		.in_child_arg = &f->jail,
	};
	assert_int_equal(process_spawn(&spec, &p), 0);
	close(fds[1]);
	ssize_t n, len = 0;
	while ((n = read(fds[0], ret + len, ASK_TEXT_MAX - 1 - (size_t)len)) > 0)
		len += n;
	ret[len] = '\0';
	close(fds[0]);
	assert_int_equal(process_wait(&p, clock_deadline_ns(60000), NULL), 0);
}

static void only_the_jailed_process_sees_its_files(void **state)
{
	(void)state;
	struct fixture f;
	struct mvm_error err = { 0 };
	char text[ASK_TEXT_MAX];
	struct stat st;
	if (!may_mount())
		skip(); /* only root can make a jail */
	prepare(&f);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "kernel", "vmlinux", FC_JAIL_READ, &err), 0);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "disk", "data.ext4", FC_JAIL_WRITE, &err), 0);
	assert_int_equal(owner_of(f.fd, "disk"), f.jail.user.uid);
	assert_int_equal(owner_of(f.fd, "kernel"), 0);

	run_in_jail(&f,
		    "readlink /proc/self/cwd; cd firecracker/web/root; "
		    "cat vmlinux data.ext4; echo; echo more > vmlinux; echo MORE > data.ext4",
		    text);
	/* the jailer asks for this path: it starts in the folder that has the jail */
	assert_memory_equal(text, f.path, strlen(f.path));
	assert_int_equal(text[strlen(f.path)], '\n');
	assert_non_null(strstr(text, "KERNELDISK\n"));
	assert_non_null(strstr(text, "Read-only file system"));
	AUTO_FREE char *disk = NULL;
	assert_int_equal(file_read_at(f.fd, "disk", 100, &disk, NULL), 0);
	assert_string_equal(disk, "MORE\n");
	assert_int_equal(fstatat(f.root_fd, "vmlinux", &st, 0), 0); /* not mounted outside */
	assert_int_equal(st.st_size, 0);
	assert_int_equal(fstatat(f.fd, "kernel", &st, 0), 0);
	assert_int_equal(st.st_nlink, 1);

	fc_jail_give_back(&f.jail);
	assert_int_equal(owner_of(f.fd, "disk"), 0);
	finish(&f);
}

static void names_in_a_jail_are_plain_and_each_is_one_file(void **state)
{
	(void)state;
	struct fixture f;
	struct mvm_error err = { 0 };
	if (!may_mount())
		skip(); /* only root can make a jail */
	prepare(&f);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "kernel", "../x", FC_JAIL_READ, &err), -EINVAL);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "missing", "x", FC_JAIL_READ, &err), 0);
	assert_int_equal(faccessat(f.root_fd, "x", F_OK, 0), -1);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "kernel", "k", FC_JAIL_READ, &err), 0);
	assert_int_equal(fc_jail_add(&f.jail, f.fd, "kernel", "k", FC_JAIL_READ, &err), 0);
	assert_int_equal(f.jail.n_files, 1);
	assert_int_equal(file_create_at(f.root_fd, "kernel", "x", 1, 0600), 0);
	assert_int_equal(fc_jail_add(&f.jail, f.root_fd, "kernel", "k", FC_JAIL_READ, &err),
			 -EEXIST);
	assert_string_equal(err.text, "cannot put 'k' into the jail: File exists");
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_jailer_gets_folder_and_user),
		cmocka_unit_test(the_jailer_is_named_or_lies_beside_firecracker),
		cmocka_unit_test(root_gets_no_firecracker_without_a_jail_unless_it_says_so),
		cmocka_unit_test(root_learns_why_there_is_no_jail),
		cmocka_unit_test(a_program_that_needs_the_hosts_loader_cannot_be_jailed),
		cmocka_unit_test(only_the_jailed_process_sees_its_files),
		cmocka_unit_test(names_in_a_jail_are_plain_and_each_is_one_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
