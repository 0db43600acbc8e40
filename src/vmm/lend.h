/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_LEND_H
#define VMM_LEND_H

/*
 * Give a child one file for reading only, although it opens it for reading and writing.
 *
 * QEMU opens a memory file O_RDWR also for a private mapping, which needs no more than to read it.
 * With a seccomp filter the child's open(2) of that kind waits until we have answered it, with a
 * descriptor of ours if it is that file's path; all else goes on untouched.  So the child needs no
 * right to write the file, and has none.
 *
 * Calling sequence: lend_open, a process_spawn() whose in_child calls lend_in_child, lend_watch,
 * lend_done after the child's end.  The child waits for the loop whenever it opens a file without
 * O_CLOEXEC or O_CREAT for reading and writing, so it must not between its start and exec.
 *
 * This is no sandbox: a path could be changed while it is looked at, and other flags are not asked
 * about.  What the child may not do is for its uid to say.
 *
 * Source: seccomp_unotify(2); SECCOMP_ADDFD_FLAG_SEND came with Linux 5.14.
 */

#include <stdbool.h>

#include "base/loop.h"
#include "base/own.h"

#define LEND_PATH_MAX 128u

struct lend {
	char path[LEND_PATH_MAX]; /* as the child names it; "" without a file */
	int file_fd;
	int ours, theirs; /* the listener comes this way */
	int listener_fd;
	struct loop_source *source;
};
#define LEND_NONE                                                                                  \
	{                                                                                          \
		.file_fd = -1, .ours = -1, .theirs = -1, .listener_fd = -1                         \
	}

/*
 * Can a child of this process be given files so?  Not where the kernel is too old, where a
 * container forbids seccomp(2), or where somebody listens already to what this process does.
 * Without a filter on this process it costs four system calls, else also a fork.
 */
bool lend_is_possible(void);

/*
 * Open name in dir_fd to be lent, read-only.
 *
 *   l     LEND_NONE; to be done also after a failure
 *   path  what the child will open
 *
 * Returns 0 or -errno (-ENAMETOOLONG: path).
 */
int lend_open(struct lend *l, int dir_fd, const char *name, const char *path);

/*
 * In the child: ask from now on.  It gets PR_SET_NO_NEW_PRIVS.  Only system calls.
 *
 *   report_fd  the lend's `theirs`, or a copy of it
 *
 * Returns 1, 0 where the kernel or a container does not let us (the child opens everything itself),
 * or -errno when it would ask nobody.
 */
int lend_in_child(int report_fd);

/*
 * Answer from the loop, once the child has been started.
 * Returns 1, 0 when the child does not ask, or -errno.
 */
int lend_watch(struct lend *l, struct loop *loop);

void lend_done(struct lend *l);
DEFINE_AUTO_DONE(lend, lend_done)

#endif
