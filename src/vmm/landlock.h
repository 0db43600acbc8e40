/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_LANDLOCK_H
#define VMM_LANDLOCK_H

/*
 * Landlock: what a process may open, for whoever has no right to make namespaces, and as a second
 * wall for whoever has.
 *
 * Nothing that is not allowed can be opened, made, renamed or executed from landlock_enter() on;
 * what is open stays so.  It is silent about names: stat(2), chmod(2) and the like are not asked
 * about, which is for a seccomp filter to refuse.  Newer kernels refuse more: TCP (6.7), device
 * ioctls (6.10), abstract sockets and signals to processes outside (6.12).
 *
 * Calling sequence: landlock_open, landlock_allow..., landlock_enter, close.  Only system calls, so
 * all of it works between fork and exec.
 *
 * Source: landlock(7) and Linux Documentation/userspace-api/landlock.rst.
 */

#include <stdbool.h>

enum landlock_access {
	LANDLOCK_RUN,	/* read, list and execute */
	LANDLOCK_READ,	/* a file or a device */
	LANDLOCK_WRITE, /* and write, truncate and control it */
};

/* The version of the kernel's interface; 0: it has none, or it is off. */
int landlock_version(void);

/* A set of rules that allows nothing; network: but TCP.  Returns a descriptor or -errno. */
int landlock_open(bool network);

/* Allow what is at path in dir_fd, and everything below a folder.  path "": dir_fd itself, which
 * may be O_PATH.  What is missing needs no rule.  Returns 0 or -errno. */
int landlock_allow(int rules_fd, int dir_fd, const char *path, enum landlock_access access);

/* From now on, for this thread and what it starts.  It gets PR_SET_NO_NEW_PRIVS. */
int landlock_enter(int rules_fd);

#endif
