/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces with an empty root, Landlock and the list of system calls, each tried from inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/landlock.h"
#include "base/str.h"
#include "base/syscalls.h"
#include "scratch.h"
#include "vmm/box.h"
#include "vmm/privilege.h"
#include "vmm/qemu/qemu.h"
#include "vmm/vmm.h"
#include "vmm/walls.h"

#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN true
#else
#define UNDER_ASAN false
#endif

#define CAP_OF_MOUNTS 21 /* CAP_SYS_ADMIN */

/* ---- the box ---- */

static unsigned flags_here(void)
{
	return geteuid() == 0 && privilege_has(CAP_OF_MOUNTS) ? 0 : BOX_NEW_USER;
}

static unsigned flags_or_skip(unsigned flags)
{
	flags |= flags_here();
	if (!box_is_possible(flags)) {
		print_message("skipped: this host refuses namespaces\n");
		skip();
	}
	return flags;
}

/* cat(1), which ends when its input ends. */
struct cat {
	struct box box;
	struct process process;
	int in[2], out[2];
};

/* Start cat, and wait until it has loaded its libraries.  Returns 0, or box_spawn()'s error. */
static int cat_start(struct cat *c, unsigned flags)
{
	char *const argv[] = { (char[]){ "cat" }, NULL };
	char byte;
	*c = (struct cat){ .box = BOX_NONE };
	if (pipe2(c->in, O_CLOEXEC) < 0 || pipe2(c->out, O_CLOEXEC) < 0)
		return -errno;
	const struct process_spec spec = {
		.argv = argv,
		.cwd_fd = AT_FDCWD,
		.stdin_fd = c->in[0],
		.stdout_fd = c->out[1],
		.stderr_fd = -1,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	int r = box_spawn(&c->box, flags, &spec, &c->process);
	if (r == 0 && (write(c->in[1], "x", 1) != 1 || read(c->out[0], &byte, 1) != 1))
		r = -EPIPE;
	return r;
}

static void cat_end(struct cat *c)
{
	for (int i = 0; i < 2; i++) {
		close(c->in[i]);
		close(c->out[i]);
	}
	box_done(&c->box);
	process_kill(&c->process);
}

static size_t count_entries(pid_t pid)
{
	AUTO_DONE(strv) names = { 0 };
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(dir_list(fd, &names), 0);
	return names.n;
}

static void a_sealed_process_has_nothing_but_what_is_open(void **state)
{
	(void)state;
	char byte;
	struct cat c;
	assert_int_equal(cat_start(&c, flags_or_skip(BOX_NO_NETWORK)), 0);
	assert_true(count_entries(c.process.pid) > 3); /* the host's */
	assert_int_equal(box_seal(&c.box), 0);
	assert_int_equal(c.box.keeper.pid, 0);
	assert_int_equal(count_entries(c.process.pid), 0);
	assert_int_equal(write(c.in[1], "x", 1), 1);
	assert_int_equal(read(c.out[0], &byte, 1), 1); /* cat still runs */
	cat_end(&c);
}

static void a_missing_program_leaves_nothing(void **state)
{
	(void)state;
	unsigned flags = flags_or_skip(0);
	char *const argv[] = { (char[]){ "/no/such/program" }, NULL };
	char *const folder[] = { (char[]){ "/" }, NULL };
	for (int i = 0; i < 2; i++) {
		const struct process_spec spec = {
			.argv = i ? folder : argv,
			.cwd_fd = AT_FDCWD,
			.stdin_fd = -1,
			.stdout_fd = -1,
			.stderr_fd = -1,
		};
		struct box b = BOX_NONE;
		struct process p = { 0 };
		assert_int_equal(box_spawn(&b, flags, &spec, &p), i ? -EACCES : -ENOENT);
		assert_int_equal(p.pid, 0);
		box_done(&b);
	}
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	assert_int_equal(errno, ECHILD);
}

/* When its parent is killed, so is the process, even as the first of its PID namespace. */
static void a_boxed_process_dies_with_its_parent(void **state)
{
	(void)state;
	unsigned flags = flags_or_skip(0);
	int report[2];
	pid_t boxed = 0;
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct cat c;
		if (cat_start(&c, flags) < 0 || box_seal(&c.box) < 0 ||
		    write(report[1], &c.process.pid, sizeof(pid_t)) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	close(report[1]);
	assert_int_equal(read(report[0], &boxed, sizeof(boxed)), sizeof(boxed));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	int pidfd = (int)syscall(SYS_pidfd_open, boxed, 0);
	struct pollfd gone = { .fd = pidfd, .events = POLLIN };
	if (pidfd >= 0) { /* else it was reaped already */
		assert_int_equal(poll(&gone, 1, 100000), 1);
		close(pidfd);
	}
	close(report[0]);
}

static void a_host_that_refuses_namespaces_starts_nothing(void **state)
{
	(void)state;
	if (UNDER_ASAN)
		skip(); /* its runtime makes calls that the walls refuse */
	static const uint16_t most[] = { SYS_read,  SYS_write,	SYS_close,	SYS_exit_group,
					 SYS_mmap,  SYS_munmap, SYS_socketpair, SYS_pipe2,
					 SYS_clone, SYS_wait4 };
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) { /* the process cannot fork, either */
		struct cat c;
		if (syscalls_enter(most, MVM_ARRAY_SIZE(most), 0) < 0)
			_exit(2);
		int r = cat_start(&c, 0);
		_exit(r >= 0 || c.process.pid != 0 || box_is_possible(0));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- Landlock ---- */

static int try_landlock(const char *folder, int file_fd)
{
	char below[96], beside[96];
	snprintf(below, sizeof(below), "%s/run/file", folder);
	snprintf(beside, sizeof(beside), "%s/beside", folder);
	int rules = landlock_open(false);
	if (rules < 0 || landlock_allow(rules, AT_FDCWD, "/no/such/file", LANDLOCK_RUN) < 0)
		return 1;
	snprintf(beside, sizeof(beside), "%s/run", folder);
	if (landlock_allow(rules, AT_FDCWD, beside, LANDLOCK_RUN) < 0 ||
	    landlock_allow(rules, file_fd, "", LANDLOCK_WRITE) < 0 || landlock_enter(rules) < 0)
		return 2;
	if (open(below, O_RDONLY) < 0 || open(below, O_WRONLY) >= 0 || errno != EACCES)
		return 3;
	char path[FD_PATH_SIZE];
	fd_path(file_fd, path);
	if (open(path, O_RDWR | O_TRUNC) < 0)
		return 4;
	snprintf(beside, sizeof(beside), "%s/beside", folder);
	if (open(beside, O_RDONLY) >= 0 || open(folder, O_RDONLY) >= 0 ||
	    open(beside, O_CREAT | O_WRONLY, 0600) >= 0 || mkdir("/tmp/mvm-unit-no", 0700) == 0)
		return 5;
	return 0;
}

static void landlock_opens_only_allowed_paths(void **state)
{
	int status = -1;
	if (landlock_version() == 0) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(mkdirat(scratch_fd(state), "run", 0700), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "run/file", "x", 1, 0600), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "beside", "x", 1, 0600), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "given", "x", 1, 0600), 0);
	AUTO_CLOSE int given = openat(scratch_fd(state), "given", O_PATH | O_CLOEXEC);
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_landlock(scratch_path(state), given));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Open the first drive for reading, the second for writing; not the first for writing. */
static int try_drives(int shared_fd, int own_fd)
{
	struct qemu_child child = { .user = OWN_UID_NONE,
				    .isolation = VMM_ISOLATION_LANDLOCK,
				    .writes = 1u << 1,
				    .binary = "/bin/true",
				    .box = BOX_NONE };
	char path[2][64];
	for (int i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), QEMU_FD_PATH, QEMU_FD_DRIVES + i);
		if (dup2(i ? own_fd : shared_fd, QEMU_FD_DRIVES + i) < 0)
			return 1;
	}
	if (qemu_walls_enter(&child) < 0)
		return 2;
	if (open(path[0], O_RDONLY | O_CLOEXEC) < 0 || open(path[1], O_RDWR | O_CLOEXEC) < 0)
		return 3;
	return open(path[0], O_RDWR | O_CLOEXEC) < 0 && errno == EACCES ? 0 : 4;
}

/* The file's mode does not matter: its owner may be root. */
static void a_drive_that_is_only_read_cannot_be_written(void **state)
{
	int status = -1;
	if (landlock_version() == 0) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(file_create_at(scratch_fd(state), "shared", "x", 1, 0600), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "own", "x", 1, 0600), 0);
	int shared = fcntl(openat(scratch_fd(state), "shared", O_PATH), F_DUPFD_CLOEXEC, 100);
	int own = fcntl(openat(scratch_fd(state), "own", O_PATH), F_DUPFD_CLOEXEC, 100);
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_drives(shared, own));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(shared);
	close(own);
}

/* ---- resources ---- */

static int try_memory(uint64_t most)
{
	const struct walls walls = { .files_max = 64, .memory_max_bytes = most };
	if (walls_limit(&walls, VMM_ISOLATION_SYSCALLS) < 0)
		return 100;
	for (int flags = MAP_SHARED; flags <= MAP_PRIVATE; flags++) {
		void *all = mmap(NULL, most, PROT_NONE, flags | MAP_ANONYMOUS, -1, 0);
		void *part = mmap(NULL, most / 4, PROT_NONE, flags | MAP_ANONYMOUS, -1, 0);
		if (all != MAP_FAILED || part == MAP_FAILED)
			return flags;
		munmap(part, most / 4);
	}
	return 0;
}

static void memory_of_any_kind_has_a_limit(void **state)
{
	(void)state;
	int status = -1;
	if (UNDER_ASAN)
		skip(); /* it reserves more */
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_memory(UINT64_C(1) << 30));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- system calls ---- */

static const uint16_t allowed[] = {
	SYS_read,   SYS_write,	SYS_close,	  SYS_exit_group, SYS_clone,	  SYS_fcntl,
	SYS_ioctl,  SYS_prctl,	SYS_prlimit64,	  SYS_socket,	  SYS_bind,	  SYS_tgkill,
	SYS_getpid, SYS_gettid, SYS_rt_sigreturn, SYS_wait4,	  SYS_setsockopt,
};

enum outcome { WORKS, REFUSED, MISSING };

static const struct {
	const char *name;
	long nr, args[3];
	enum outcome without, with; /* without and with a network */
} calls[] = {
	{ "a listed one", SYS_getpid, { 0 }, WORKS, WORKS },
	{ "an unlisted one", SYS_getppid, { 0 }, MISSING, MISSING },
	{ "one of the x32 table", 0x40000000 + SYS_getpid, { 0 }, MISSING, MISSING },
	{ "a process", SYS_clone, { SIGCHLD }, REFUSED, REFUSED },
	{ "a thread in a namespace",
	  SYS_clone,
	  { CLONE_THREAD | CLONE_NEWUSER },
	  REFUSED,
	  REFUSED },
	{ "a copy of a descriptor", SYS_fcntl, { 1, F_DUPFD, 3 }, WORKS, WORKS },
	{ "its signals", SYS_fcntl, { 1, F_SETOWN, 1 }, REFUSED, REFUSED },
	{ "a name", SYS_prctl, { PR_SET_NAME, (long)"x" }, WORKS, WORKS },
	{ "a parent's death", SYS_prctl, { PR_SET_PDEATHSIG, 0 }, REFUSED, REFUSED },
	{ "its limits", SYS_prlimit64, { 0, RLIMIT_CORE, 0 }, WORKS, WORKS },
	{ "other limits", SYS_prlimit64, { 0, RLIMIT_CORE, 8 }, REFUSED, REFUSED },
	{ "another's limits", SYS_prlimit64, { 1, RLIMIT_CORE, 0 }, REFUSED, REFUSED },
	{ "a socket", SYS_socket, { AF_INET, SOCK_STREAM }, MISSING, WORKS },
	{ "a raw socket", SYS_socket, { AF_INET, SOCK_RAW, 1 }, MISSING, REFUSED },
	{ "a local socket", SYS_socket, { AF_UNIX, SOCK_STREAM }, MISSING, REFUSED },
	{ "a rare protocol", SYS_socket, { AF_INET, SOCK_STREAM, IPPROTO_SCTP }, MISSING, REFUSED },
	{ "an option", SYS_setsockopt, { -1, SOL_SOCKET, SO_REUSEADDR }, WORKS, WORKS },
	{ "an option of TCP", SYS_setsockopt, { -1, IPPROTO_TCP, TCP_NODELAY }, WORKS, WORKS },
	{ "an option of IPv6", SYS_setsockopt, { -1, IPPROTO_IPV6, IPV6_V6ONLY }, WORKS, WORKS },
	{ "a filter", SYS_setsockopt, { -1, SOL_SOCKET, SO_ATTACH_FILTER }, REFUSED, REFUSED },
	{ "a port's program",
	  SYS_setsockopt,
	  { -1, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF },
	  REFUSED,
	  REFUSED },
	{ "another protocol", SYS_setsockopt, { -1, IPPROTO_TCP, TCP_ULP }, REFUSED, REFUSED },
	{ "a tunnel behind a socket",
	  SYS_setsockopt,
	  { -1, IPPROTO_UDP, UDP_ENCAP },
	  REFUSED,
	  REFUSED },
	{ "a lock", SYS_fcntl, { 1, F_OFD_SETLK, 0 }, REFUSED, REFUSED },
	{ "another's signal", SYS_tgkill, { 1, 1, 0 }, REFUSED, REFUSED },
};

static int try_calls(bool network)
{
	if (syscalls_enter(allowed, MVM_ARRAY_SIZE(allowed), network ? SYSCALLS_NETWORK : 0) < 0)
		return 100;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(calls); i++) {
		const long *a = calls[i].args;
		enum outcome wanted = network ? calls[i].with : calls[i].without, got = WORKS;
		if (syscall(calls[i].nr, a[0], a[1], a[2], 0) < 0 && errno != EBADF)
			got = errno == ENOSYS ? MISSING : REFUSED;
		if (got != wanted)
			return (int)i + 1;
	}
	/* the process may signal itself */
	return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) < 0 ? 101 : 0;
}

static void calls_are_judged_by_their_arguments(void **state)
{
	(void)state;
	if (UNDER_ASAN)
		skip(); /* its runtime makes calls that the walls refuse */
	for (int network = 0; network < 2; network++) {
		int status = -1;
		pid_t pid = fork();
		if (pid == 0)
			_exit(try_calls(network));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) > 0 && WEXITSTATUS(status) < 100)
			print_message("wrong: %s\n", calls[WEXITSTATUS(status) - 1].name);
		assert_int_equal(status, 0);
	}
}

static void every_wall_has_a_name(void **state)
{
	(void)state;
	char text[VMM_ISOLATION_TEXT_SIZE];
	assert_string_equal(vmm_isolation_text(0, text), "none");
	assert_string_equal(vmm_isolation_text(VMM_ISOLATION_USER | VMM_ISOLATION_SYSCALLS, text),
			    "user syscalls");
	assert_string_equal(vmm_isolation_text(~0u, text),
			    "user jailer namespaces network landlock syscalls");
}

static int try_open(int dir_fd)
{
	static const uint16_t few[] = { SYS_openat, SYS_close, SYS_exit_group };
	static const int refused[] = { O_WRONLY,	   O_RDWR,
				       O_ACCMODE,	   O_RDONLY | O_CREAT,
				       O_RDONLY | O_TRUNC, O_TMPFILE | O_WRONLY };
	if (syscalls_enter(few, MVM_ARRAY_SIZE(few), SYSCALLS_READ_ONLY) < 0)
		return 100;
	if (openat(dir_fd, "file", O_RDONLY | O_CLOEXEC) < 0)
		return 101;
	for (int i = 0; i < (int)MVM_ARRAY_SIZE(refused); i++) {
		if (openat(dir_fd, refused[i] & O_CREAT ? "new" : "file", refused[i], 0600) >= 0 ||
		    errno != EACCES)
			return i + 1;
	}
	return 0;
}

/* Root may open any file for writing, and Landlock may be missing. */
static void a_process_that_reads_opens_nothing_for_writing(void **state)
{
	int status = -1;
	if (UNDER_ASAN)
		skip();
	assert_int_equal(file_create_at(scratch_fd(state), "file", "x", 1, 0600), 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_open(scratch_fd(state)));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static char *read_doc(const char *name)
{
	const char *dir = getenv("MVM_TEST_UNIT_DIR");
	char *text = NULL;
	AUTO_FREE char *path = str_printf("%s/../../doc/%s", dir ? dir : ".", name);
	assert_int_equal(file_read_at(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
	return text;
}

/* The words of `inspect` and `doctor` are the rows of isolation.md's first table, in that order,
 * and those that cli-json.md lists. */
static void each_wall_has_a_description(void **state)
{
	(void)state;
	AUTO_FREE char *isolation = read_doc("isolation.md");
	AUTO_FREE char *json = read_doc("cli-json.md");
	char text[VMM_ISOLATION_TEXT_SIZE];
	AUTO_DONE(strbuf) rows = { 0 };

	char *at = strstr(isolation, "| word |");
	assert_non_null(at);
	for (at = strstr(at, "\n| `"); at; at = strstr(at, "\n| `")) {
		at += strlen("\n| `");
		strbuf_addf(&rows, "%s%.*s", rows.len ? " " : "", (int)strcspn(at, "`"), at);
		if (!str_starts(strchr(at, '\n'), "\n| `"))
			break; /* the table's end */
	}
	assert_string_equal(rows.data, vmm_isolation_text(~0u, text));
	AUTO_FREE char *listed = str_printf("`%s`, or `none`", text);
	assert_non_null(strstr(json, listed));
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sealed_process_has_nothing_but_what_is_open),
		cmocka_unit_test(a_missing_program_leaves_nothing),
		cmocka_unit_test(a_boxed_process_dies_with_its_parent),
		cmocka_unit_test(a_host_that_refuses_namespaces_starts_nothing),
		T(landlock_opens_only_allowed_paths),
		T(a_drive_that_is_only_read_cannot_be_written),
		T(a_process_that_reads_opens_nothing_for_writing),
		cmocka_unit_test(memory_of_any_kind_has_a_limit),
		cmocka_unit_test(calls_are_judged_by_their_arguments),
		cmocka_unit_test(every_wall_has_a_name),
		cmocka_unit_test(each_wall_has_a_description),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
