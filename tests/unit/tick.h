/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TICK_H
#define TESTS_TICK_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Wait until the file system's clock has moved, so that the next change gets another time than
 * earlier ones.  dir_fd: a folder of that file system that no other process reads. */
static inline void wait_for_tick(int dir_fd)
{
	struct stat before, after;

	assert_int_equal(file_create_at(dir_fd, "tick", "", 0, 0600), 0);
	assert_int_equal(fstatat(dir_fd, "tick", &before, 0), 0);
	do {
		assert_int_equal(unlinkat(dir_fd, "tick", 0), 0);
		assert_int_equal(file_create_at(dir_fd, "tick", "", 0, 0600), 0);
		assert_int_equal(fstatat(dir_fd, "tick", &after, 0), 0);
	} while (before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
	assert_int_equal(unlinkat(dir_fd, "tick", 0), 0);
}

#endif
