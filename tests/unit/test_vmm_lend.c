/* SPDX-License-Identifier: Apache-2.0 */
/* A child that opens files as QEMU does, and the loop that answers it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/sock.h"
#include "base/str.h"
#include "scratch.h"
#include "vmm/lend.h"

#define DEADLINE_MS 100000

struct fixture {
	struct loop *loop;
	struct lend lend;
	char path[LEND_PATH_MAX], other[LEND_PATH_MAX];
};

/* "hello" is lent; "other" is not. */
static void prepare(struct fixture *f, void **state)
{
	*f = (struct fixture){ .lend = LEND_NONE };
	snprintf(f->path, sizeof(f->path), "%s/hello", scratch_path(state));
	snprintf(f->other, sizeof(f->other), "%s/hello2", scratch_path(state));
	assert_int_equal(file_create_at(scratch_fd(state), "hello", "hello", 5, 0600), 0);
	assert_int_equal(file_create_at(scratch_fd(state), "hello2", "other", 5, 0600), 0);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(lend_open(&f->lend, scratch_fd(state), "hello", f->path), 0);
}

static void finish(struct fixture *f)
{
	lend_done(&f->lend);
	loop_free(f->loop);
}

/* Runs in the child.  Returns the number of the first failed step, or 0. */
static int lent_file_cannot_be_written(const struct fixture *f)
{
	int fd = open(f->path, O_RDWR); /* NOLINT: as QEMU does */
	if (fd < 0)
		return 1;
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
		return 2;
	if (write(fd, "x", 1) >= 0 || errno != EBADF || ftruncate(fd, 0) == 0)
		return 3;
	if (mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return 4;
	char *memory = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED || memory[0] != 'h')
		return 5;
	memory[0] = 'j'; /* changes a private copy, as in a clone's memory */
	char byte = 0;
	return pread(fd, &byte, 1, 0) == 1 && byte == 'h' ? 0 : 6;
}

static int other_files_are_opened_as_asked(const struct fixture *f)
{
	int fd = open(f->other, O_RDWR); /* NOLINT */
	if (fd < 0 || pwrite(fd, "O", 1, 0) != 1)
		return 1;
	fd = open(f->path, O_RDWR | O_CLOEXEC); /* QEMU opens memory without O_CLOEXEC */
	if (fd < 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return 2;
	if (open("/no/such/file", O_RDWR) >= 0 || errno != ENOENT) /* NOLINT */
		return 3;
	if (open((const char *)8, O_RDWR) >= 0 || errno != EFAULT) /* NOLINT */
		return 4;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 5;
}

/* Run a child.  It begins once the loop serves it, as after an exec. */
static int run(struct fixture *f, int (*what)(const struct fixture *))
{
	int pair[2], status = -1;
	char go = 0;
	assert_int_equal(sock_pair(pair), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int r = lend_in_child(f->lend.theirs);
		if (write(pair[1], "r", 1) != 1 || read(pair[1], &go, 1) != 1)
			_exit(101);
		_exit(r == 1 ? what(f) : 100);
	}
	struct process child = { .pid = pid, .pidfd = -1 };
	assert_int_equal(read(pair[0], &go, 1), 1);
	assert_int_equal(lend_watch(&f->lend, f->loop), 1);
	assert_int_equal(write(pair[0], "g", 1), 1);
	int64_t deadline_ns = clock_deadline_ns(DEADLINE_MS);
	while (f->lend.source && loop_run_once(f->loop, deadline_ns) == 0)
		; /* the listener hangs up when its last process ends */
	if (f->lend.source)
		process_kill(&child);
	else
		assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pair[0]);
	close(pair[1]);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_lent_file_is_read_and_mapped_privately_and_never_written(void **state)
{
	struct fixture f;
	if (!lend_is_possible())
		skip();
	prepare(&f, state);
	assert_int_equal(run(&f, lent_file_cannot_be_written), 0);
	finish(&f);
}

static void files_that_are_not_lent_are_opened_as_usual(void **state)
{
	struct fixture f;
	char text[6] = "";
	if (!lend_is_possible())
		skip();
	prepare(&f, state);
	assert_int_equal(run(&f, other_files_are_opened_as_asked), 0);
	AUTO_CLOSE int fd = open(f.other, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, 5), 5);
	assert_string_equal(text, "Other");
	finish(&f);
}

static void a_child_without_a_request_is_recognised(void **state)
{
	struct fixture f;
	prepare(&f, state);
	assert_int_equal(lend_watch(&f.lend, f.loop), 0);
	assert_null(f.lend.source);
	finish(&f);
}

static void nothing_is_lent_to_a_process_that_has_a_listener(void **state)
{
	struct fixture f;
	int status = -1;
	if (!lend_is_possible())
		skip();
	prepare(&f, state);
	pid_t pid = fork();
	if (pid == 0) {
		if (lend_in_child(f.lend.theirs) != 1)
			_exit(1);
		_exit(lend_is_possible() ? 2 : lend_in_child(f.lend.theirs));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	finish(&f);
}

static void a_path_that_is_too_long_or_missing_is_refused(void **state)
{
	AUTO_DONE(lend) l = LEND_NONE;
	char path[LEND_PATH_MAX + 1];
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(lend_open(&l, scratch_fd(state), "none", path), -ENAMETOOLONG);
	assert_int_equal(lend_open(&l, scratch_fd(state), "none", "/x"), -ENOENT);
}

#define T(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_lent_file_is_read_and_mapped_privately_and_never_written),
		T(files_that_are_not_lent_are_opened_as_usual),
		T(a_child_without_a_request_is_recognised),
		T(nothing_is_lent_to_a_process_that_has_a_listener),
		T(a_path_that_is_too_long_or_missing_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
