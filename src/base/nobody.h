/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NOBODY_H
#define BASE_NOBODY_H

/*
 * Give up root's rights, and those that a program could gain by execve(2).  Root becomes "nobody",
 * without groups; in a user namespace without that uid, or without the right to change it, the
 * process keeps its own.  The process is no longer dumpable.  A change of the uid clears the
 * parent-death signal.
 *
 * Returns 0 or -errno.  If only the change of the uid fails, the rest is done all the same.
 */
int nobody_become(void);

#endif
