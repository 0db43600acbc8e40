/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_ASK_H
#define VMM_ASK_H

/*
 * Ask a program something by its arguments, such as its version.
 */

#include <stdint.h>

struct mvm_progress;

#define ASK_TEXT_MAX 4096u

/*
 * Start a program and read what it prints, standard error included, until it closes both.
 *
 *   argv       argv[0] is its path
 *   cwd_fd     its working folder; AT_FDCWD: the caller's
 *   progress   its receiver may stop the program; NULL: none
 *   ret        the output, cut at the limit, NUL-terminated
 *
 * Returns the program's wait status (0: success), or -errno: -ETIMEDOUT (killed at the deadline),
 * -ECANCELED.  Runs no event loop: for programs that answer at once.
 */
int program_ask(char *const argv[], int cwd_fd, int64_t deadline_ns,
		const struct mvm_progress *progress, char ret[ASK_TEXT_MAX]);

#endif
