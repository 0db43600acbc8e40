/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_LOGCURSOR_H
#define INSTANCE_LOGCURSOR_H

/* Reading one log (logfile.h) entry by entry, through its rotations. */

#include "instance/logfile.h"

struct log_entry {
	char time[LOGFILE_TIME_SIZE]; /* "" for a line in a foreign format */
	bool full;		      /* false: the next entry of this log continues the line */
	const char *text;	      /* without newline; valid until the next call */
	size_t len;
};

struct log_cursor {
	int dir_fd; /* borrowed */
	const char *name;
	int fd, old_fd; /* -1: missing, maybe for now; all of old_fd comes first */
	bool have;	/* entry holds the next entry */
	struct log_entry entry;
	size_t at, len;
	char buffer[2 * LOGFILE_LINE_MAX];
};

/* Begin with the oldest entry.  A log that does not exist yet is empty.  name: static. */
int log_cursor_open(struct log_cursor *c, int dir_fd, const char *name);

/* Look at the next entry.  Returns 1, 0 when no entry is there yet, or -errno. */
int log_cursor_peek(struct log_cursor *c);

/* Done with that entry. */
static inline void log_cursor_pop(struct log_cursor *c)
{
	c->have = false;
}

/* Go back to the oldest entry. */
void log_cursor_rewind(struct log_cursor *c);

void log_cursor_done(struct log_cursor *c);
DEFINE_AUTO_DONE(log_cursor, log_cursor_done)

#endif
