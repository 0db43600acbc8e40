/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/process.h"
#include "scratch.h"

/* Run a program to its end, and return its standard output. */
static char *run_for_output(struct process_spec spec, int *ret_status)
{
	int out[2];
	char *text = NULL;
	AUTO_DONE(process) p = { 0 };

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	spec.stdout_fd = out[1];
	assert_int_equal(process_spawn(&spec, &p), 0);
	close(out[1]);
	assert_int_equal(file_read_fd(out[0], 65536, &text, NULL), 0);
	close(out[0]);
	assert_int_equal(process_wait(&p, clock_deadline_ns(60000), ret_status), 0);
	return text;
}

static struct process_spec spec_of(const char *const *argv)
{
	return (struct process_spec){
		.argv = (char *const *)argv, /* execve(2) does not write to it */
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
	};
}

static void a_program_runs_and_its_status_is_returned(void **state)
{
	(void)state;
	const char *argv[] = { "sh", "-c", "echo $0 $1; exit 7", "a b", "c", NULL };
	int status = 0;
	AUTO_FREE char *text = run_for_output(spec_of(argv), &status);
	assert_string_equal(text, "a b c\n");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void errno_tells_why_a_program_cannot_be_started(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *no_program = str_printf("%s/text", scratch_path(state));
	AUTO_FREE char *not_allowed = str_printf("%s/plain", scratch_path(state));
	const struct {
		const char *program;
		int r;
	} cases[] = {
		{ "no-such-program-anywhere", -ENOENT },
		{ "/no/such/program", -ENOENT },
		{ not_allowed, -EACCES },
		{ no_program, -ENOEXEC },
	};
	assert_int_equal(file_create_at(dir, "text", "\1\2", 2, 0755), 0);
	assert_int_equal(file_create_at(dir, "plain", "x", 1, 0644), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		const char *argv[] = { cases[i].program, NULL };
		struct process_spec spec = spec_of(argv);
		struct process p = { 0 };
		assert_int_equal(process_spawn(&spec, &p), cases[i].r);
		assert_int_equal(p.pid, 0);
	}
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to reap */
}

static void a_missing_working_folder_is_reported(void **state)
{
	AUTO_CLOSE int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const char *argv[] = { "true", NULL };
	struct process_spec spec = spec_of(argv);
	struct process p = { 0 };
	(void)state;
	spec.cwd_fd = file;
	assert_int_equal(process_spawn(&spec, &p), -ENOTDIR);
}

static int be_where_nothing_is(void *arg)
{
	return chroot(arg) < 0 || chdir("/") < 0 ? -errno : 0;
}

static void a_missing_dev_null_is_reported(void **state)
{
	const char *argv[] = { "true", NULL };
	struct process_spec spec = spec_of(argv);
	struct process p = { 0 };
	if (geteuid() != 0)
		skip(); /* only root can reach such a place */
	spec.in_child = be_where_nothing_is;
	spec.in_child_arg = (void *)scratch_path(state);
	assert_int_equal(process_spawn(&spec, &p), -ENOENT);
}

static void a_child_gets_exactly_the_named_descriptors(void **state)
{
	int dir = scratch_fd(state);
	/* an inheritable descriptor that must not leak, and one with a high number */
	int leak = open("/dev/zero", O_RDONLY);
	AUTO_CLOSE int a = openat(dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int low = openat(dir, "b", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int b = fcntl(low, F_DUPFD_CLOEXEC, 200);
	int fds[] = { b, a };
	const char *argv[] = { "sh", "-c",
			       "for f in /proc/$$/fd/*; do echo ${f##*/} $(readlink $f); done",
			       NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_FREE char *want_3 = str_printf("3 %s/b\n", scratch_path(state));
	AUTO_FREE char *want_4 = str_printf("4 %s/a\n", scratch_path(state));

	spec.fds = fds;
	spec.n_fds = 2;
	AUTO_FREE char *text = run_for_output(spec, NULL);
	close(leak);
	assert_non_null(strstr(text, "0 /dev/null\n"));
	assert_non_null(strstr(text, "1 pipe:"));
	assert_non_null(strstr(text, "2 /dev/null\n"));
	assert_non_null(strstr(text, want_3));
	assert_non_null(strstr(text, want_4));
	assert_null(strstr(text, "/dev/zero"));
	assert_null(strstr(text, "\n5 /")); /* the shell has closed its descriptor of the folder */
}

static void descriptors_may_trade_places(void **state)
{
	(void)state;
	/* the parent's 3 and 4 become the child's 4 and 3, and its 1 becomes standard input */
	int fds[] = { 4, 3 };
	int in[2];
	const char *argv[] = { "sh", "-c", "cat <&3; cat <&4", NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_CLOSE int keep_3 = fcntl(3, F_DUPFD_CLOEXEC, 100);
	AUTO_CLOSE int keep_4 = fcntl(4, F_DUPFD_CLOEXEC, 100);

	for (int i = 3; i <= 4; i++) {
		assert_int_equal(pipe2(in, O_CLOEXEC), 0);
		assert_int_equal(write(in[1], i == 3 ? "three" : "four ", 5), 5);
		close(in[1]);
		if (in[0] != i) {
			assert_int_equal(dup2(in[0], i), i);
			close(in[0]);
		}
		assert_int_equal(fcntl(i, F_SETFD, FD_CLOEXEC), 0);
	}
	spec.fds = fds;
	spec.n_fds = 2;
	AUTO_FREE char *text = run_for_output(spec, NULL);
	assert_string_equal(text, "four three");
	for (int i = 3; i <= 4; i++) {
		int keep = i == 3 ? keep_3 : keep_4;
		if (keep >= 0)
			dup2(keep, i);
		else
			close(i);
	}
}

static void a_number_may_be_left_empty(void **state)
{
	int dir = scratch_fd(state);
	/* the parent's descriptors with these numbers must not be inherited */
	AUTO_CLOSE int keep_3 = fcntl(3, F_DUPFD_CLOEXEC, 100);
	AUTO_CLOSE int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int low = openat(dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int a = fcntl(low, F_DUPFD_CLOEXEC, 100);
	const int fds[] = { -1, a };
	const char *argv[] = { "sh", "-c",
			       "[ -e /proc/$$/fd/3 ] && echo full; readlink /proc/$$/fd/4", NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_FREE char *want = str_printf("%s/a\n", scratch_path(state));

	if (zero != 3)
		assert_int_equal(dup2(zero, 3), 3);
	else
		assert_int_equal(fcntl(3, F_SETFD, 0), 0);
	spec.fds = fds;
	spec.n_fds = 2;
	AUTO_FREE char *text = run_for_output(spec, NULL);
	if (keep_3 >= 0)
		assert_int_equal(dup2(keep_3, 3), 3);
	assert_string_equal(text, want);
}

static void environment_and_folder_are_the_given_ones(void **state)
{
	const char *argv[] = { "sh", "-c", "echo $A $HOME; pwd", NULL };
	char variable[] = "A=b";
	char *env[] = { variable, NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_FREE char *want = str_printf("b\n%s\n", scratch_path(state));

	spec.env = env;
	spec.cwd_fd = scratch_fd(state);
	AUTO_FREE char *text = run_for_output(spec, NULL);
	assert_string_equal(text, want);
}

static void signals_are_reset_in_the_child(void **state)
{
	(void)state;
	const char *argv[] = { "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL };
	sigset_t block, old;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	signal(SIGPIPE, SIG_IGN);
	AUTO_FREE char *text = run_for_output(spec_of(argv), NULL);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	unsigned long long blocked = 1, ignored = 1, libc_own = 3ull << 31; /* 32 and 33 */
	assert_int_equal(sscanf(text, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
	assert_true(blocked == 0);
	assert_true((ignored & ~libc_own) == 0);
}

static void waiting_ends_at_its_deadline_and_the_child_stays_owned(void **state)
{
	(void)state;
	const char *argv[] = { "sleep", "1000", NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_DONE(process) p = { 0 };
	int status = 4711;

	assert_int_equal(process_spawn(&spec, &p), 0);
	assert_int_equal(process_wait(&p, clock_deadline_ns(20), &status), -ETIMEDOUT);
	assert_int_equal(status, 4711);
	assert_int_equal(kill(p.pid, 0), 0);
	pid_t pid = p.pid;
	process_kill(&p);
	assert_int_equal(p.pid, 0);
	assert_int_equal(kill(pid, 0), -1);
	process_kill(&p); /* does nothing to an empty process */
}

static void a_pidfd_is_readable_once_the_child_has_ended(void **state)
{
	(void)state;
	const char *argv[] = { "sleep", "1000", NULL };
	struct process_spec spec = spec_of(argv);
	AUTO_DONE(process) p = { 0 };
	int status = 0;

	assert_int_equal(process_spawn(&spec, &p), 0);
	struct pollfd pfd = { .fd = p.pidfd, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	assert_int_equal(poll(&pfd, 1, 60000), 1);
	assert_int_equal(process_wait(&p, 0, &status), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void a_child_can_die_with_its_parent(void **state)
{
	(void)state;
	int tell[2];
	pid_t child;

	assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
	pid_t parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		const char *argv[] = { "sleep", "1000", NULL };
		struct process_spec spec = spec_of(argv);
		struct process p = { 0 };
		spec.flags = PROCESS_DIE_WITH_PARENT;
		if (process_spawn(&spec, &p) == 0)
			(void)!write(tell[1], &p.pid, sizeof(p.pid));
		pause();
		_exit(0);
	}
	close(tell[1]);
	assert_int_equal(read(tell[0], &child, sizeof(child)), sizeof(child));
	close(tell[0]);
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 60000), 1);
}

static void a_detached_program_has_no_parent_and_its_own_session(void **state)
{
	(void)state;
	const char *argv[] = { "sh", "-c", "cut -d' ' -f1,6 /proc/$$/stat; read wait", NULL };
	struct process_spec spec = spec_of(argv);
	struct process p = { 0 };
	int out[2], in[2];
	char line[64] = "";
	int pid = 0, session = -1;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	spec.stdin_fd = in[0];
	spec.stdout_fd = out[1];
	spec.flags = PROCESS_DETACH;
	assert_int_equal(process_spawn(&spec, &p), 0);
	close(in[0]);
	close(out[1]);
	assert_int_equal(p.pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing to reap */
	assert_true(read(out[0], line, sizeof(line) - 1) > 0);
	assert_int_equal(sscanf(line, "%d %d", &pid, &session), 2);
	/* in another session than ours */
	assert_true(session != getsid(0));
	close(in[1]); /* ends the program */
	close(out[0]);
}

static void a_missing_detached_program_is_reported(void **state)
{
	(void)state;
	const char *argv[] = { "/no/such/program", NULL };
	struct process_spec spec = spec_of(argv);
	struct process p = { 0 };
	spec.flags = PROCESS_DETACH;
	assert_int_equal(process_spawn(&spec, &p), -ENOENT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void programs_are_found_on_the_path(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *old = strdup(getenv("PATH"));
	AUTO_FREE char *path = str_printf("/nowhere::%s", scratch_path(state));
	AUTO_FREE char *want = str_printf("%s/tool", scratch_path(state));
	AUTO_FREE char *found = NULL;

	assert_int_equal(file_create_at(dir, "tool", "", 0, 0755), 0);
	assert_int_equal(file_create_at(dir, "plain", "", 0, 0644), 0);
	assert_int_equal(mkdirat(dir, "folder", 0755), 0);
	setenv("PATH", path, 1);
	assert_int_equal(process_find("tool", &found), 0);
	assert_string_equal(found, want);
	AUTO_FREE char *none = NULL;
	assert_int_equal(process_find("plain", &none), -ENOENT);
	assert_int_equal(process_find("folder", &none), -ENOENT);
	assert_int_equal(process_find("", &none), -ENOENT);
	setenv("PATH", old, 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_program_runs_and_its_status_is_returned),
		T(errno_tells_why_a_program_cannot_be_started),
		T(a_missing_working_folder_is_reported),
		T(a_missing_dev_null_is_reported),
		T(a_child_gets_exactly_the_named_descriptors),
		T(descriptors_may_trade_places),
		T(a_number_may_be_left_empty),
		T(environment_and_folder_are_the_given_ones),
		T(signals_are_reset_in_the_child),
		T(waiting_ends_at_its_deadline_and_the_child_stays_owned),
		T(a_pidfd_is_readable_once_the_child_has_ended),
		T(a_child_can_die_with_its_parent),
		T(a_detached_program_has_no_parent_and_its_own_session),
		T(a_missing_detached_program_is_reported),
		T(programs_are_found_on_the_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
