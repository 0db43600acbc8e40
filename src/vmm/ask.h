/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_ASK_H
#define VMM_ASK_H

/*
 * What a program says when it is started with a question: its version, a file's format.
 */

#include <stdint.h>

#define ASK_TEXT_MAX 4096u

/*
 * Start a program and read what it prints, standard error included, until it closes both.
 *
 *   argv       argv[0] is its path
 *   cwd_fd     its working folder; AT_FDCWD: ours
 *   cancel_fd  readable: the program is killed; -1: none
 *   ret        what came, cut at the limit, NUL-terminated
 *
 * Returns its wait status (0: it ended well), or -errno: -ETIMEDOUT when it was not done in time
 * and was killed, -ECANCELED.  Runs no event loop: for programs that answer at once.
 */
int program_ask(char *const argv[], int cwd_fd, int64_t deadline_ns, int cancel_fd,
		char ret[ASK_TEXT_MAX]);

#endif
