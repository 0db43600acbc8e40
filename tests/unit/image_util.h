/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IMAGE_UTIL_H
#define TESTS_IMAGE_UTIL_H

/* Helpers that the tests of the image layer share: a work folder, and Debian's tools, which judge
 * the images. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/process.h"

static char work_path[64]; /* the test's folder */
static int work_fd = -1;

static inline int make_work_folder(void **state)
{
	(void)state;
	snprintf(work_path, sizeof(work_path), "/tmp/mvm-test-XXXXXX");
	if (!mkdtemp(work_path))
		return -1;
	work_fd = open(work_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return work_fd < 0 ? -1 : 0;
}

static inline int remove_work_folder(void **state)
{
	(void)state;
	close(work_fd);
	return tree_remove_at(AT_FDCWD, work_path);
}

/* Run a tool in the work folder.  Its standard output and error go to ret, which may be NULL.
 * Returns the exit status, 127 when the tool is missing. */
static inline int run_tool(const char *const *argv, char **ret)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	AUTO_CLOSE int out = openat(work_fd, "tool.out", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
				    0600);
	struct process p = { 0 };
	struct process_spec spec = { .argv = (char *const *)(uintptr_t)argv,
				     .env = env,
				     .cwd_fd = work_fd,
				     .stdin_fd = -1,
				     .stdout_fd = out,
				     .stderr_fd = out };
	int status;

	assert_true(out >= 0);
	if (process_spawn(&spec, &p) < 0)
		return 127;
	assert_int_equal(process_wait(&p, DEADLINE_NONE, &status), 0);
	if (ret) {
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		assert_int_equal(file_read_fd(out, 64u << 20, ret, NULL), 0);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

#define RUN(ret, ...) run_tool((const char *const[]){ __VA_ARGS__, NULL }, ret)

static inline void assert_clean(const char *image)
{
	AUTO_FREE char *out = NULL;
	int status = RUN(&out, "/sbin/e2fsck", "-fn", image);
	if (status != 0)
		print_error("%s\n", out);
	assert_int_equal(status, 0);
}

/* The answer of debugfs to one command. */
static inline char *debugfs(const char *image, const char *command)
{
	char *out = NULL;
	assert_int_equal(RUN(&out, "/sbin/debugfs", "-R", command, image), 0);
	char *body = strchr(out, '\n'); /* the first line is its version */
	assert_non_null(body);
	memmove(out, body + 1, strlen(body));
	return out;
}

static inline int open_image(const char *name)
{
	int fd = openat(work_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

static inline void put_file(const char *name, const void *data, size_t len, mode_t mode)
{
	AUTO_CLOSE int fd = open_image(name);
	assert_int_equal(file_write_all(fd, data, len), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static inline void put_text(const char *name, const char *text, mode_t mode)
{
	put_file(name, text, strlen(text), mode);
}

static inline void put_folder(const char *name, mode_t mode)
{
	assert_int_equal(mkdirat(work_fd, name, 0700), 0);
	assert_int_equal(fchmodat(work_fd, name, mode, 0), 0);
}

static inline void assert_same_files(const char *a, const char *b)
{
	assert_int_equal(RUN(NULL, "/usr/bin/cmp", a, b), 0);
}

/* Make a tar of one entry whose header fills len bytes: in GNU's old form, a map of holes can have
 * any number of blocks.  The caller frees it. */
static inline char *make_endless_header(size_t len)
{
	char *tar = calloc(1, len);
	unsigned sum = 0;

	assert_non_null(tar);
	strcpy(tar, "f");
	strcpy(tar + 124, "00000000000");
	tar[156] = 'S';
	memset(tar + 148, ' ', 8);
	memcpy(tar + 257, "ustar  ", 8);
	for (size_t at = 512; at < len; at += 512)
		tar[at + 504] = 1;	  /* another block follows */
	strcpy(tar + 386, "00000000000"); /* the first of the map: offset and length */
	strcpy(tar + 398, "00000000000");
	tar[482] = 1;
	for (size_t i = 0; i < 512; i++)
		sum += (unsigned char)tar[i];
	snprintf(tar + 148, 8, "%06o", sum);
	return tar;
}

#endif
