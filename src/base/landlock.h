/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LANDLOCK_H
#define BASE_LANDLOCK_H

/*
 * Landlock limits the files that a process may open.  It is the wall for a VMM whose user cannot
 * make namespaces, and a second wall for the others.
 *
 * After landlock_enter() the process can open, make, rename and execute only allowed files; open
 * descriptors stay open.  Landlock does not check stat(2), chmod(2) and the like; a seccomp filter
 * must refuse those.  Newer kernels refuse more: TCP (6.7), device ioctls (6.10), abstract sockets
 * and signals to outside processes (6.12).
 *
 * Calling sequence: landlock_open, landlock_allow..., landlock_enter, close.  Only system calls, so
 * all of it works between fork and exec.
 *
 * Source: landlock(7) and Linux Documentation/userspace-api/landlock.rst.
 */

#include <stdbool.h>

enum landlock_access {
	LANDLOCK_RUN,	 /* read, list and execute */
	LANDLOCK_READ,	 /* a file or a device */
	LANDLOCK_WRITE,	 /* read, write, truncate and control (ioctl) it */
	LANDLOCK_LOOK,	 /* read a file; read and list a folder */
	LANDLOCK_FILL,	 /* and write, make, rename, link and remove files and folders in it */
	LANDLOCK_LISTEN, /* make sockets in it */
};

/* The version of the kernel's interface; 0: the kernel lacks Landlock, or it is off. */
int landlock_version(void);

/* Make a set of rules that allows nothing, or only TCP (network).  Returns a descriptor or -errno.
 * */
int landlock_open(bool network);

/* Allow a file, or a folder with everything below it.  path: in dir_fd; "": dir_fd itself, which
 * may be O_PATH.  A missing file needs no rule.  Returns 0 or -errno. */
int landlock_allow(int rules_fd, int dir_fd, const char *path, enum landlock_access access);

/* Put the rules on this thread and everything that it starts, with PR_SET_NO_NEW_PRIVS. */
int landlock_enter(int rules_fd);

#endif
