/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

/* Checking revisions against their checksums.json, many in one run. */

#include "base/progress.h"
#include "store/inodes.h"
#include "store/revision.h"

struct verify {
	struct inodes seen;	    /* a file with many names is read once */
	struct progress_step *step; /* an open step, or NULL */
	uint64_t done_bytes, total_bytes;
	size_t n_files;

	/*
	 * Called for every problem.
	 *
	 *   file  its path in the revision; NULL: the problem concerns more than one file
	 *   text  a sentence, valid during the call
	 *
	 * Returns 0, or -errno to stop.
	 */
	int (*problem)(void *arg, const char *file, const char *text);
	void *arg;
};

static inline void verify_done(struct verify *v)
{
	inodes_done(&v->seen);
}
DEFINE_AUTO_DONE(verify, verify_done)

/* Add the size of a revision's files to v->total_bytes.  Unreadable files count 0. */
void store_verify_count(int dir_fd, struct verify *v);

/* Check a revision's folder.  Returns 0 even when there are problems; -ENOMEM, -ECANCELED from the
 * step, or the error of problem(). */
int store_verify_revision(int dir_fd, struct verify *v);

#endif
