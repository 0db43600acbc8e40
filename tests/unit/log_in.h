/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LOG_IN_H
#define TEST_LOG_IN_H

/* A log that renews itself in its folder, as the warden does it for a supervisor. */

#include "instance/logfile.h"

struct log_place {
	int dir_fd;
	const char *name;
};

static inline int log_renew(void *arg)
{
	const struct log_place *place = arg;
	return logfile_open(place->dir_fd, place->name, true);
}

/* name: static; of the four logs opened last, each renews itself. */
static inline int log_in(struct logfile *l, int dir_fd, const char *name, uint64_t max_bytes)
{
	static struct log_place places[4];
	static unsigned n;
	struct log_place *place = &places[n++ % 4];
	*place = (struct log_place){ dir_fd, name };
	*l = (struct logfile){ .fd = -1 };
	int fd = logfile_open(dir_fd, name, false);
	if (fd < 0)
		return fd;
	logfile_take(l, fd, max_bytes, log_renew, place);
	return 0;
}

#endif
