/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_LINKS_H
#define COPY_LINKS_H

/* The first name of each file that has more than one, so that a stream has its further names as
 * hard links.  Zero is an empty table. */

#include <sys/stat.h>

#include "base/own.h"

struct links {
	void *tree; /* tsearch(3) */
};

/*
 * Look a file up, and remember the path as its first name if it is new.
 *
 *   ret_first  the file's first name, valid until links_done(); NULL: the path is the first
 *
 * Returns 0 or -ENOMEM.
 */
int links_first(struct links *l, const struct stat *st, const char *path, const char **ret_first);

void links_done(struct links *l);

#endif
