/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

/*
 * A scratch folder for each test: cmocka_unit_test_setup_teardown(test, scratch_setup,
 * scratch_teardown), and in the test scratch_fd(state) and scratch_path(state).
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

struct scratch {
	char path[64];
	int fd;
};

static inline int scratch_setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));
	if (!s)
		return -1;
	snprintf(s->path, sizeof(s->path), "/tmp/mvm-unit-XXXXXX");
	if (!mkdtemp(s->path))
		return -1;
	s->fd = dir_open_at(AT_FDCWD, s->path);
	*state = s;
	return s->fd < 0 ? -1 : 0;
}

static inline int scratch_teardown(void **state)
{
	struct scratch *s = *state;
	close(s->fd);
	int r = tree_remove_at(AT_FDCWD, s->path);
	free(s);
	return r;
}

static inline int scratch_fd(void **state)
{
	return ((struct scratch *)*state)->fd;
}

static inline const char *scratch_path(void **state)
{
	return ((struct scratch *)*state)->path;
}

#endif
