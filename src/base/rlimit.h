/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RLIMIT_H
#define BASE_RLIMIT_H

/* Limits of resources (setrlimit(2)) of this process. */

#include <stddef.h>
#include <stdint.h>

struct rlimit_most {
	int what; /* RLIMIT_CORE, ... */
	uint64_t most;
};

/* Raise the soft limit of one resource to the hard one, which needs no privilege. */
void rlimit_raise(int what);

/* Lower the limit of one resource to `most`, for good.  A limit that is lower already stays.
 * Returns 0 or -errno. */
int rlimit_lower(int what, uint64_t most);

/* rlimit_lower() all of these.  Only system calls. */
int rlimit_lower_all(const struct rlimit_most *limits, size_t n);

#endif
