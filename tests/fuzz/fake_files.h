/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FAKE_FILES_H
#define TESTS_FUZZ_FAKE_FILES_H

/*
 * Pipes, socket pairs and an epoll that are no system calls, for a target whose inputs each make
 * dozens.  The target is linked with --wrap for the calls that fake_files.c defines; other files
 * are the kernel's.  Nothing blocks, and nothing becomes ready by itself.
 */

#include <stdbool.h>

/* A descriptor that is always readable, and has nothing to read. */
int fake_files_ready(void);

/* How many descriptors are open? */
unsigned fake_files_count(void);

/* Was nothing ready when epoll_wait(2) was last called? */
bool fake_files_idle(void);

#endif
