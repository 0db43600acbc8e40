/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_LEND_H
#define VMM_LEND_H

/*
 * Lend a child one file for reading only, although the child opens it for reading and writing.
 *
 * QEMU opens a memory file O_RDWR even for a private mapping, which only needs to read.  Under a
 * seccomp filter, such an open(2) of the child waits until the supervisor answers it.  If the path
 * is the lent file's, the answer is a descriptor that can only read; every other open(2) proceeds.
 * So the child needs no right to write the file, and has none.
 *
 * Calling sequence: lend_open, a process_spawn() whose in_child calls lend_in_child, lend_watch,
 * lend_done after the child's end.  The child waits for the loop whenever it opens a file for
 * reading and writing without O_CLOEXEC or O_CREAT.  So it must not do that between its start and
 * exec.
 *
 * This is no sandbox: the child could change a path while the supervisor reads it, and the filter
 * lets opens with other flags pass.  The child's uid limits what it may open.
 *
 * Source: seccomp_unotify(2); SECCOMP_ADDFD_FLAG_SEND came with Linux 5.14.
 */

#include <stdbool.h>

#include "base/loop.h"
#include "base/own.h"

#define LEND_PATH_MAX 128u

struct lend {
	char path[LEND_PATH_MAX]; /* the child's name for the file; "" without a file */
	int file_fd;
	int ours, theirs; /* socket pair by which the child sends the listener */
	int listener_fd;
	struct loop_source *source;
};
#define LEND_NONE                                                                                  \
	{                                                                                          \
		.file_fd = -1, .ours = -1, .theirs = -1, .listener_fd = -1                         \
	}

/*
 * Can this process lend files to a child?  It cannot when the kernel is too old, when a container
 * forbids seccomp(2), or when a seccomp listener watches this process already.  Costs four system
 * calls, and a fork if this process has a filter.
 */
bool lend_is_possible(void);

/*
 * Open the file that will be lent, read-only.
 *
 *   l     LEND_NONE; lend_done() it, also after a failure
 *   path  the path that the child will open
 *
 * Returns 0 or -errno (-ENAMETOOLONG: path).
 */
int lend_open(struct lend *l, int dir_fd, const char *name, const char *path);

/*
 * In the child: put the filter on, with PR_SET_NO_NEW_PRIVS.  Makes only system calls.
 *
 *   report_fd  the lend's `theirs`, or a copy of it
 *
 * Returns 1; 0 when the kernel or a container refuses the filter (the child then opens every file
 * itself); or -errno when the filter is on but its listener was not sent.
 */
int lend_in_child(int report_fd);

/*
 * Answer the child's opens from the loop.  Call it once the child has been started.
 * Returns 1, 0 when the child has no filter, or -errno.
 */
int lend_watch(struct lend *l, struct loop *loop);

void lend_done(struct lend *l);
DEFINE_AUTO_DONE(lend, lend_done)

#endif
