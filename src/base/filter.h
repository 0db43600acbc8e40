/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILTER_H
#define BASE_FILTER_H

/* Programs that read a text and print another one, such as credential helpers and signers. */

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct mvm_progress;

/*
 * Start a program, give it a text and read what it prints until it closes its standard output.
 *
 *   argv       argv[0] is its path, or a name searched on PATH; no shell reads it
 *   in         its standard input, len bytes; it need not read them
 *   stderr_fd  its standard error; -1: /dev/null
 *   max        -EFBIG when it prints more
 *   progress   its receiver may stop the program; NULL: none
 *   ret        the output is added here, which may hold a secret
 *
 * Returns the program's wait status (0: success), or -errno: -ENOENT (no such program), -ETIMEDOUT
 * (killed at the deadline), -ECANCELED.  The program dies with the caller's thread.
 */
int program_filter(char *const argv[], const void *in, size_t len, int stderr_fd, size_t max,
		   int64_t deadline_ns, const struct mvm_progress *progress, struct strbuf *ret);

#endif
