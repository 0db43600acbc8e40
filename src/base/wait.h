/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WAIT_H
#define BASE_WAIT_H

#include <stdint.h>

/*
 * Wait until a descriptor can be read, has ended or failed.
 *
 *   cancel_fd    readable: the wait ends; -1: none
 *   deadline_ns  as clock_deadline_ns() gives it; DEADLINE_NONE: none
 *
 * Returns 0.  Errors: -ECANCELED (also when both are readable), -ETIMEDOUT, -errno of poll(2).  A
 * signal handler does not end the wait.
 */
int wait_readable(int fd, int cancel_fd, int64_t deadline_ns);

/*
 * Wait until a descriptor can be written, or has failed, which the write then reports.
 *
 *   cancel_fd  readable: the wait ends; -1: none
 *
 * Returns 0, also when both are ready.  Errors: -ECANCELED, -errno of poll(2).
 */
int wait_writable(int fd, int cancel_fd);

#endif
